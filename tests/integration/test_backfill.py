"""A backfill logs every row that was there before the triggers, whatever the application does meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import LiteralString

import psycopg
import pytest

from dbsync.capture import backfill as backfilling
from dbsync.postgres import connect
from tests.integration.clinic_schema import held
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, prepared

SCHEMA = """
CREATE SCHEMA extensions;
CREATE EXTENSION citext SCHEMA extensions;
CREATE TABLE country (code text COLLATE "C" PRIMARY KEY, name text);
CREATE TABLE shelf (room int, place int, label text, PRIMARY KEY (room, place));
CREATE TABLE address (mail extensions.citext COLLATE "C", no int, PRIMARY KEY (mail, no));
CREATE TABLE login (mail extensions.citext COLLATE "C" PRIMARY KEY);
CREATE TABLE stamp (code text NOT NULL UNIQUE);
"""
TABLES = """
[[tables]]
name = "*"
"""
ROWS = """
INSERT INTO country (code) VALUES ('b'), ('c'), ('d'), ('e'), ('f'), ('g'), ('h');
INSERT INTO shelf (room, place) SELECT room, place FROM generate_series(1, 3) room, generate_series(1, 3) place;
INSERT INTO address (mail, no) SELECT mail, no FROM unnest('{a,B,c,D,e}'::text[]) mail, generate_series(1, 3) no;
INSERT INTO login (mail) SELECT mail FROM unnest('{a,B,c,D,e}'::text[]) mail;
INSERT INTO stamp (code) VALUES ('1'), ('2'), ('3'), ('4'), ('5')
"""


@pytest.fixture
def country(databases: Databases, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """Give rows that were there before, and chunks of two."""
    monkeypatch.setattr(backfilling, "CHUNK", 2)
    both = prepared(databases, pair, SCHEMA)
    both.source.script(ROWS)
    both.upstream.sql("ALTER TABLE stamp ADD id bigserial PRIMARY KEY")
    with Pipeline(both.source, both.upstream, TABLES) as pipeline:
        yield pipeline


def backfill(pipeline: Pipeline, *tables: str) -> int:
    """Backfill some tables, as the command does."""
    with connect(pipeline.source.dsn, name="source") as connection:
        names = [table.name for table in pipeline.registry.shipped() if table.name.name in tables]
        return backfilling.backfill(connection, pipeline.registry, pipeline.catalog, names, lambda *_: None)


@contextmanager
def uncommitted(pipeline: Pipeline, *statements: LiteralString) -> Iterator[None]:
    """Begin a backfill of everything while an application's transaction is open, and commit that when it waits."""
    with pipeline.source.connect() as application:
        application.execute("BEGIN")
        for statement in statements:
            application.execute(statement)
        filling = threading.Thread(target=backfill, args=(pipeline, "country", "shelf", "address"))
        filling.start()
        deadline = time.monotonic() + 10
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
        while filling.is_alive() and not pipeline.source.value(waiting) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert filling.is_alive()
        yield
        application.execute("COMMIT")
        filling.join(20)
        assert not filling.is_alive()


@ONE_MIXTURE
@pytest.mark.parametrize(
    "moves",
    [
        pytest.param(["UPDATE country SET code = 'z' WHERE code = 'c'"], id="behind all others"),
        pytest.param(["UPDATE country SET code = 'a' WHERE code = 'c'"], id="before all others"),
        pytest.param(["UPDATE country SET code = 'a' WHERE code = 'h'", "UPDATE country SET name = 'x' WHERE code = 'c'"],
                     id="out of a chunk to come into one that is logged"),
        pytest.param(["UPDATE shelf SET room = 9 WHERE (room, place) = (1, 2)"], id="a column of two, upwards"),
        pytest.param(["UPDATE shelf SET place = 0 WHERE (room, place) = (2, 1)"], id="a column of two, downwards"),
        pytest.param(["UPDATE address SET mail = 'Z' WHERE (mail, no) = ('B', 1)"], id="a type of an extension"),
        pytest.param(["UPDATE country SET code = upper(code)"], id="every row"),
        pytest.param(["DELETE FROM country WHERE code = 'c'"], id="a row that is gone"),
        pytest.param(["UPDATE country SET code = 'z' WHERE code = 'c'", "INSERT INTO country VALUES ('c', 'another')"],
                     id="and another row takes its place"),
    ],
)  # fmt: skip
def test_a_backfill_passes_over_no_row_while_primary_keys_change_under_it(
    country: Pipeline, moves: list[LiteralString]
) -> None:
    with uncommitted(country, "SET search_path = public, extensions", *moves):
        pass
    assert backfill(country, "login", "stamp") == 10
    assert held(country) == []
    country.agree()
    assert held(country) == []


