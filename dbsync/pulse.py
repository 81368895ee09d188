"""Signs of life: that the program still does something, and does not merely exist.

Whatever waits in the main thread gives one whenever it is told something: a database that answers or says that it is at
work, a pause that is over. systemd's watchdog and /healthz go by them (:mod:`dbsync.service.notify`). Other threads give
none: they may be well while the one that ships is not.
"""

from __future__ import annotations

import threading
import time

PATIENCE = 1_800.0
"""Seconds without a sign after which the program is taken for stuck: more than any wait of ours, and a slow stick is read
for minutes without asking a database."""


class Pulse:
    """When the last sign was given."""

    def __init__(self) -> None:
        self._at = time.monotonic()
        self._well: float | None = None

    def beat(self) -> None:
        """Give a sign of life, if this is the main thread."""
        if threading.current_thread() is threading.main_thread():
            self._at = time.monotonic()

    def note_well(self) -> None:
        """Note that the program did all it is for, and nothing is in the way."""
        self._well = time.monotonic()

    def was_well(self, within: float) -> bool:
        """Say whether that was so in the last seconds."""
        return self._well is not None and time.monotonic() - self._well < within

    @property
    def silent(self) -> float:
        """Give the seconds since the last one."""
        return time.monotonic() - self._at


PULSE = Pulse()
"""This program's."""
