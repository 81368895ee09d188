"""Taking dbsync away: nothing that the upstream does not have goes with it, and no table is left half captured."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from dbsync.errors import Refusal
from tests.integration.people import person
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, piped
from tests.support.service import until

pytestmark = ONE_MIXTURE

SCHEMA = """
CREATE TABLE site (id serial PRIMARY KEY, code text NOT NULL UNIQUE);
CREATE TABLE specimen (code text NOT NULL, kind text NOT NULL, PRIMARY KEY (kind, code)) PARTITION BY LIST (kind);
CREATE TABLE specimen_blood PARTITION OF specimen FOR VALUES IN ('blood');
CREATE TABLE visit (id serial PRIMARY KEY, code text NOT NULL UNIQUE);
"""
OTHERS = """
[[tables]]
name = "site"
[[tables]]
name = "visit"
"""
TABLES = f'{OTHERS}[[tables]]\nname = "specimen"\nkey = ["kind", "code"]\n'
TRIGGERS = """
SELECT count(*) FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
WHERE p.pronamespace = 'dbsync'::regnamespace AND NOT t.tgisinternal
"""


@pytest.fixture
def pipeline(databases: Databases, pair: Pair) -> Iterator[Pipeline]:
    with piped(databases, pair, SCHEMA, TABLES) as found:
        found.source.sql("INSERT INTO site (code) VALUES ('a')")
        found.ship()
        yield found


def has_schema(pipeline: Pipeline) -> bool:
    return bool(pipeline.source.value("SELECT to_regnamespace('dbsync') IS NOT NULL"))


def test_the_log_is_not_dropped_with_what_an_open_transaction_has_written(pipeline: Pipeline, tmp_path: Path) -> None:
    who = person(pipeline, tmp_path, TABLES)
    refused: list[Refusal] = []

    def uninstall() -> None:
        try:
            who.type("uninstall-triggers", "--drop-schema")
        except Refusal as refusal:
            refused.append(refusal)

    with psycopg.connect(pipeline.source.dsn) as application:
        application.execute("INSERT INTO site (code) VALUES ('b')")
        uninstalling = threading.Thread(target=uninstall)
        uninstalling.start()
        waits = (
            "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        until(lambda: pipeline.source.value(waits), "it waits for the application")
    uninstalling.join()
    assert "not acknowledged" in str(refused[0])
    assert has_schema(pipeline)
    pipeline.ship()
    assert pipeline.upstream.sql("SELECT code FROM site ORDER BY code") == [("a",), ("b",)]
    who.must("uninstall-triggers", "--drop-schema")
    assert not has_schema(pipeline)


def test_the_log_of_a_reloaded_database_is_not_dropped(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.source.script("""
        UPDATE dbsync.node SET system_identifier = system_identifier + 1;
        UPDATE dbsync.link SET cursor = '900000000:900000000:';
        INSERT INTO site (code) VALUES ('b')""")
    with pytest.raises(Refusal, match="reloaded"):
        person(pipeline, tmp_path, TABLES).type("uninstall-triggers", "--drop-schema")
    assert has_schema(pipeline)


def test_a_partitioned_table_is_uninstalled_like_any(pipeline: Pipeline, tmp_path: Path) -> None:
    person(pipeline, tmp_path, TABLES).must("uninstall-triggers")
    assert pipeline.source.value(TRIGGERS) == 0
    pipeline.source.sql("INSERT INTO specimen (kind, code) VALUES ('blood', '1')")


def test_a_partitioned_table_may_leave_the_configuration(pipeline: Pipeline, tmp_path: Path) -> None:
    done = person(pipeline, tmp_path, OTHERS).must("install-triggers")
    assert "triggers removed from" in done.out
    assert (
        pipeline.source.value(
            f"{TRIGGERS} AND t.tgrelid IN ('specimen'::regclass, 'specimen_blood'::regclass)".encode()
        )
        == 0
    )
    assert pipeline.source.value(f"{TRIGGERS} AND t.tgrelid = 'site'::regclass".encode()) > 0
