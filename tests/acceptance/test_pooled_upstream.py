"""An upstream behind PgBouncer, in both of its modes, in one pool with an application."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.places import Place, parts, place
from tests.support.databases import Database, Databases
from tests.support.pgbouncer import pgbouncer
from tests.support.servers import own_cluster

DATED = """
CREATE TABLE sample (id serial PRIMARY KEY, code text NOT NULL UNIQUE, drawn date NOT NULL, held interval NOT NULL);
"""
TABLES = '[[tables]]\nname = "subject"\n\n[[tables]]\nname = "visit"\n\n[[tables]]\nname = "sample"\n'


@contextmanager
def pooled(databases: Databases, folder: Path, mode: str) -> Iterator[tuple[Place, str]]:
    """Give a laptop that reaches its upstream through a pool only, and the pool; dates are read another way there."""
    with own_cluster(18) as cluster:
        cluster.create_database("upstream")
        upstream = Database(cluster=cluster, name="upstream")
        here = place(folder, databases.create(15, name="source"), upstream, tables=TABLES)
        for database in (here.source, upstream):
            database.script(DATED)
        upstream.script("ALTER DATABASE upstream SET DateStyle = 'SQL, DMY'; ALTER DATABASE upstream SET jit = on")
        with pgbouncer(cluster, pool_mode=mode) as pool:
            file = here.folder / "dbsync.toml"
            dsn = f"{pool} dbname=upstream"
            file.write_text(file.read_text().replace(upstream.dsn, dsn))
            yield here, dsn


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_a_laptop_ships_through_a_pool_and_leaves_nothing_in_it(
    databases: Databases, tmp_path: Path, mode: str
) -> None:
    with (
        pooled(databases, tmp_path, mode) as (here, pool),
        psycopg.connect(pool, autocommit=True, prepare_threshold=None) as application,
    ):
        ordinary = seen_by(application)
        here.install()
        found = {finding["code"]: finding for finding in here.run("check", "--json").json["findings"]}
        code = "pooler_transactions" if mode == "transaction" else "pooler"
        assert found[code]["severity"] == "warning", found
        with here.service():
            here.source.script(
                """
                INSERT INTO subject (identifier, initials) SELECT 'S-' || n, 'AA' FROM generate_series(1, 500) n;
                INSERT INTO visit (subject_id, code, note) SELECT id, 1, 'v' FROM subject;
                INSERT INTO sample (code, drawn, held) VALUES ('a', '2026-02-03', '1 mon 2 days -03:04:05');
                """
            )
            here.see("visit", 500)
            here.see("sample", 1)
            here.source.sql("UPDATE subject SET initials = 'BB' WHERE identifier < 'S-2'")
            here.source.sql("DELETE FROM visit WHERE id % 2 = 0")
            here.see("visit", 250)
            application.execute("ALTER TABLE sample ADD CHECK (code <> 'refused')")
            here.source.sql(
                "INSERT INTO sample VALUES (DEFAULT, 'refused', '2026-01-02', '0'), (DEFAULT, 'b', '2026-01-02', '0')"
            )
            here.see("sample", 2)
            here.see("dbsync.quarantine", 1)
            application.execute("ALTER TABLE sample DROP CONSTRAINT sample_code_check")
            here.must("quarantine", "retry", "--all")
            here.see("sample", 3)

        here.must("verify")
        dates = "SELECT code, drawn, held FROM sample ORDER BY code"
        assert here.upstream.sql(dates) == here.source.sql(dates)
        assert (
            here.upstream.value("SELECT count(*) FROM pg_class WHERE relname LIKE 'dbsync%' AND relpersistence = 't'")
            == 0
        )
        assert [seen_by(application) for _ in range(8)] == [ordinary] * 8


def seen_by(application: psycopg.Connection) -> list[tuple[str, str]]:
    """Give the settings that an application meets in the server's process which it gets this time."""
    names = "'DateStyle', 'search_path', 'jit', 'work_mem', 'statement_timeout', 'idle_in_transaction_session_timeout'"
    return application.execute(
        f"SELECT name, setting FROM pg_settings WHERE name IN ({names}) ORDER BY name".encode()
    ).fetchall()


def test_a_source_behind_a_pool_of_transactions_is_refused_and_nothing_is_left_there(
    databases: Databases, tmp_path: Path
) -> None:
    with own_cluster(15) as cluster, pgbouncer(cluster, pool_mode="transaction") as pool:
        cluster.create_database("source")
        source = Database(cluster=cluster, name="source")
        here = place(tmp_path, source, databases.create(18, name="upstream"))
        here.install()
        file = here.folder / "dbsync.toml"
        file.write_text(file.read_text().replace(source.dsn, f"{pool} dbname=source"))
        with psycopg.connect(f"{pool} dbname=source", autocommit=True, prepare_threshold=None) as application:
            ordinary = seen_by(application)
            for words in (["run", "--once"], ["status"], ["install-triggers"]):
                done = here.run(*words)
                assert done.code == 1, words
                assert parts(done)["what"] == "a transaction pooler stands before the source"
                assert "pool_mode = session" in parts(done)["try"]
            assert [seen_by(application) for _ in range(8)] == [ordinary] * 8
