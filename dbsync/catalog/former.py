"""Names that columns had before the upstream was migrated, and what became of these columns.

A column that is renamed keeps its number in PostgreSQL's catalogue, and one that is dropped leaves it. So whoever has
written down which number a name had knows later what the name means, as nodes say it that are not migrated yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import psycopg

from dbsync.model.catalog import Catalog, Table
from dbsync.model.layout import Layout
from dbsync.model.names import TableName
from dbsync.model.policy import Policies
from dbsync.statements import statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """Names that no column of its table has any more."""

    renamed: Mapping[tuple[TableName, str], str] = field(default_factory=lambda: MappingProxyType({}))
    """What the columns are called now."""
    dropped: frozenset[tuple[TableName, str]] = frozenset()

    def read(self, layout: Layout) -> Layout:
        """Give a layout with columns called as they are now. A node that says both names of a column means another one by the former."""
        if not self.renamed:
            return layout
        said = set(layout.travelling)

        def called(table: TableName, column: str) -> str:
            now = self.renamed.get((table, column), column)
            return column if table == layout.table and now in said else now

        return layout.called(called)

    def read_all(self, layouts: Mapping[int, Layout]) -> Mapping[int, Layout]:
        """Do so for several."""
        return {identity: self.read(layout) for identity, layout in layouts.items()} if self.renamed else layouts

    def read_rules(self, rules: Policies) -> Policies:
        """Do so with rules: whoever wrote them down may know a column by its former name only."""
        return rules.called(lambda table, column: self.renamed.get((table, column), column)) if self.renamed else rules

    def still_said(self, table: Table) -> Mapping[str, str]:
        """Give what columns of a node's table were renamed to upstream, by the names that they have at the node."""
        return {
            column: now
            for (name, column), now in self.renamed.items()
            if name == table.name and table.column(column) is not None and table.column(now) is None
        }


class FormerNames:
    """The names of a database's columns, written down there whenever its tables are others than before."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._noted: Catalog | None = None
        self._found: tuple[Catalog, Former] | None = None

    def of(self, catalog: Catalog) -> Former:
        """Give what is known of columns that these tables had."""
        if self._found is None or self._found[0] is not catalog:
            self._found = (catalog, former_names(self._connection, catalog))
        return self._found[1]

    @property
    def latest(self) -> Former:
        """Give what was known of the tables that were asked for last."""
        return Former() if self._found is None else self._found[1]

    def note(self, catalog: Catalog) -> None:
        """Write down what columns are called now, in no batch's transaction: a batch that fails was no reason to forget them."""
        if self._noted is not catalog:
            self._connection.execute(statement("former", "note"), _relations(catalog))
            self._noted = catalog


def former_names(connection: psycopg.Connection, catalog: Catalog) -> Former:
    """Read what is known of columns that these tables had."""
    rows = connection.execute(statement("former", "former"), _relations(catalog)).fetchall()
    found = {(TableName(schema, relation), name): now for schema, relation, name, now in rows}
    return Former(
        renamed={column: now for column, now in found.items() if now is not None},
        dropped=frozenset(column for column, now in found.items() if now is None),
    )


def _relations(catalog: Catalog) -> Mapping[str, object]:
    return {"relations": [table.oid for table in catalog.tables.values()]}
