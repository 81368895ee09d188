"""How much memory a program takes that nobody shares with it."""

from __future__ import annotations

import psutil

from tests.benchmarks.watch import Watch

_PERIOD = 0.2
"""Seconds between two looks: each reads all of /proc, and must not take part in what it watches."""


class PeakMemory(Watch):
    """Watch a process and its children while inside; :attr:`megabytes` is the most they had, shared pages left out."""

    def __init__(self, pid: int) -> None:
        super().__init__(self._note, _PERIOD)
        self.megabytes = 0.0
        self._pid = pid

    def _note(self) -> None:
        self.megabytes = max(self.megabytes, _private(self._pid) / 1_000_000)


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
