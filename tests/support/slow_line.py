"""A line that is slow, far and loses packets: what it carries comes later, and never in another order."""

from __future__ import annotations

import contextlib
import queue
import random
import socket
import threading
import time
from dataclasses import dataclass

from psycopg.conninfo import make_conninfo

from tests.support.databases import Database
from tests.support.proxy import Proxy, Way

SEGMENT = 1400
"""Bytes of a packet."""
WINDOW = 48
"""Packets that may be under way; whoever sends more waits, as for the window of TCP."""
CONNECTING = 30
"""Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """What a line is like in each direction."""

    rate: float
    """Bytes a second, of all connections together."""
    delay: float
    """Seconds from one end to the other: half a round trip."""
    loss: float
    """The share of packets that are sent again; all behind such a packet waits for it."""
    stall: float
    """Seconds until TCP has noticed a loss and sent the packet again."""


class SlowLine(Proxy):
    """A proxy whose line has a quality; which packets are lost is told by a seed. It is never cut or silent."""

    def __init__(self, to: Database | int, quality: Quality, seed: int = 0) -> None:
        super().__init__(to)
        if self.dsn:
            self.dsn = make_conninfo(self.dsn, connect_timeout=CONNECTING)
        self._quality = quality
        self._random = random.Random(seed)
        self._free = dict.fromkeys(Way, 0.0)
        """When the last packet will have left, by the monotonic clock."""

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        ways = [(client, server, Way.UP), (server, client, Way.DOWN)]
        threads = [threading.Thread(target=self._carry, args=way, daemon=True) for way in ways]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _carry(self, sender: socket.socket, receiver: socket.socket, way: Way) -> None:
        """Take packets from one end, and let another thread hand each over when it is due."""
        under_way: queue.Queue[tuple[float, bytes]] = queue.Queue(WINDOW)
        handing = threading.Thread(target=_hand_over, args=(under_way, receiver), daemon=True)
        handing.start()
        data = b"the first"
        while data:
            try:
                data = sender.recv(SEGMENT)
            except OSError:  # the other direction has closed it
                data = b""
            under_way.put((self._due(len(data), way), data))
        handing.join()

    def _due(self, size: int, way: Way) -> float:
        """Say when a packet arrives that is sent now, behind all that were sent before."""
        quality = self._quality
        with self._lock:
            self.passed[way] += size
            lost = size > 0 and self._random.random() < quality.loss
            begins = max(self._free[way], time.monotonic())
            self._free[way] = begins + size / quality.rate + (quality.stall if lost else 0.0)
            return self._free[way] + quality.delay


def _hand_over(under_way: queue.Queue[tuple[float, bytes]], receiver: socket.socket) -> None:
    """Hand packets over until the empty one, which closes the direction; an end that is gone takes them all."""
    data = b"the first"
    while data:
        due, data = under_way.get()
        time.sleep(max(0.0, due - time.monotonic()))
        with contextlib.suppress(OSError):
            if data:
                receiver.sendall(data)
            else:
                receiver.shutdown(socket.SHUT_WR)
