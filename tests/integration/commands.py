"""Run the program as a person does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from psycopg import conninfo

from tests.support.program import Forked

_ROOT = Path(__file__).parents[2]
_PATIENCE = 120
"""Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Give the JSON on stdout."""
        return json.loads(self.out)

    def codes(self) -> list[str]:
        """Give the codes of the findings that are errors or warnings."""
        return [finding["code"] for finding in self.json["findings"] if finding["severity"] != "ok"]


def dbsync(folder: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> Done:
    """Run ``dbsync`` in a folder, in a process of its own, with nothing of this one's settings.

    The process is forked from one that has imported the program already: of a short command that is most of its time. Where
    the environment is the test's own, it is started from nothing.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DBSYNC", "PG"))}
    if environ is None:
        return _forked(folder, arguments, kept)
    ran = subprocess.run(
        [sys.executable, "-c", "from dbsync.cli.main import run; run()", *arguments],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(_ROOT), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE,
    )
    return Done(code=ran.returncode, out=ran.stdout, err=ran.stderr)


def _forked(folder: Path, arguments: tuple[str, ...], environ: Mapping[str, str]) -> Done:
    with TemporaryDirectory() as made:
        out, err = Path(made) / "out", Path(made) / "err"
        process = Forked(folder, arguments, environ, out, err)
        try:
            code = process.wait(_PATIENCE)
        finally:
            process.kill()
        return Done(code=code, out=out.read_text(), err=err.read_text())


def reachable_as(dsn: str, role: str) -> str:
    """Give the connection string for another role."""
    return conninfo.make_conninfo(dsn, user=role)
