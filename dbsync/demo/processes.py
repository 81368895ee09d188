"""Programs that the demo starts, and that never outlive it unless asked to."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from dbsync.errors import DbsyncError

PATIENCE = 30.0
"""Seconds that anything in the story may take."""

_DBSYNC = (sys.executable, "-c", "from dbsync.cli.main import run; run()")
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class Stopped(BaseException):
    """A signal asks the demo to end; no handler of ordinary errors shall hold it up."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command printed, and its exit code."""

    output: str
    talk: str
    code: int

    @property
    def lines(self) -> list[str]:
        """Give what a person should see: the data, or the talk where there is no data."""
        return [line.rstrip() for line in (self.output.strip("\n") or self.talk.strip("\n")).splitlines()]


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """While inside, the first SIGINT, SIGTERM or SIGHUP raises :class:`Stopped`; later ones do not disturb the end."""

    def on_signal(number: int, _frame: FrameType | None) -> None:
        for ending in _ENDING:
            signal.signal(ending, signal.SIG_IGN)
        raise Stopped(number)

    before = {number: signal.signal(number, on_signal) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def dbsync(words: Sequence[str], *, folder: Path, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    """Start a command of dbsync in a folder, to be read with :func:`answer`."""
    return subprocess.Popen(
        [*_DBSYNC, *words],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=end_with_parent,  # noqa: PLW1509 - one system call, no lock
    )


def dbsync_service(
    *, folder: Path, environment: Mapping[str, str], log: Path, keep: bool = False, words: Sequence[str] = ("run",)
) -> subprocess.Popen[bytes]:
    """Start ``dbsync run``, or another service, in the background. ``keep`` lets it outlive this process."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [*_DBSYNC, *words],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=None if keep else end_with_parent,  # noqa: PLW1509
        )


def answer(process: subprocess.Popen[str], patience: float = PATIENCE * 2) -> Answer:
    """Wait for a command's end and give what it printed; a command cut short is killed."""
    try:
        output, talk = process.communicate(timeout=patience)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return Answer(output=output, talk=talk, code=process.returncode)


def stop(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> int:
    """Ask a process to end, wait for it and give its exit code; kill it when it does not listen."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def until(condition: Callable[[], bool], expectation: str) -> float:
    """Wait until something is so; give the seconds it took, or raise when it does not come."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > PATIENCE:
            raise DbsyncError(f"waited {PATIENCE:.0f} s in vain until {expectation}")
        time.sleep(0.02)
    return time.monotonic() - began


def end_with_parent() -> None:
    """Let the kernel end this process with the thread that started it; runs between fork and exec."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def clean_environment() -> dict[str, str]:
    """Give this process's environment without what would lead libpq or dbsync elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PG", "DBSYNC_"))}
