"""Flags that a signal handler may raise."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from dbsync.pulse import PULSE

SLICE = 0.05
"""Seconds between two looks at a flag while somebody waits for it."""


class Flag:
    """A :class:`threading.Event` without a lock.

    A signal handler runs in the middle of whatever the main thread does. If that is an Event's own ``wait``, which
    holds the Event's lock for a moment, ``set`` in the handler never returns.
    """

    def __init__(self) -> None:
        self._up = False

    def set(self) -> None:
        """Raise the flag."""
        self._up = True

    def clear(self) -> None:
        """Lower it."""
        self._up = False

    def is_set(self) -> bool:
        """Say whether it is up."""
        return self._up

    def wait(self, seconds: float) -> bool:
        """Wait until it is up, or so long; say whether it is."""
        PULSE.beat()
        end = time.monotonic() + seconds
        while not self._up and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, SLICE))
        return self._up


@contextmanager
def raised_by(flags: Mapping[signal.Signals, Flag]) -> Iterator[None]:
    """While inside, signals raise flags; afterwards they do what they did before."""

    def on_signal(number: int, _frame: FrameType | None) -> None:
        flags[signal.Signals(number)].set()

    before = {number: signal.signal(number, on_signal) for number in flags}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
