"""The two ways on which a fleet brings its batches: over HTTPS to two servers behind a balancer, and over a NATS broker."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from dbsync.batch.codec import encode
from dbsync.bundle.letters import LETTER, letters
from dbsync.bundle.stream import Head
from dbsync.bundle.write import write_bundle
from dbsync.config.load import load
from dbsync.errors import Exhausted, Unreachable
from dbsync.identity.keys import Keys, PublicKeys
from dbsync.service.applying import Applying
from dbsync.transport import broker
from dbsync.transport.exchange import Exchange
from dbsync.transport.https import Https
from dbsync.transport.line import Line
from dbsync.transport.subjects import Subjects
from tests.benchmarks.balancer import balancing
from tests.benchmarks.laptops import LINK, Laptop, Parcel
from tests.support.brokers import NatsServer
from tests.support.databases import Database
from tests.support.served import free_port, serving
from tests.support.service import ServiceProcess

PROCESSES = 2
"""Of the upstream's side, on either way."""
WORKERS = 2
"""In each process of ``dbsync apply``."""
AGAIN = 0.5
"""Seconds until a laptop tries again to leave what a broker had no room for."""


class Way(Protocol):
    """How laptops are rid of batches."""

    name: str
    pids: Sequence[int]
    """The processes of the upstream's side."""
    turned_away: int
    """How often a laptop was told to come again."""

    def bring(self, laptop: Laptop, parcel: Parcel) -> None:
        """Bring a batch, as often as it takes."""


@dataclass(kw_only=True)
class Lines:
    """A line a laptop, kept as its service keeps it; each batch is answered by its receipt."""

    url: str
    server: PublicKeys
    pids: Sequence[int]
    name: str = "https"
    turned_away: int = 0
    _open: dict[str, Https] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def bring(self, laptop: Laptop, parcel: Parcel) -> None:
        """Bring a batch; come again when told to."""
        transport = self._of(laptop)
        while True:
            try:
                transport.deliver(parcel.batch())
            except Unreachable as error:
                if error.after is None:
                    raise
                with self._lock:
                    self.turned_away += 1
                time.sleep(error.after)
            else:
                return

    def close(self) -> None:
        """Close them all."""
        self._stack.close()

    def _of(self, laptop: Laptop) -> Https:
        with self._lock:
            if laptop.name not in self._open:
                line = self._stack.enter_context(Line(self.url, silence=60.0))
                self._open[laptop.name] = Https(Exchange(line=line, keys=laptop.keys, theirs=self.server))
            return self._open[laptop.name]


@dataclass(kw_only=True)
class Letters:
    """A connection for each batch, as of a laptop that comes online: sealed, signed, cut into letters and left."""

    url: str
    server: PublicKeys
    pids: Sequence[int]
    name: str = "nats"
    turned_away: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def bring(self, laptop: Laptop, parcel: Parcel) -> None:
        """Leave a batch; try again where there is no room."""
        with (
            tempfile.TemporaryDirectory(prefix="dbsync-bench-") as folder,
            broker.opened(self.url, laptop.keys, node=laptop.name, ca=None, silence=60.0) as there,
        ):
            (path,) = write_bundle(
                Path(folder),
                _head(laptop, parcel),
                [(parcel.header.number, encode(parcel.batch()))],
                recipients=[self.server.sealing],
                keys=laptop.keys,
            )
            for letter in letters(path, min(LETTER, there.largest)):
                while True:
                    try:
                        there.publish(Subjects(LINK).batches(laptop.name), letter.data, letter.headers)
                    except Exhausted:
                        with self._lock:
                            self.turned_away += 1
                        time.sleep(AGAIN)
                    else:
                        break


@contextmanager
def over_https(upstream: Database, folder: Path, keys: Keys, laptops: Sequence[Laptop]) -> Iterator[Way]:
    """Serve a database by two processes behind a balancer."""
    with ExitStack() as stack:
        ports = [free_port() for _ in range(PROCESSES)]
        served = [
            stack.enter_context(serving(folder / f"serve-{port}", upstream, keys=keys, port=port))[0] for port in ports
        ]
        url = stack.enter_context(balancing(ports))
        lines = Lines(url=url, server=keys.public, pids=[process.pid for process in served])
        stack.callback(lines.close)
        yield lines


@contextmanager
def over_nats(upstream: Database, folder: Path, keys: Keys, laptops: Sequence[Laptop]) -> Iterator[Way]:
    """Have a broker, and two processes that take in what lies there."""
    with ExitStack() as stack:
        server = NatsServer(folder / "broker", free_port())
        stack.callback(server.stop)
        server.admit("BENCH", LINK, keys.public, {laptop.name: laptop.keys.public for laptop in laptops})
        server.start()
        applying = []
        for number in range(PROCESSES):
            place = folder / f"apply-{number}"
            place.mkdir()
            keys.save(place / "keys")
            (place / "dbsync.toml").write_text(
                f'[node]\nname = "{LINK}"\nsource = "{upstream.dsn}"\n'
                f'[broker]\nurl = "{server.url}"\nreplicas = 1\nworkers = {WORKERS}\nroom = "1GB"\n'
            )
            applying.append(ServiceProcess(place, command=("apply",)))
        Applying(config=load(place / "dbsync.toml", {}), url=server.url, workers=1).prepare()
        for process in applying:
            stack.enter_context(process)
        yield Letters(url=server.url, server=keys.public, pids=[process.pid for process in applying])


def _head(laptop: Laptop, parcel: Parcel) -> Head:
    header = parcel.header
    return Head(node=laptop.name, lineage=header.lineage, incarnation=header.incarnation, link=LINK, destination=LINK)
