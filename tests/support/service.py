"""``dbsync run`` as a process, and what it says."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.program import Forked

PATIENCE = 40.0
"""Seconds until what a test waits for must have happened, on a busy machine too."""
_ROOT = Path(__file__).parent.parent.parent


def until(condition: Callable[[], bool], complaint: str, patience: float = PATIENCE) -> None:
    """Wait until something is so, or fail."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, complaint
        time.sleep(0.05)


class ServiceProcess:
    """The service in a folder with a dbsync.toml; killed at the end of the test if it still runs."""

    def __init__(
        self, folder: Path, *, environ: Mapping[str, str] | None = None, command: Sequence[str] = ("run",)
    ) -> None:
        self._folder = folder
        self._command = command
        self._environ = dict(environ or {})
        self.log = folder / f"{command[0] if command[0] != 'run' else 'service'}.log"

    def __enter__(self) -> Self:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DBSYNC", "PG"))}
        self._process: Forked | subprocess.Popen[bytes]
        if not self._environ:
            self._process = Forked(self._folder, self._command, kept, self.log, self.log)
            return self
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from dbsync.cli.main import run; run()", *self._command],
                cwd=self._folder,
                env={**kept, "PYTHONPATH": str(_ROOT), **self._environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    @property
    def runs(self) -> bool:
        """Say whether the process is there."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Give its number."""
        return self._process.pid

    def reload(self) -> None:
        """Tell it to read its configuration again."""
        self._process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """Kill it, as a power cut does."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def terminate(self) -> int:
        """Stop it as systemd does, and give its exit code."""
        self._process.terminate()
        return self._process.wait(PATIENCE)

    def wait(self) -> int:
        """Wait until it ends by itself, and give its exit code."""
        return self._process.wait(PATIENCE)

    def said(self, event: str) -> list[dict[str, Any]]:
        """Give the log lines of an event."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [entry for entry in map(json.loads, lines) if entry["event"] == event]

    def wait_for(self, event: str, times: int = 1) -> None:
        """Wait until it has said something so often."""
        until(lambda: len(self.said(event)) >= times or not self.runs, f"no {event}")
        assert len(self.said(event)) >= times, self.log.read_text()


class NotifySocket:
    """What systemd listens on."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(PATIENCE)
        self.environ = {"NOTIFY_SOCKET": str(path)}

    def receive(self) -> str:
        """Wait for the next datagram."""
        return self._socket.recv(4096).decode()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
