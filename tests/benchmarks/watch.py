"""Looking again and again, beside what is measured."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self


class Watch:
    """Look every ``period`` seconds while inside; what goes wrong at a look is raised at the end: no figure would be true."""

    def __init__(self, look: Callable[[], None], period: float) -> None:
        self._look = look
        self._period = period
        self._done = threading.Event()
        self._pool = ThreadPoolExecutor(1)

    def _watch(self) -> None:
        while not self._done.wait(self._period):
            self._look()

    def __enter__(self) -> Self:
        self._watching = self._pool.submit(self._watch)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the watch, after which the figures stand."""
        self._done.set()
        self._pool.shutdown()
        self._watching.result()
