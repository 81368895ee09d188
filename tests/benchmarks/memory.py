"""How much memory a program takes that nobody shares with it."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import psutil

_PERIOD = 0.2
"""Seconds between two looks: each reads all of /proc, and must not take part in what it watches."""


class PeakMemory:
    """Watch a process and its children while inside; :attr:`megabytes` is the most they had, shared pages left out."""

    def __init__(self, pid: int) -> None:
        self.megabytes = 0.0
        self._pid = pid
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._done.wait(_PERIOD):
            self.megabytes = max(self.megabytes, _private(self._pid) / 1_000_000)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()


def _private(pid: int) -> int:
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(_private_alone(process) for process in family)


def _private_alone(process: psutil.Process) -> int:
    try:
        found = process.memory_info()
    except psutil.NoSuchProcess:
        return 0
    return int(found.rss - found.shared)
