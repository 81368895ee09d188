from __future__ import annotations

import os
import signal
import time
from types import FrameType

from dbsync.service.flags import Flag


def test_waiting_ends_when_the_time_is_over() -> None:
    flag = Flag()
    begun = time.monotonic()
    assert flag.wait(0.02) is False
    assert time.monotonic() - begun >= 0.02


def test_waiting_ends_soon_after_a_signal_handler_raised_the_flag() -> None:
    flag = Flag()

    def handler(_number: int, _frame: FrameType | None) -> None:
        flag.set()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert flag.wait(60) is True
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert flag.is_set()
    flag.clear()
    assert not flag.is_set()
