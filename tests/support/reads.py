"""What a step reads of the tables, told by PostgreSQL's own counters: they miss no statement, trigger or foreign key.

The counters say which table was read too much; the plans in the server's log (auto_explain, part of every server) say by
which statement.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from tests.support.databases import Database
from tests.support.service import until

COUNTERS = """
SELECT t.schemaname || '.' || t.relname,
       t.seq_tup_read + coalesce((SELECT sum(i.idx_tup_read) FROM pg_stat_all_indexes i WHERE i.relid = t.relid), 0),
       b.heap_blks_read + b.heap_blks_hit + coalesce(b.idx_blks_read + b.idx_blks_hit, 0)
       + coalesce(b.toast_blks_read + b.toast_blks_hit, 0)
FROM pg_stat_all_tables t JOIN pg_statio_all_tables b ON b.relid = t.relid
WHERE t.schemaname <> 'information_schema' AND t.schemaname NOT LIKE 'pg\\_%'
"""
OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND pid <> ALL (%s)
  AND backend_type IN ('client backend', 'parallel worker')
"""
SETTINGS = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What was read of one table: rows and entries of its indexes, and pages of both, in memory or not."""

    rows: int
    pages: int


@dataclass(slots=True, kw_only=True)
class Reads:
    """What one step read in one database, by ``schema.table``; and how to find out which statement did."""

    database: Database
    tables: Mapping[str, Read] = field(default_factory=dict)
    log: str = ""

    def of(self, table: str) -> Read:
        """Give what was read of a table."""
        return self.tables.get(table, Read(rows=0, pages=0))

    def hold(self, *, rows: int, pages: int) -> None:
        """Hold that of no table more was read than the step has reason to."""
        much = {table: read for table, read in sorted(self.tables.items()) if read.rows > rows or read.pages > pages}
        assert not much, f"{much}\n" + "\n".join(culprits(self.log, much, rows))


def explain(database: Database) -> None:
    """Let the server log the plan of each statement in the sessions to come."""
    for name, value in SETTINGS.items():
        database.sql(
            sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                sql.Identifier(database.name), sql.SQL(name), sql.Literal(value)
            )
        )


@contextmanager
def reads(database: Database, *staying: psycopg.Connection[Any]) -> Iterator[Reads]:
    """Give what is read of each table inside; the sessions in which it happens must end there, but for some that stay."""
    found = Reads(database=database)
    before, mark = _counters(database, staying), database.cluster.log.stat().st_size
    yield found
    after = _counters(database, staying)
    found.tables = {
        table: Read(rows=read.rows - before[table].rows, pages=read.pages - before[table].pages)
        for table, read in after.items()
        if table in before
    }
    with database.cluster.log.open(errors="replace") as log:
        log.seek(mark)
        found.log = log.read()


def culprits(log: str, tables: Collection[str], rows: int) -> list[str]:
    """Say which statements of a log read the most of some tables, with the plan's part that did."""
    said = []
    for plan in _plans(log):
        for node, read in _scans(plan["Plan"]):
            if node.get("Relation Name") in {table.partition(".")[2] for table in tables} and read > rows / 10:
                said.append(
                    f"{node['Node Type']} of {node['Relation Name']}, {read} rows: {_words(plan['Query Text'])}"
                )
    return said


def _counters(database: Database, staying: Sequence[psycopg.Connection[Any]]) -> dict[str, Read]:
    """Read the counters when all sessions have handed theirs in: when they end, or are told to."""
    for other in staying:
        other.execute("SELECT pg_stat_force_next_flush()")
    known = [other.info.backend_pid for other in staying]
    with database.connect() as session:
        until(lambda: session.execute(OTHERS, [known]).fetchone() == (0,), f"sessions stay in {database.name}")
        return {name: Read(rows=int(rows), pages=int(pages)) for name, rows, pages in session.execute(COUNTERS)}


def _words(query: str) -> str:
    """Say a statement in one line, without what is remarked on it."""
    return " ".join(line.strip() for line in query.splitlines() if not line.lstrip().startswith("--"))


def _plans(log: str) -> Iterator[dict[str, Any]]:
    """Give the plans in a server's log: behind its first line each stands on lines that begin with a tab."""
    for entry in log.split("  plan:\n")[1:]:
        lines = []
        for line in entry.splitlines():
            if not line.startswith("\t"):
                break
            lines.append(line[1:])
        yield json.loads("\n".join(lines))


def _scans(node: dict[str, Any]) -> Iterator[tuple[dict[str, Any], int]]:
    """Give the parts of a plan that read a table, and how many rows each read."""
    if "Relation Name" in node and "Actual Rows" in node:
        dropped = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
        yield node, int((node["Actual Rows"] + dropped) * node.get("Actual Loops", 1))
    for part in node.get("Plans", ()):
        yield from _scans(part)
