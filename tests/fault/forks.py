"""Services that start at once, so that there is time to kill many of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

_ROOT = Path(__file__).parent.parent.parent
_PARENT = """
import os, signal, sys
import dbsync.cli.run
from dbsync.cli.main import run
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        sys.argv = ["dbsync", "run"]
        run()
        os._exit(0)
    print(child, flush=True)
"""
"""It has imported everything, which takes longest, and knows nothing else: a child is what ``dbsync run`` would be."""


class Forks:
    """A process from which services are forked; they run in a folder with a dbsync.toml."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: set[int] = set()
        self.log = folder / "service.log"

    def start(self) -> int:
        """Start a service and give its process id."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write("go\n")
        self._parent.stdin.flush()
        child = int(self._parent.stdout.readline())
        self._children.add(child)
        return child

    def kill(self, child: int) -> None:
        """Kill a service; it must be there."""
        self._children.remove(child)
        os.kill(child, signal.SIGKILL)

    def forget(self, child: int) -> None:
        """Let go of a service that ended by itself."""
        self._children.discard(child)

    def said(self) -> str:
        """Give what the services said last."""
        return self.log.read_text()[-3000:]

    def __enter__(self) -> Self:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DBSYNC", "PG"))}
        with self.log.open("ab") as log:
            self._parent = subprocess.Popen(
                [sys.executable, "-c", _PARENT],
                cwd=self._folder,
                env={**kept, "PYTHONPATH": str(_ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in list(self._children):
            with contextlib.suppress(ProcessLookupError):  # it ended by itself
                self.kill(child)
        self._parent.communicate(timeout=20)
