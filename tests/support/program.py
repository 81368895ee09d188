"""The program in a process of its own, forked from one that has imported it: of a short command importing is most of its time."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from signal import Signals
from subprocess import TimeoutExpired

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.support.imported"])


class Forked:
    """A process, as :class:`subprocess.Popen` has it."""

    def __init__(
        self, folder: Path, arguments: Sequence[str], environ: Mapping[str, str], out: Path, err: Path
    ) -> None:
        self._arguments = arguments
        for file in (out, err):
            file.touch()
        self._process: ForkServerProcess = _FORKS.Process(
            target=_be_program, args=(folder, arguments, environ, out, err)
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """Give its number."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Give its exit code; None while it runs."""
        return self._process.exitcode

    def send_signal(self, what: Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, what)

    def terminate(self) -> None:
        """Tell it to end."""
        self.send_signal(Signals.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(Signals.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and give its exit code. Raises TimeoutExpired."""
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise TimeoutExpired(list(self._arguments), timeout or 0.0)
        return code


def _be_program(folder: Path, arguments: Sequence[str], environ: Mapping[str, str], out: Path, err: Path) -> None:
    for descriptor, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = ["dbsync", *arguments]
    from dbsync.cli.main import run  # noqa: PLC0415 - see tests/support/imported.py

    run()
