"""The two databases as a comparison sees them: their tables, and when two spellings are one value. Pure.

Keys are matched as the upstream compares them: ``Ab`` and ``ab`` are one citext, ``1.0`` and ``1.00`` one numeric. So
each leaf is made *canonical*, by the kind of the upstream's column. Contents are compared byte for byte.

Limits: caseless matching of letters beyond ASCII follows each database's own locale; of a nondeterministic collation
only the case is looked through; a key of a type whose equality is looser than its text in another way (jsonb, arrays of
numeric) is matched by its text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from dbsync.model.catalog import Catalog, Table
from dbsync.model.names import TableName


class Family(StrEnum):
    """Types whose equality is not that of their text."""

    CASELESS = "caseless"
    INTEGER = "integer"
    NUMERIC = "numeric"
    FLOAT = "float"
    PADDED = "padded"
    INTERVAL = "interval"


_CASELESS = 'pg_catalog.lower({} COLLATE pg_catalog."default")'
_NUMERIC = "pg_catalog.trim_scale(({})::pg_catalog.numeric)::pg_catalog.text"
_FLOAT = "(({})::pg_catalog.float8 OPERATOR(pg_catalog.+) 0)::pg_catalog.text"  # -0 equals 0
_PADDED = "pg_catalog.rtrim({}, ' ')"
_INTERVAL = "pg_catalog.justify_interval(({})::pg_catalog.interval)::pg_catalog.text"

_CANONICAL = {
    (Family.INTEGER, Family.NUMERIC): _NUMERIC,
    (Family.NUMERIC, Family.NUMERIC): _NUMERIC,
    (Family.FLOAT, Family.NUMERIC): _NUMERIC,
    (Family.INTEGER, Family.FLOAT): _FLOAT,
    (Family.FLOAT, Family.FLOAT): _FLOAT,
    (Family.INTERVAL, Family.INTERVAL): _INTERVAL,
}
"""By the source's and the upstream's family. No cast in here can fail on what the source's column may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One side's tables, and the families of their columns; a column that is not named has none."""

    catalog: Catalog
    families: Mapping[tuple[TableName, str], Family] = field(default_factory=dict)

    def table(self, name: TableName) -> Table:
        """Give a table that is known to be there."""
        return self.catalog.tables[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """Both sides. Templates are SQL around one ``{}``; an empty one leaves the text as it is."""

    source: View
    upstream: View

    def canonical(self, table: TableName, column: str) -> str:
        """Give the template that makes one of all spellings which the upstream's column holds for equal."""
        there = self.upstream.families.get((table, column))
        if there is Family.CASELESS:
            return _CASELESS
        if there is Family.PADDED:
            return _PADDED
        here = self.source.families.get((table, column))
        return _CANONICAL.get((here, there), "") if here and there else ""

    def exact(self, table: TableName, column: str) -> str:
        """Give the template for a value: none where both types are one, so that every byte counts.

        Where they differ, numeric(6,2) here and numeric(6,3) there, a value cannot look the same and need not.
        """
        here, there = self.types(table, column)
        template = "" if here == there else self.canonical(table, column)
        return "" if template == _CASELESS else template

    def types(self, table: TableName, column: str) -> tuple[str, str]:
        """Give the column's type at the source and upstream."""
        here, there = (view.table(table).column(column) for view in (self.source, self.upstream))
        return here.type if here else "", there.type if there else ""
