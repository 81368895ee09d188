"""Laptops whose databases are restored, copied and reloaded, and what is asked of them afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dbsync.config.load import load
from dbsync.config.models import Config
from dbsync.service.run import Service
from dbsync.service.status import status
from tests.acceptance.places import TABLES, Place, place
from tests.support.databases import Database
from tests.support.servers import own_cluster

SMALL = "[batch]\nmax_changes = 2\n"


@contextmanager
def own(version: int, name: str) -> Iterator[Database]:
    """Give a database in a cluster of its own."""
    with own_cluster(version) as cluster:
        cluster.create_database(name)
        yield Database(cluster=cluster, name=name)


def laptop(folder: Path, source: Database, upstream: Database, *, tables: str = SMALL + TABLES) -> Place:
    """Give a laptop with dbsync installed at both ends."""
    made = place(folder, source, upstream, tables=tables)
    made.install()
    return made


def at(there: Place, source: Database, folder: Path, *, tables: str = SMALL + TABLES) -> Place:
    """Give the same laptop as another database of its own has it."""
    folder.mkdir()
    found = Place(folder=folder, source=source, upstream=there.upstream)
    found.configure(tables)
    return found


@contextmanager
def as_service(there: Place) -> Iterator[None]:
    """Log in to the source with no more rights than a service needs."""
    file = there.folder / "dbsync.toml"
    text = file.read_text()
    assert "user=postgres" in text.partition("[upstream]")[0]
    file.write_text(text.replace("user=postgres", "user=service", 1))
    yield
    file.write_text(text)


def add(database: Database, *names: str) -> None:
    """Add subjects, a transaction each."""
    with database.connect() as session:
        for name in names:
            session.execute("INSERT INTO subject (identifier, initials) VALUES (%s, 'AA')", (name,))


def edit(database: Database, name: str, initials: str) -> None:
    database.sql("UPDATE subject SET initials = %s WHERE identifier = %s", (initials, name))


def subjects(database: Database) -> dict[str, str]:
    return dict(database.sql("SELECT identifier, initials FROM subject ORDER BY identifier"))


def config(there: Place) -> Config:
    """Read the place's dbsync.toml."""
    return load(there.folder / "dbsync.toml", {})


def ship(there: Place) -> int:
    """Do what ``dbsync run --once`` does, without the time it takes to start the program."""
    return Service(config=config(there)).run_once()


def kinds(there: Place) -> list[str]:
    """Give what status says has happened."""
    return [event.kind.value for event in status(config(there)).events]


def told(there: Place) -> str:
    """Give what status tells a person, and hold that it tells all that has happened."""
    shown = there.must("status").out
    events = there.status()["events"]
    assert [event["kind"] for event in events] == kinds(there)
    assert all(event["what"] in shown and event["hint"] in shown for event in events)
    return shown


def applied(upstream: Database) -> int:
    """Count the changes that were applied: what came again was dropped."""
    return int(upstream.value("SELECT coalesce(sum(changes - dropped), 0) FROM dbsync.receipt"))


def hold_calm(upstream: Database) -> None:
    """Hold that applying met nothing unexpected: no conflict, nothing in quarantine."""
    assert upstream.sql("SELECT conflict, relation, key FROM dbsync.conflict") == []
    assert upstream.sql("SELECT conflict, reason FROM dbsync.quarantine") == []


def incarnations(upstream: Database) -> dict[Any, int]:
    return dict(upstream.sql("SELECT incarnation, count(*) FROM dbsync.receipt GROUP BY incarnation"))
