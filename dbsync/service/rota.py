"""Whose turn it is at a broker: of the nodes that left something, the one whose last turn is longest ago. Pure."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

SOON = 0.2
"""Seconds after which a node is tried again whose turn another process has, or whose letters could not be read yet."""
WAITS = 60.0
"""Seconds after which a node that has to wait is tried again though nothing came."""


@dataclass(kw_only=True)
class Rota:
    """The turns of one process; its workers ask for the next one and give it back. Several processes need not know one another.

    A node that comes home with a million changes has one turn, and then everybody else has one; so has it no more than its part of
    the workers' time, and a node that left a hundred is next.
    """

    waiting: Mapping[str, int] = field(default_factory=dict)
    """Letters at the broker, by node."""
    _taken: set[str] = field(default_factory=set)
    _last: dict[str, float] = field(default_factory=dict)
    """When a node's turn ended."""
    _rests: dict[str, tuple[float, int | None]] = field(default_factory=dict)
    """Until when a node is left alone, or until it has another number of letters there."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def see(self, waiting: Mapping[str, int]) -> None:
        """Know what is at the broker now."""
        with self._lock:
            self.waiting = waiting
            self._last = {node: at for node, at in self._last.items() if node in waiting or node in self._taken}
            self._rests = {node: rest for node, rest in self._rests.items() if node in waiting}

    def next(self, now: float) -> str | None:
        """Give the node whose turn it is; None where everybody has one, or rests.

        >>> rota = Rota(waiting={"a": 900, "b": 1})
        >>> rota.next(0.0), rota.next(0.0), rota.next(0.0)
        ('a', 'b', None)
        >>> rota.give_back("a", 1.0, left=899), rota.give_back("b", 2.0, left=0), rota.next(3.0)
        (None, None, 'a')
        """
        with self._lock:
            free = [
                node
                for node, letters in self.waiting.items()
                if letters and node not in self._taken and not self._is_resting(node, letters, now)
            ]
            if not free:
                return None
            node = min(free, key=lambda one: self._last.get(one, -math.inf))
            self._taken.add(node)
            return node

    def give_back(self, node: str, now: float, *, left: int) -> None:
        """End a turn after which so many letters, or more that came meanwhile, are there still."""
        with self._lock:
            self._taken.discard(node)
            self._last[node] = now
            self.waiting = {**self.waiting, node: left}

    def rest(self, node: str, now: float, *, letters: int | None) -> None:
        """End a turn that came to nothing: the node waits for others, or for a person, or (``letters`` None) may have its turn soon."""
        with self._lock:
            self._taken.discard(node)
            self._last[node] = now
            self._rests[node] = (now + (SOON if letters is None else WAITS), letters)

    @property
    def is_at_work(self) -> bool:
        """Say whether anybody has a turn."""
        with self._lock:
            return bool(self._taken)

    def _is_resting(self, node: str, letters: int, now: float) -> bool:
        until, then = self._rests.get(node, (-math.inf, None))
        return now < until and then in (None, letters)
