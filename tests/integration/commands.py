"""Run the program as a person does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import conninfo


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
    """Run ``dbsync`` in a folder, in a process of its own, with nothing of this one's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DBSYNC", "PG"))}
    ran = subprocess.run(
        [sys.executable, "-c", "from dbsync.cli.main import run; run()", *arguments],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(Path(__file__).parents[2]), **(environ or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Done(code=ran.returncode, out=ran.stdout, err=ran.stderr)


def reachable_as(dsn: str, role: str) -> str:
    """Give the connection string for another role."""
    return conninfo.make_conninfo(dsn, user=role)
