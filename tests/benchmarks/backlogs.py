"""What is done at the source while the replicator is stopped."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import LiteralString

from tests.benchmarks import entry, study
from tests.support.databases import Database

VISITS = 200_000
TRANSACTIONS = 5_000
UPDATED = 100_000
EDITED = 10_000
BLOCK = 10_000
"""Visits in a block, which makes 21,000 row changes."""
CHANGES_PER_VISIT = 2.1
"""It, its crf, and a tenth of a subject."""

_UPDATE: LiteralString = """
    UPDATE crf SET weight = weight + 1, modified = now() WHERE id IN (SELECT id FROM crf ORDER BY id LIMIT %s)
"""
_SOME: LiteralString = "SELECT id FROM crf ORDER BY hashint8(id) LIMIT %s"


class Work(StrEnum):
    """How a backlog came about."""

    THREE = "inserts in three transactions"
    """One for each table."""
    ONE = "inserts in one transaction"
    SMALL = "changes in small transactions"
    UPDATE = "updates by one statement"
    EDITS = "updates of single rows, a transaction each"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlogs:
    """Makes backlogs of a size; ``scale`` 1.0 is what the reports are of."""

    scale: float
    pool: ProcessPoolExecutor

    def make(self, source: Database, work: Work, tag: str) -> int:
        """Do the work, its new rows marked by a tag; give the number of row changes."""
        if work is Work.SMALL:
            each = max(1, round(TRANSACTIONS * self.scale) // entry.CLIENTS)
            entry.enter(self.pool, source.dsn, tag, each)
            return each * entry.CLIENTS * entry.CHANGES
        if work is Work.UPDATE:
            with source.connect() as session:
                return session.execute(_UPDATE, [max(10, round(UPDATED * self.scale))]).rowcount
        if work is Work.EDITS:
            crfs = [row[0] for row in source.sql(_SOME, [max(10, round(EDITED * self.scale))])]
            entry.edit(self.pool, source.dsn, crfs)
            return len(crfs)
        visits = max(study.VISITS_PER_SUBJECT, round(VISITS * self.scale))
        return bulk(source, tag, visits, together=work is Work.ONE)


def bulk(source: Database, tag: str, visits: int, *, together: bool = False, analyze: bool = True) -> int:
    """Enter subjects, their visits and crfs, a statement a table; give the number of rows.

    ``analyze`` tells the planner after each of them what is there now.
    """
    statements = [study.subjects(tag, -(-visits // study.VISITS_PER_SUBJECT)), study.visits(tag), study.crfs(tag)]
    rows = 0
    with source.connect() as connection:
        connection.autocommit = not together
        for statement in statements:
            rows += connection.execute(statement).rowcount
            if analyze:
                connection.execute("ANALYZE")
    return rows


def in_blocks(source: Database, tag: str, changes: int) -> int:
    """Enter about so many rows, in transactions that each fit into a batch; give the number of rows.

    The planner is told whenever there are twice as many as when it was told last: of millions that takes seconds each time.
    """
    visits = round(changes / CHANGES_PER_VISIT)
    starts = range(0, visits, BLOCK)
    return sum(
        bulk(source, f"{tag}{start}-", min(BLOCK, visits - start), analyze=number & (number - 1) == 0)
        for number, start in enumerate(starts)
    )
