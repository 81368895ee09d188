"""Whether capture costs the same for ever: late in a session, with many tables registered, with a long log unshipped."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from dbsync.demo.server import Cluster
from tests.benchmarks import ground, study
from tests.benchmarks.node import Node
from tests.benchmarks.report import Aim, Measure, Result, Sense
from tests.benchmarks.stage import Stage
from tests.support.databases import Database

BULK = 100_000
EXECUTIONS = 1_000
TABLES = 1_000
LOG = 5_000_000
"""Unshipped changes; fifty million with ``--scale 10``."""
PART = 20
"""Of the executions: so large a part of them, the first and the last, are compared."""
FEWEST = 40
BLOCK = 1_000_000
"""Changes that are put into the log by one statement."""
TRANSACTION = 100
"""Changes of one transaction in the long log."""
TAG = "F-"
NOWHERE = "nowhere"

AIM = Aim(sense=Sense.AT_MOST, limit=1.1)
"""What is flat differs by no more than the noise of single statements."""

_TRANSACTIONS: LiteralString = """
    DO $$ BEGIN
        SET synchronous_commit = off;
        FOR number IN 1..{count} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP;
    END $$
"""
_TAKEN: LiteralString = "CREATE TEMP TABLE taken (visit bigint, us double precision)"
_SINGLES: LiteralString = """
    DO $$
    DECLARE
        began timestamptz;
    BEGIN
        FOR visit IN {first}..{last} LOOP
            began := clock_timestamp();
            INSERT INTO crf (visit_id, weight, height, notes, payload, modified)
            VALUES (visit, 61.5, 170.25, 'entered at the clinic', '{{"bp": 120, "code": "abcdef"}}', now());
            INSERT INTO taken VALUES (visit, extract(epoch FROM clock_timestamp() - began) * 1e6);
        END LOOP;
    END $$
"""
_LIKE_ONE: LiteralString = """
    INSERT INTO dbsync.change (xid, layout, op, image, refs, local_id)
    SELECT (%(first)s + (%(done)s + g) / %(each)s)::text::xid8, c.layout, c.op, c.image, c.refs, c.local_id
    FROM (SELECT * FROM dbsync.change WHERE op = 'I' ORDER BY seq DESC LIMIT 1) c, generate_series(0, %(count)s - 1) g
"""
"""Changes as the trigger would have written them, in transactions that have ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flat:
    """Medians of one single-row insert, in microseconds, of one repetition."""

    early: float
    late: float
    few_tables: float
    many_tables: float
    short_log: float
    long_log: float


def run(stage: Stage) -> list[Result]:
    """Measure each on a database of its own; give the rows of the report."""
    sizes = (
        min(BULK, stage.size(BULK, 100)),
        min(EXECUTIONS, stage.size(EXECUTIONS, FEWEST)),
        min(TABLES, stage.size(TABLES, 3)),
        stage.size(LOG, 1_000),
    )
    bulk, executions, tables, log = sizes
    found = []
    with ground.cluster() as cluster:
        for number in range(stage.reps):
            early, late = _over_a_session(cluster, bulk, executions)
            few, many = _over_tables(cluster, tables, executions)
            short, long = _over_the_log(cluster, log, executions)
            one = Flat(early=early, late=late, few_tables=few, many_tables=many, short_log=short, long_log=long)
            found.append(one)
            ground.talk(f"flat {number + 1}/{stage.reps}: {one}")
    return _rows(found, executions=executions, tables=tables, log=log)