@ONE_MIXTURE
def test_a_backfill_waits_for_whoever_is_writing_also_where_transactions_repeat_their_reads(country: Pipeline) -> None:
    country.source.sql(
        psycopg.sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = 'repeatable read'").format(
            psycopg.sql.Identifier(country.source.name)
        )
    )
    with uncommitted(country, "UPDATE country SET name = 'by hand'"):
        pass
    assert backfill(country, "login", "stamp") == 10
    country.agree()


@ONE_MIXTURE
def test_a_backfill_goes_in_the_order_of_the_keys_own_type(country: Pipeline) -> None:
    """Capitals come before small letters where nothing but bytes is compared: not so for citext."""
    assert backfill(country, "login", "address") == 20
    country.ship()
    assert country.upstream.sql("SELECT lower(mail::text) FROM login ORDER BY 1") == [
        ("a",),
        ("b",),
        ("c",),
        ("d",),
        ("e",),
    ]
    assert country.upstream.value("SELECT count(*) FROM address") == 15


@ONE_MIXTURE
def test_a_table_without_a_primary_key_is_backfilled_whole(country: Pipeline) -> None:
    assert backfill(country, "stamp") == 5
    country.ship()
    assert country.upstream.value("SELECT count(*) FROM stamp") == 5


@ONE_MIXTURE
@pytest.mark.parametrize("analysed", [True, False])
def test_a_backfill_reads_each_row_a_few_times_however_many_chunks_there_are(
    country: Pipeline, monkeypatch: pytest.MonkeyPatch, *, analysed: bool
) -> None:
    monkeypatch.setattr(backfilling, "CHUNK", 500)
    country.source.script("""
        INSERT INTO country (code) SELECT 'x' || g FROM generate_series(1, 20000) g;
        INSERT INTO shelf (room, place) SELECT g % 3 + 10, g FROM generate_series(1, 20000) g;
        DELETE FROM dbsync.change
    """)
    if analysed:
        country.source.sql("ANALYZE country, shelf")
    read = """
        SELECT sum(t.seq_tup_read + greatest(t.idx_tup_fetch, i.idx_tup_read)) FROM pg_stat_user_tables t
        JOIN pg_stat_user_indexes i USING (relid) WHERE t.relname = ANY ('{country,shelf}')
    """
    flush = "SELECT pg_stat_force_next_flush()"
    country.source.sql(flush)
    before = int(country.source.value(read))
    assert backfill(country, "country", "shelf") == 40_016
    time.sleep(0.2)  # a session that ends counts what it read
    assert int(country.source.value(read)) - before < 4 * 40_016


PARTED = """
CREATE TABLE reading (id int, month int, value text, PRIMARY KEY (id, month)) PARTITION BY LIST (month);
CREATE TABLE reading_1 PARTITION OF reading FOR VALUES IN (1)
"""


@ONE_MIXTURE
def test_a_new_partition_is_to_be_backfilled_only_where_rows_came_with_it(databases: Databases, pair: Pair) -> None:
    both = prepared(databases, pair, PARTED)
    owed = "SELECT relation FROM dbsync.backfill WHERE finished_at IS NULL"
    with Pipeline(both.source, both.upstream, '[[tables]]\nname = "reading"\n') as pipeline:
        pipeline.source.sql("INSERT INTO reading VALUES (1, 1, 'a')")
        assert backfill(pipeline, "reading") == 1
        pipeline.source.sql("CREATE TABLE reading_2 PARTITION OF reading FOR VALUES IN (2)")
        pipeline.reinstall('[[tables]]\nname = "reading"\n')
        assert pipeline.source.sql(owed) == []
        pipeline.source.script("""
            CREATE TABLE reading_3 (LIKE reading INCLUDING ALL);
            INSERT INTO reading_3 VALUES (3, 3, 'c');
            ALTER TABLE reading ATTACH PARTITION reading_3 FOR VALUES IN (3)
        """)
        pipeline.reinstall('[[tables]]\nname = "reading"\n')
        assert pipeline.source.sql(owed) == [("public.reading",)]
        assert backfill(pipeline, "reading") == 2
        pipeline.upstream.sql("CREATE TABLE reading_3 PARTITION OF reading FOR VALUES IN (3)")
        pipeline.agree()
