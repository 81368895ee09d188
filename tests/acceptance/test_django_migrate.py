"""Django's ``migrate`` on captured tables, under a running service and while the application writes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import LiteralString

import psycopg
from psycopg import errors

from tests.acceptance.places import Place
from tests.support.databases import ONE_MIXTURE, Database, Pair
from tests.support.service import until

ROOT = Path(__file__).parent.parent.parent
TABLES = '[[tables]]\nname = "growing_*"\n'
BRIEF = "-c lock_timeout=10s"
"""What stands in the way of ``migrate`` for longer lets it fail."""
PAUSE = 0.05
"""Seconds between two rounds of the application: it works all the time, and the service keeps up."""
OLD_VERSION = (errors.UndefinedColumn, errors.NotNullViolation, errors.UndefinedTable)
"""What the application's old version meets in the new tables, dbsync or not."""

STEPS: tuple[LiteralString, ...] = (
    "INSERT INTO growing_patient (number, {name}, weight, ward_id {more})"
    " SELECT 'P-' || %(n)s, 'name', %(n)s %% 90, id {consent} FROM growing_ward ORDER BY id LIMIT 1",
    "INSERT INTO growing_sample (patient_id, code, tubes)"
    " SELECT id, 'S-' || %(n)s, 1 FROM growing_patient ORDER BY id DESC LIMIT 3",
    "UPDATE growing_patient SET weight = %(n)s %% 100, {name} = 'n-' || %(n)s WHERE id %% 17 = %(n)s %% 17",
    "UPDATE growing_sample SET tubes = tubes + 1 WHERE id %% 15 = %(n)s %% 15",
    "DELETE FROM growing_sample WHERE id = (SELECT min(id) FROM growing_sample)",
    "UPDATE growing_ward SET code = 'W-' || %(n)s",
)
LEAFLET: LiteralString = (
    "INSERT INTO growing_leaflet (title, copies) VALUES ('L-' || %(n)s, 1)"
    " ON CONFLICT (title) DO UPDATE SET copies = excluded.copies"
)
VISIT: LiteralString = (
    "INSERT INTO growing_visit (patient_id, code)"
    " SELECT id, 'V-' || %(n)s FROM growing_patient ORDER BY id DESC LIMIT 2"
)


def django(database: Database, *words: str) -> None:
    """Run ``migrate`` as the person who deploys does."""
    settings = {"CLINIC_DSN": database.dsn, "DJANGO_SETTINGS_MODULE": "tests.clinic.growing.settings"}
    done = subprocess.run(
        [sys.executable, "-m", "django", "migrate", "--verbosity=0", *words],
        cwd=ROOT,
        env={**os.environ, **settings, "PGOPTIONS": BRIEF},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


class Application:
    """The application at work: each step again and again, in the words of the version that is deployed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stop = Event()
        self._new_name = self._has_consent = False
        self.last: LiteralString = LEAFLET
        self.rounds = 0
        self.broken: list[str] = []
        """What failed for no reason of the application's own."""

    @contextmanager
    def at_work(self) -> Iterator[None]:
        thread = Thread(target=self._work)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def go_on(self, rounds: int = 5) -> None:
        """Wait until it has written more."""
        wanted = self.rounds + rounds
        until(lambda: self.rounds >= wanted or bool(self.broken), "the application stands still")

    def _work(self) -> None:
        with self._database.connect() as session:
            for number in count(1):
                for step in (*STEPS, self.last):
                    if self._stop.is_set():
                        return
                    self._write(session, step, number)
                self.rounds += 1
                self._stop.wait(PAUSE)

    def _write(self, session: psycopg.Connection, step: LiteralString, number: int) -> None:
        try:
            session.execute(self._said(step), {"n": number})
        except OLD_VERSION as error:
            if "dbsync" in (error.diag.context or ""):
                self.broken.append(f"{step}\n{error}\n{error.diag.context}")
            self._update(error)
        except psycopg.Error as error:
            self.broken.append(f"{step}\n{error}\n{error.diag.context}")

    def _said(self, step: LiteralString) -> bytes:
        consent = (", consent", ", 'yes'") if self._has_consent else ("", "")
        name = "given_name" if self._new_name else "first_name"
        return step.format(name=name, more=consent[0], consent=consent[1]).encode()

    def _update(self, error: psycopg.Error) -> None:
        """Deploy the version that knows the new tables."""
        if isinstance(error, errors.NotNullViolation):
            self._has_consent = True
        elif isinstance(error, errors.UndefinedColumn):
            self._new_name = True
        else:
            self.last = VISIT


@ONE_MIXTURE
def test_migrate_on_captured_tables_loses_nothing_and_waits_for_nobody(pair: Pair, tmp_path: Path) -> None:
    here = Place(folder=tmp_path, source=pair.source, upstream=pair.upstream)
    for database in (here.source, here.upstream):
        django(database, "growing", "m01_first")
        database.sql("INSERT INTO growing_ward (code) VALUES ('W-0')")
    here.configure(TABLES)
    here.install()
    application = Application(here.source)
    with here.service() as service, application.at_work():
        service.wait_for("link_connected")
        application.go_on()
        with in_a_process_of_its_own(here.source) as migrating:
            while migrating.is_alive():
                service.reload()  # which installs what is outdated, in the middle of it all
                migrating.join(0.2)
        application.go_on()
        assert application.last == VISIT
        service.reload()
        until(lambda: triggers(here) == {"installed"}, "triggers are not renewed")
        application.go_on()
        until(lambda: waiting(here) > 0, "nothing waits for the upstream's migration")
        django(here.upstream)
        application.go_on()
    assert not application.broken, "\n\n".join(application.broken)
    assert not service.said("link_halted"), service.said("link_halted")
    here.must("backfill", "growing_visit")
    leave_out_what_names_columns_gone_for_good(here)
    # The service was killed: what its session was at upstream may go on for a while, and waits are left alone meanwhile.
    until(lambda: bool(here.must("run", "--once")) and waiting(here) == 0, "what waited does not go in")
    assert here.must("verify").out.splitlines()[-1].endswith("source and upstream agree.")


@contextmanager
def in_a_process_of_its_own(database: Database) -> Iterator[Thread]:
    """Migrate meanwhile; fail if that fails."""
    failed: list[BaseException] = []

    def migrate() -> None:
        try:
            django(database)
        except BaseException as error:
            failed.append(error)

    thread = Thread(target=migrate)
    thread.start()
    yield thread
    thread.join()
    assert not failed, failed[0]


def waiting(place: Place) -> int:
    return int(place.upstream.value("SELECT count(*) FROM dbsync.quarantine WHERE state = 'waiting'"))


def leave_out_what_names_columns_gone_for_good(place: Place) -> None:
    """Do what a person does with changes written between two migrations, in words that neither side knows any more."""
    place.must("run", "--once")  # whatever the upstream has columns for now goes in by itself
    place.run("quarantine", "retry", "--all")  # and the rest says what it lacks now
    gone = place.upstream.sql(
        "SELECT id::text FROM dbsync.quarantine WHERE state = 'waiting' AND conflict = 'missing_column'"
        " AND awaits_column IN ('first_name', 'fax')"
    )
    for (case,) in gone:
        place.must("quarantine", "skip", case, "--reason", "the migration of today renamed the column")
    if gone:
        place.must("backfill", "growing_patient", "--again")


def triggers(place: Place) -> set[str]:
    return {table["trigger"] for table in place.status()["tables"] if table["trigger"] != "removed"}