def _over_a_session(cluster: Cluster, bulk: int, executions: int) -> tuple[float, float]:
    """Insert row by row after a bulk statement in one session; give the first executions and the last."""
    with _captured(cluster, bulk + executions + 1) as database, database.connect() as session:
        session.execute(study.crfs(TAG, bulk))
        session.execute(study.CRF, [bulk + 1])
        taken = _timed(session, range(bulk + 2, bulk + executions + 2))
    part = max(1, executions // PART)
    return statistics.median(taken[:part]), statistics.median(taken[-part:])


def _over_tables(cluster: Cluster, tables: int, executions: int) -> tuple[float, float]:
    """Insert with few tables registered, then with many more."""
    with _captured(cluster, 2 * executions) as database:
        few = _fresh(database, range(1, executions + 1))
        with database.connect() as session:
            for number in range(tables):
                session.execute(
                    sql.SQL("CREATE TABLE {} (id bigserial PRIMARY KEY, code text NOT NULL UNIQUE)").format(
                        sql.Identifier(f"more_{number}")
                    )
                )
        with _installed(cluster, database, pattern="more_*"):
            many = _fresh(database, range(executions + 1, 2 * executions + 1))
    return few, many


def _over_the_log(cluster: Cluster, changes: int, executions: int) -> tuple[float, float]:
    """Insert with a log that is nearly empty, then with one that nobody shipped for years."""
    with _captured(cluster, 2 * executions) as database:
        short = _fresh(database, range(1, executions + 1))
        with database.connect() as session:
            (first,) = session.execute("SELECT pg_current_xact_id()::text::bigint").fetchall()[0]
            session.execute(sql.SQL(_TRANSACTIONS).format(count=sql.Literal(-(-changes // TRANSACTION))))
            for done in range(0, changes, BLOCK):
                count = min(changes - done, BLOCK)
                session.execute(_LIKE_ONE, {"first": first, "done": done, "count": count, "each": TRANSACTION})
        study.settle(database)
        return short, _fresh(database, range(executions + 1, 2 * executions + 1))


@contextmanager
def _captured(cluster: Cluster, visits: int) -> Iterator[Database]:
    """Make a database with so many visits, their crfs captured; drop it."""
    database = ground.database(cluster, "flat")
    try:
        database.script(study.SCHEMA)
        database.sql(study.subjects(TAG, -(-visits // study.VISITS_PER_SUBJECT)))
        database.sql(study.visits(TAG))
        study.settle(database)
        with _installed(cluster, database):
            yield database
    finally:
        cluster.drop_database(database.name)


@contextmanager
def _installed(cluster: Cluster, database: Database, pattern: str = "") -> Iterator[None]:
    """Install the triggers, also on the tables of a pattern."""
    with tempfile.TemporaryDirectory(prefix="dbsync-bench-") as folder:
        node = Node(Path(folder) / "node", source=database.dsn, upstream=cluster.dsn(NOWHERE), pattern=pattern)
        node.prepare("install-triggers")
        yield


def _fresh(database: Database, visits: range) -> float:
    """Insert a crf for each visit in a session of its own; give the median in microseconds."""
    with database.connect() as session:
        return statistics.median(_timed(session, visits))


def _timed(session: psycopg.Connection[Any], visits: range) -> list[float]:
    """Insert a crf for each visit in one transaction; give the microseconds of each statement, by the server's clock.

    What a client would see as well is how long it takes to be woken up, which differs more than what is to be compared.
    """
    session.execute(_TAKEN)
    session.execute(sql.SQL(_SINGLES).format(first=sql.Literal(visits.start), last=sql.Literal(visits.stop - 1)))
    return [float(us) for (us,) in session.execute("SELECT us FROM pg_temp.taken ORDER BY visit").fetchall()]


def _rows(found: Sequence[Flat], *, executions: int, tables: int, log: int) -> list[Result]:
    def ratio(name: str, title: str, of: Callable[[Flat], float]) -> Measure:
        return Measure(name=f"flat_{name}", title=title, values=tuple(map(of, found)), aim=AIM)

    def taken(name: str, title: str, of: Callable[[Flat], float]) -> Measure:
        return Measure(name=f"flat_{name}_us", title=title, values=tuple(map(of, found)), unit="us", digits=0)

    return [
        ratio(
            "session",
            f"a single row, the last of {executions:,} executions / the first, after a bulk insert in the session",
            lambda one: one.late / one.early,
        ),
        taken("session", "a single row after a bulk insert", lambda one: one.early),
        ratio(
            "tables",
            f"a single row, {tables:,} tables more registered / the study's alone",
            lambda one: one.many_tables / one.few_tables,
        ),
        taken("tables", "a single row, the study's tables registered", lambda one: one.few_tables),
        ratio(
            "log",
            f"a single row, {log:,} unshipped changes in the log / none",
            lambda one: one.long_log / one.short_log,
        ),
        taken("log", "a single row, an empty log", lambda one: one.short_log),
    ]
