"""A certificate is no reason to wipe a laptop on which there may be rows that nobody captured, or that cannot be told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dbsync.changelog import lives
from dbsync.identity import registry
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.integration.commands import Done, dbsync
from tests.integration.test_certificate import SERVER, laptop
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import LINK, Pipeline, piped
from tests.support.served import admit, serving

pytestmark = ONE_MIXTURE

Type = Callable[..., Done]


@pytest.fixture
def clinic(pair: Pair, databases: Databases, tmp_path: Path) -> Iterator[Pipeline]:
    """Give a laptop in tmp_path whose server has all that it captured, and certifies so."""
    with (
        piped(databases, pair, SCHEMA, TABLES) as pipeline,
        serving(tmp_path / "server", pipeline.upstream, keys=SERVER) as (_, url),
    ):
        admit(pipeline.upstream, "field-01", laptop(tmp_path, pipeline.source, url))
        with pipeline.source.connect() as connection:
            registry.pin(connection, LINK, SERVER.public)
        pipeline.source.sql("INSERT INTO site (code) VALUES ('a')")
        assert dbsync(tmp_path, "run", "--once").code == 0
        assert dbsync(tmp_path, "certificate").code == 0
        yield pipeline


def doubted(folder: Path, word: str) -> None:
    """Hold that the certificate is no all-clear, and says why."""
    done = dbsync(folder, "certificate")
    assert done.code == 1, done.out
    assert word in done.out
    assert "every change captured here" not in done.out


def test_what_was_written_while_capture_is_off(clinic: Pipeline, tmp_path: Path) -> None:
    assert dbsync(tmp_path, "capture", "off").code == 0
    clinic.source.sql("INSERT INTO site (code) VALUES ('b')")
    doubted(tmp_path, "capture is off")


def test_what_was_written_while_triggers_are_disabled(clinic: Pipeline, tmp_path: Path) -> None:
    clinic.source.sql("ALTER TABLE site DISABLE TRIGGER USER")
    clinic.source.sql("INSERT INTO site (code) VALUES ('b')")
    doubted(tmp_path, "nothing is captured of site")


def test_what_sessions_write_that_fire_no_trigger(clinic: Pipeline, tmp_path: Path) -> None:
    name = clinic.source.name
    clinic.source.sql(f"ALTER DATABASE {name} SET session_replication_role = replica".encode())
    clinic.source.sql("INSERT INTO site (code) VALUES ('b')")
    doubted(tmp_path, f"ALTER DATABASE {name} RESET session_replication_role;")


def test_what_was_written_while_triggers_were_disabled_until_it_was_backfilled(
    clinic: Pipeline, tmp_path: Path
) -> None:
    """The backfill of before is through; what was written since then is not in the log."""
    assert dbsync(tmp_path, "backfill").code == 0
    assert dbsync(tmp_path, "run", "--once").code == 0
    clinic.source.sql("ALTER TABLE site DISABLE TRIGGER USER")
    clinic.source.sql("INSERT INTO site (code) VALUES ('b')")
    done = dbsync(tmp_path, "install-triggers")
    assert (done.code, "dbsync backfill" in done.err) == (0, True)
    doubted(tmp_path, "the backfill of public.site is not through")
    assert "the backfill of site is not through: dbsync backfill" in dbsync(tmp_path, "status").out
    assert dbsync(tmp_path, "backfill").out.startswith("2 rows of ")
    assert dbsync(tmp_path, "run", "--once").code == 0
    assert dbsync(tmp_path, "certificate").code == 0
    assert clinic.upstream.sql("SELECT code FROM site ORDER BY code") == [("a",), ("b",)]


def test_what_was_there_before_the_triggers_until_it_was_backfilled(clinic: Pipeline, tmp_path: Path) -> None:
    assert dbsync(tmp_path, "uninstall-triggers").code == 0
    clinic.source.sql("INSERT INTO site (code) VALUES ('b')")
    assert dbsync(tmp_path, "install-triggers").code == 0
    doubted(tmp_path, "the backfill of public.site is not through")
    assert dbsync(tmp_path, "backfill", "site").code == 0
    assert dbsync(tmp_path, "run", "--once").code == 0
    assert dbsync(tmp_path, "certificate").code == 0


def test_what_a_backfill_has_not_come_to(clinic: Pipeline, tmp_path: Path) -> None:
    clinic.source.sql("INSERT INTO dbsync.backfill (relation) VALUES ('public.site')")
    doubted(tmp_path, "the backfill of public.site is not through")


def test_what_was_written_after_a_reload_into_another_cluster(clinic: Pipeline, tmp_path: Path) -> None:
    """A dump that was loaded into a young cluster has a cursor that lies far in that cluster's future."""
    clinic.source.script("""
        UPDATE dbsync.node SET system_identifier = system_identifier + 1;
        UPDATE dbsync.link SET cursor = '900000000:900000000:';
        INSERT INTO site (code) VALUES ('b')""")
    doubted(tmp_path, "reloaded")
    assert dbsync(tmp_path, "run", "--once").code == 0
    assert clinic.upstream.sql("SELECT code FROM site ORDER BY code") == [("a",), ("b",)]
    assert dbsync(tmp_path, "certificate").code == 0


def test_what_a_restored_server_has_lost_of_the_life_before(clinic: Pipeline, tmp_path: Path) -> None:
    with clinic.source.connect() as connection, connection.transaction():
        lives.begin_life(connection, clinic.node.incarnation)
    clinic.upstream.script("DELETE FROM dbsync.receipt; DELETE FROM site")
    doubted(tmp_path, "before this database began a new life")
    assert dbsync(tmp_path, "run", "--once").code == 0
    assert clinic.upstream.sql("SELECT code FROM site") == [("a",)]
    assert dbsync(tmp_path, "certificate").code == 0
