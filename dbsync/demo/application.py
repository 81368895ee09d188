"""The clinic's Django application on one machine, in a process of its own: the demo tells it what its people do."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dbsync.demo.processes import clean_environment, end_with_parent
from dbsync.errors import DbsyncError


class Application:
    """``python -m dbsync.demo.clinic.serve`` on a database; it migrates the database first.

    Starting returns at once, so that several can migrate at the same time; :meth:`ready` waits.
    """

    def __init__(self, dsn: str, log: Path) -> None:
        if find_spec("django") is None:
            raise DbsyncError("the demo's clinic is a Django project", hint="pip install 'dbsync[demo]'")
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "dbsync.demo.clinic.serve"],
                env=clean_environment() | {"CLINIC_DSN": dsn},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - one system call, no lock
            )

    def ready(self) -> None:
        """Wait until the database is migrated."""
        self._answer()

    def do(self, act: str, **words: str | int) -> Any:
        """Let a person do something: an act of dbsync.demo.clinic.acts; give its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{json.dumps([act, words])}\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the application."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise DbsyncError("the clinic's application failed")
        return json.loads(line)
