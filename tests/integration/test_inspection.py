"""A catalog that is kept, and read anew only where a table has changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from dbsync.catalog.inspect import Inspection, inspect, stamp
from dbsync.postgres import connect
from tests.support.databases import ONE_MIXTURE, Database, Pair, Row


@contextmanager
def looked_at(database: Database) -> Iterator[tuple[psycopg.Connection[Row], Inspection]]:
    """Give a session that changes a database, and an inspection of it by another."""
    with database.connect() as session, connect(database.dsn, name="upstream") as connection:
        yield session, Inspection(connection)


@ONE_MIXTURE
class TestAnInspection:
    """It looks again where anything changed, and nowhere else."""

    SCHEMA = """
        CREATE TYPE mood AS ENUM ('good'); CREATE DOMAIN code AS text;
        CREATE TABLE site (id serial PRIMARY KEY, code text);
        CREATE TABLE subject (id bigint PRIMARY KEY, name text NOT NULL, site_id int, mood mood, kind code);
        CREATE SEQUENCE numbers
    """
    CHANGES = (
        "ALTER TABLE subject ADD age int",
        "ALTER TABLE subject DROP age",
        "ALTER TABLE subject RENAME name TO title",
        "ALTER TABLE subject ALTER site_id TYPE bigint",
        "ALTER TABLE subject ALTER id SET DEFAULT nextval('numbers')",
        "ALTER SEQUENCE numbers OWNED BY subject.id",
        "ALTER TABLE subject ALTER title DROP NOT NULL",
        "ALTER TABLE subject ADD UNIQUE (title)",
        "CREATE UNIQUE INDEX ON subject (site_id)",
        "ALTER TABLE subject ADD FOREIGN KEY (site_id) REFERENCES site",
        "ALTER TABLE subject RENAME TO person",
        "ALTER TABLE person SET SCHEMA other",
        "ALTER SCHEMA other RENAME TO another",
        "ALTER TABLE another.person OWNER TO dbsync_tester",
        "CREATE CAST (mood AS text) WITH INOUT AS ASSIGNMENT",
        "DROP TABLE site CASCADE",
    )

    NOTHING_NEW = ("ALTER SEQUENCE numbers OWNED BY subject.id", "CREATE CAST (mood AS text) WITH INOUT AS ASSIGNMENT")
    """Looked at, and the tables are told as before: the column drew from the sequence already, and the cast is as without it."""

    def test_sees_every_change_at_once(self, pair: Pair) -> None:
        database = pair.upstream
        database.script(
            f"{self.SCHEMA}; CREATE SCHEMA other; DROP ROLE IF EXISTS dbsync_tester; CREATE ROLE dbsync_tester"
        )
        with database.connect() as session, connect(database.dsn, name="upstream") as connection:
            inspection = Inspection(connection)
            for change in self.CHANGES:
                before, was = inspection.now(), stamp(connection)
                session.execute(change.encode())
                assert stamp(connection) != was, change
                assert (inspection.now() is not before) == (change not in self.NOTHING_NEW), change
                assert inspection.now() == inspect(connection), change

    def test_and_looks_only_then(self, pair: Pair) -> None:
        database = pair.upstream
        database.script(self.SCHEMA)
        with looked_at(database) as (session, inspection):
            before = inspection.now()
            session.execute("INSERT INTO subject (id, name) SELECT g, g FROM generate_series(1, 1000) g")
            session.execute("VACUUM (ANALYZE, FREEZE) subject")
            session.execute("CHECKPOINT")
            session.execute("SELECT nextval('numbers')")
            assert inspection.now() is before

    def test_and_what_says_the_same_stays_the_same(self, pair: Pair) -> None:
        database = pair.upstream
        database.script(self.SCHEMA)
        with looked_at(database) as (session, inspection):
            before = inspection.now()
            session.execute("CREATE FUNCTION nothing() RETURNS int LANGUAGE sql RETURN 1")
            assert inspection.now() is before
