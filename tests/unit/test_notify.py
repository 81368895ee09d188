"""What systemd's watchdog hears, and when it hears nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dbsync.service.notify import vouching
from tests.support.service import NotifySocket


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NotifySocket:
    """Listen as systemd does, and expect a word five times a second."""
    made = NotifySocket(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", made.environ["NOTIFY_SOCKET"])
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    return made


def test_a_program_that_is_stuck_is_not_vouched_for(systemd: NotifySocket) -> None:
    asked, alive = threading.Event(), False

    def is_alive() -> bool:
        asked.set()
        return alive

    with systemd, vouching(is_alive):
        assert asked.wait(10)
        alive = True
        assert systemd.receive() == "WATCHDOG=1"


@pytest.mark.parametrize(("name", "value"), [("WATCHDOG_USEC", "0"), ("WATCHDOG_USEC", "soon"), ("WATCHDOG_PID", "1")])
def test_where_nobody_waits_for_a_word_none_is_given(
    systemd: NotifySocket, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with systemd, vouching(lambda: pytest.fail("nobody asks")):
        assert "watchdog" not in [thread.name for thread in threading.enumerate()]
