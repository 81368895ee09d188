"""Whether the server holds what both laptops hold, by natural key, and nothing that nobody entered."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from dbsync.catalog.inspect import inspect
from dbsync.config.load import load
from dbsync.demo.places import Laptop
from dbsync.keys.register import register
from dbsync.model.names import TableName
from dbsync.postgres import connect
from dbsync.verify.comparison import Options
from dbsync.verify.direct import verify
from dbsync.verify.report import Key, Kind, Report

Row = tuple[TableName, Key]
_ALL = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """What comparing every laptop with the server said."""

    reports: Mapping[str, Report]
    """By the laptop's name."""
    own: frozenset[Row]
    """Rows that the server's own people entered before anything was shipped."""

    @property
    def beyond(self) -> frozenset[Row]:
        """Give the server's rows that no laptop holds."""
        return frozenset.intersection(*(extras(report) for report in self.reports.values()))

    def complaints(self) -> Iterator[str]:
        """Say everything that is not as it should be; nothing when the databases agree."""
        for name, report in self.reports.items():
            if not report.agrees(ignore_extra=True):
                yield f"{name} and the server differ in rows of {', '.join(_differing(report))}"
        for table, key in sorted(self.beyond - self.own, key=repr):
            yield f"the server has {table} {key}, which nobody has any more"
        for table, key in sorted(self.own - self.beyond, key=repr):
            yield f"the server lost {table} {key}, a row of its own"


def compare(laptop: Laptop) -> Report:
    """Compare a laptop with the server; every row that differs is listed."""
    config = load(laptop.config, os.environ)
    with closing(connect(laptop.dsn, name="source")) as source:
        registry, _ = register(config, inspect(source))
        with closing(connect(laptop.upstream.dsn, name="upstream")) as upstream:
            return verify(registry, source, upstream, options=Options(limit=_ALL))


def extras(report: Report) -> frozenset[Row]:
    """Give the rows that only the server has."""
    return frozenset((row.table, row.key) for row in report.differences if row.kind is Kind.EXTRA)


def agreement(laptops: Sequence[Laptop], own: frozenset[Row]) -> Agreement:
    """Compare every laptop with the server; ``own`` are the rows that the server's own people entered."""
    return Agreement(reports={laptop.name: compare(laptop) for laptop in laptops}, own=own)


def _differing(report: Report) -> list[str]:
    return [str(table.table) for table in report.tables if not table.agrees(ignore_extra=True)]
