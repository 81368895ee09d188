"""What must be so at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import LiteralString

from tests.chaos.blocks import ROWS_A_PERSON, Blocks
from tests.chaos.shared import IN_SILENCE
from tests.fault.workload import BY_NATURAL_KEY
from tests.support.databases import Database

COUNTS: dict[str, LiteralString] = {
    "conflicts": "SELECT count(*) FROM dbsync.conflict",
    "quarantined": "SELECT count(*) FROM dbsync.quarantine",
    "released": "SELECT count(*) FROM dbsync.quarantine WHERE state = 'released'",
    "batches": "SELECT count(*) FROM dbsync.receipt",
}


def rows(expected: Mapping[Database, Iterable[Blocks]]) -> int:
    """Count the rows that are compared with the journals."""
    return sum(
        state.size * ROWS_A_PERSON for states in expected.values() for blocks in states for state in blocks.values()
    )


def clinic_differences(node: Database, *upstreams: Database) -> list[str]:
    """Compare the tables that only one laptop writes, by natural key, at every tier."""
    found: list[str] = []
    for table, query in BY_NATURAL_KEY.items():
        there = Counter(node.sql(query.encode()))
        for place, upstream in zip(("community", "central"), upstreams, strict=True):
            here = Counter(upstream.sql(query.encode()))
            found += [f"{place}: {table} missing: {row}" for row in (there - here).elements()]
            found += [f"{place}: {table} extra: {row}" for row in (here - there).elements()]
    return found


def shared_differences(community: Database, central: Database) -> list[str]:
    """Compare the rows that everybody changes: the centre has them from the community alone."""
    query = "SELECT name, red, green, blue FROM shared ORDER BY name"
    return [
        f"central: shared: {there} is {here}"
        for there, here in zip(community.sql(query), central.sql(query), strict=True)
        if there != here
    ]


def overwritten_in_silence(community: Database) -> list[str]:
    """Give the values of one person that another one's replaced without an entry in the ledger."""
    return [str(row) for row in community.sql(IN_SILENCE)]
