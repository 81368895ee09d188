"""After a migration the service renews the triggers where it may; where it may not, somebody is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from structlog.testing import capture_logs

from dbsync.capture import install, rights
from dbsync.capture.trigger import Capture, trigger_name
from dbsync.config.load import load
from dbsync.config.models import Config
from dbsync.model.catalog import Catalog
from dbsync.model.registration import Registry
from dbsync.service.care import Care
from dbsync.service.install import install_source, uninstall_source
from dbsync.service.run import Service
from dbsync.service.status import status
from tests.acceptance.places import SCHEMA, TABLES, Place
from tests.integration.people import person
from tests.integration.test_least_rights import folder_as, login
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import piped
from tests.support.service import until

pytestmark = ONE_MIXTURE

OFTEN = 0.05
BOTH = {"subject": "installed", "visit": "installed"}


@pytest.fixture
def here(databases: Databases, pair: Pair, tmp_path: Path) -> Iterator[Place]:
    """Give a laptop and its server, dbsync installed on both, and one subject on both sides."""
    with piped(databases, pair, SCHEMA, TABLES) as pipeline:
        pipeline.source.sql("INSERT INTO subject (identifier) VALUES ('before')")
        pipeline.agree()
    person(pipeline, tmp_path, TABLES)
    yield Place(folder=tmp_path, source=pipeline.source, upstream=pipeline.upstream)


def config(of: Place) -> Config:
    return load(of.folder / "dbsync.toml", {})


def triggers(of: Place) -> dict[str, str]:
    """Say what ``status`` says of them."""
    return {str(table.table): table.trigger for table in status(config(of)).tables}


@contextmanager
def running(of: Place) -> Iterator[None]:
    """Run the service, which looks after the triggers more often than it does in the field."""
    service = Service(config=config(of), care=Care(OFTEN))
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        yield
    finally:
        service.stop.set()
        thread.join()


def test_triggers_are_renewed_while_the_service_runs_and_capture_the_new_reference(here: Place) -> None:
    with running(here):
        for database in (here.upstream, here.source):
            database.sql("ALTER TABLE subject ADD mother_id int REFERENCES subject")
        until(lambda: triggers(here) == BOTH, "the triggers are not renewed")
        here.source.sql("INSERT INTO subject (identifier, mother_id) SELECT 'child', id FROM subject")
        here.see("subject", 2)
    mother = "SELECT m.identifier FROM subject s JOIN subject m ON m.id = s.mother_id WHERE s.identifier = 'child'"
    assert here.upstream.sql(mother) == [("before",)]


def test_a_table_altered_in_the_middle_of_an_installation_is_still_written(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    compose = install.captures

    def altered_first(connection: psycopg.Connection, registry: Registry, catalog: Catalog) -> list[Capture]:
        here.source.sql("ALTER TABLE subject RENAME COLUMN colour TO shade")
        return compose(connection, registry, catalog)

    here.source.sql("ALTER TABLE subject ADD colour text")
    with monkeypatch.context() as patched:
        patched.setattr(install, "captures", altered_first)
        install_source(config(here))
    here.source.sql("INSERT INTO subject (identifier, shade) VALUES ('after', 'blue')")
    here.source.sql("UPDATE subject SET shade = 'green' WHERE identifier = 'after'")
    here.upstream.sql("ALTER TABLE subject ADD shade text")
    install_source(config(here))
    here.must("run", "--once")
    assert here.upstream.sql("SELECT shade FROM subject WHERE identifier = 'after'") == [("green",)]


def test_a_table_that_comes_in_the_middle_of_an_installation_is_let_in(
    here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    give = rights.grant

    def migrated_after(connection: psycopg.Connection, registry: Registry) -> None:
        give(connection, registry)
        here.source.sql("CREATE TABLE IF NOT EXISTS clinic (id serial PRIMARY KEY, code text NOT NULL UNIQUE)")
        here.source.sql("ALTER TABLE subject ADD COLUMN IF NOT EXISTS clinic_id int REFERENCES clinic")

    with (here.folder / "dbsync.toml").open("a") as file:
        file.write('\n[[tables]]\nname = "clinic*"\n')
    with monkeypatch.context() as patched:
        patched.setattr(rights, "grant", migrated_after)
        install_source(config(here))
    here.source.sql("INSERT INTO clinic (code) VALUES ('C')")
    here.source.sql("INSERT INTO subject (identifier, clinic_id) VALUES ('after', 1)")
    assert triggers(here) == BOTH | {"clinic": "installed"}


def test_a_role_that_may_not_says_so_once_each_time_it_happens(here: Place, tmp_path: Path) -> None:
    with (
        login(here.source, "service", "dbsync_replicator") as mine,
        login(here.upstream, "service", "dbsync_replicator") as theirs,
    ):
        limited = config(folder_as(here, tmp_path / "service", mine, theirs))
        care = Care(0)
        for column in ("colour", "shade"):
            here.source.sql(f"ALTER TABLE subject ADD {column} text".encode())
            with capture_logs() as logs:
                for _ in range(3):
                    care.take(limited)
            assert triggers(here) == BOTH | {"subject": "outdated"}
            (said,) = logs
            assert (said["event"], said["log_level"], said["tables"]) == ("triggers_drifted", "warning", ["subject"])
            assert said["hint"] == "as the owner of the tables: dbsync install-triggers"
            Care().take(config(here))
            care.take(limited)
            assert triggers(here) == BOTH


def test_a_trigger_that_somebody_disabled_stays_so_when_another_tables_are_renewed(here: Place) -> None:
    here.source.sql(f"ALTER TABLE visit DISABLE TRIGGER {trigger_name('INSERT')}".encode())
    here.source.sql("ALTER TABLE subject ADD colour text")
    with capture_logs() as logs:
        Care().take(config(here))
    assert [(entry["event"], entry["tables"]) for entry in logs] == [("triggers_renewed", ["subject"])]
    assert triggers(here) == {"subject": "installed", "visit": "disabled"}


def test_an_installation_that_was_stopped_is_finished_by_the_service(here: Place) -> None:
    here.source.sql("UPDATE dbsync.relation SET fingerprint = '' WHERE relation = 'public.visit'")
    assert triggers(here) == BOTH | {"visit": "outdated"}
    Care().take(config(here))
    assert triggers(here) == BOTH


def test_a_source_whose_triggers_were_all_taken_away_is_left_alone(here: Place) -> None:
    uninstall_source(config(here), force=True)
    Care().take(config(here))
    assert set(triggers(here).values()) == {"missing"}


def test_a_table_that_somebody_holds_is_renewed_later(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "LOCK_ATTEMPTS", 1)
    with (here.folder / "dbsync.toml").open("a") as file:
        file.write("\n[service]\nlock_timeout = 0.01\n")
    here.source.sql("ALTER TABLE subject ADD colour text")
    care = Care(0)
    with here.source.connect() as other, other.transaction(), capture_logs() as logs:
        other.execute("LOCK TABLE subject IN ROW EXCLUSIVE MODE")
        care.take(config(here))
    assert [(said["event"], said["hint"]) for said in logs] == [("triggers_drifted", "it is tried again in a minute")]
    care.take(config(here))
    assert triggers(here) == BOTH


def test_nothing_is_looked_at_before_its_time(here: Place) -> None:
    care = Care(3600)
    care.take(config(here))
    here.source.sql("ALTER TABLE subject ADD colour text")
    care.take(config(here))
    assert triggers(here) == BOTH | {"subject": "outdated"}
