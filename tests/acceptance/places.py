"""A laptop and its community server with a small schema, dbsync installed by its own commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

from tests.integration.commands import Done, dbsync
from tests.support.databases import Database
from tests.support.service import ServiceProcess, until

SCHEMA: LiteralString = """
CREATE TABLE subject (id serial PRIMARY KEY, identifier text NOT NULL UNIQUE, initials text);
CREATE TABLE visit (id serial PRIMARY KEY, subject_id int NOT NULL REFERENCES subject DEFERRABLE INITIALLY DEFERRED,
    code int NOT NULL, note text, UNIQUE (subject_id, code));
CREATE TABLE extra (id serial PRIMARY KEY, code text NOT NULL UNIQUE);
"""
TABLES = '[[tables]]\nname = "subject"\n\n[[tables]]\nname = "visit"\n'
EXTRA = '\n[[tables]]\nname = "extra"\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder with a dbsync.toml, and the two databases it names."""

    folder: Path
    source: Database
    upstream: Database

    def configure(self, tables: str = TABLES, *, node: str = "field-07") -> None:
        """Write the dbsync.toml."""
        (self.folder / "dbsync.toml").write_text(
            f'[node]\nname = "{node}"\nsource = "{self.source.dsn}"\n'
            f'[upstream]\nurl = "{self.upstream.dsn}"\nname = "community"\n'
            f"[service]\npoll_interval = 0.05\nretry_max = 1.0\n{tables}"
        )

    def run(self, *words: str, environ: Mapping[str, str] | None = None) -> Done:
        """Run a command."""
        return dbsync(self.folder, *words, environ=environ)

    def must(self, *words: str) -> Done:
        """Run a command that has to exit 0."""
        done = self.run(*words)
        assert done.code == 0, f"{words}: {done.code}\n{done.out}{done.err}"
        return done

    def install(self) -> None:
        """Install on both sides."""
        self.must("install-upstream")
        self.must("install-triggers")

    def status(self) -> Any:
        """Give what ``status --json`` says."""
        return self.must("status", "--json").json

    def service(self, environ: Mapping[str, str] | None = None) -> ServiceProcess:
        """Make the service; ``with place.service() as service:`` starts it."""
        return ServiceProcess(self.folder, environ=environ)

    def see(self, table: LiteralString, rows: int) -> None:
        """Wait until the upstream has so many rows in a table."""
        until(
            lambda: self.upstream.value("SELECT count(*) FROM " + table) == rows,
            f"upstream has not {rows} rows in {table}",
        )


def place(folder: Path, source: Database, upstream: Database, *, tables: str = TABLES) -> Place:
    """Give a place whose databases hold the schema; nothing is installed yet."""
    for database in (source, upstream):
        database.script(SCHEMA)
    upstream.script("ALTER SEQUENCE subject_id_seq RESTART 5000; ALTER SEQUENCE visit_id_seq RESTART 7000")
    found = Place(folder=folder, source=source, upstream=upstream)
    found.configure(tables)
    return found


def parts(done: Done) -> dict[str, str]:
    """Give the four parts of an error: what, where, why, try."""
    lines = done.err.strip().splitlines()
    heads = [line for line in lines if line.startswith("dbsync: ")]
    assert len(heads) == 1, done.err
    found = {"what": heads[0].removeprefix("dbsync: ")}
    for line in lines:
        label, _, text = line.strip().partition(" ")
        if line.startswith("  ") and label in {"where", "why", "try"}:
            found[label] = text.strip()
    assert list(found) == ["what", "where", "why", "try"], done.err
    return found
