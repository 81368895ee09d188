"""Two databases under the names that the documents use: the services ``clinic`` and ``community``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.docs.manual import ROOT
from tests.support.databases import Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A folder in which ``service=clinic`` and ``service=community`` are databases with docker/clinic.sql."""

    pair: Pair
    folder: Path
    programs: Path = Path(sys.executable).parent
    """Where the program dbsync is."""

    @property
    def environ(self) -> dict[str, str]:
        """Give the environment of a shell there: dbsync in PATH, nothing of this process's own settings."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DBSYNC", "PG", "PYTHON"))}
        path = f"{self.programs}{os.pathsep}{os.environ['PATH']}"
        return {**kept, "PATH": path, "PGSERVICEFILE": str(self.folder / "pg_service.conf")}

    def name_services(self, **parameters: str) -> None:
        """Write pg_service.conf; parameters replace those of both services."""
        lines: list[str] = []
        for service, database in (("clinic", self.pair.source), ("community", self.pair.upstream)):
            settings: dict[str, Any] = {**conninfo_to_dict(database.dsn), **parameters}
            lines += [f"[{service}]", *(f"{name}={value}" for name, value in settings.items()), ""]
        (self.folder / "pg_service.conf").write_text("\n".join(lines))

    def sh(self, script: str) -> str:
        """Run lines of a document as a shell does; give what they print."""
        done = subprocess.run(
            ["sh", "-ec", script],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def ground(pair: Pair, tmp_path: Path) -> Iterator[Ground]:
    """Give two servers' databases with the clinic's schema, one subject in the source."""
    schema = (ROOT / "docker" / "clinic.sql").read_text()
    for database in (pair.source, pair.upstream):
        with database.connect() as connection:
            connection.execute(schema.encode())
    found = Ground(pair=pair, folder=tmp_path)
    found.name_services()
    pair.source.script("INSERT INTO clinic_subject (identifier, name) VALUES ('S-1001', 'Neema')")
    yield found
