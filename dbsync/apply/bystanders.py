"""Rows that nobody named: a delete must not reach them through a constraint that cascades or sets null.

What a source's own cascade deleted or changed is in its log, change by change, and is applied before the row they refer
to is deleted. What refers to that row even then is not the source's: it is left alone, and so is the row.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from dbsync.apply.load import Trouble
from dbsync.apply.resolve import target_column, target_table
from dbsync.keys.expression import Query, Sql, column_sql, table_sql
from dbsync.model.catalog import Catalog, ForeignKey, Table
from dbsync.model.names import TableName
from dbsync.model.policy import Conflict
from dbsync.statements import statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A foreign key that acts on the rows of ``table`` when the row they refer to is deleted."""

    table: Table
    key: ForeignKey
    refers: Sql
    """Says that row ``c`` of it refers to row ``p``."""

    @property
    def target(self) -> TableName:
        """Name the table whose deletes it carries on."""
        return self.key.target

    def carried_on(self, connection: psycopg.Connection, layouts: Sequence[int], doomed: int) -> list[Trouble]:
        """Give the deletes, of some layouts, that it would carry on; all where the rows cannot be looked at.

        ``doomed`` is how many rows are to be deleted, of all tables.
        """
        reason = f"rows of {self.table.name} that the source did not delete refer to it ({self.key.name})"
        query = self._looks(doomed)
        if not self._may_look(connection):
            reason = (
                f"whether rows of {self.table.name} refer to it cannot be seen:"
                " this role may not read that table, or not all of it"
            )
            query = statement("apply", "doomed").format(layouts=sql.Literal(list(layouts)))
        found = connection.execute(query).fetchall()
        return [_trouble(tx, seq, layout, reason) for tx, seq, layout in found]

    def _looks(self, doomed: int) -> Query:
        """Ask which of the doomed rows are referred to by one that is not doomed."""
        return statement("apply", "spared").format(
            doomed=sql.Literal(doomed),
            target=table_sql(self.target),
            table=table_sql(self.table.name),
            refers=self.refers,
        )

    def _may_look(self, connection: psycopg.Connection) -> bool:
        asked = {"table": self.table.oid, "columns": list(self.key.columns)}
        row = connection.execute(statement("apply", "may_look"), asked).fetchone()
        return row is not None and bool(row[0])


class Acting:
    """The foreign keys of a database that act on delete."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._keys = [
            (table, key)
            for table in catalog.tables.values()
            for key in (*table.foreign_keys, *table.partition_keys)
            if key.acts_on_delete
        ]

    def over(self, tables: Collection[TableName]) -> list[Constraint]:
        """Give those that act when a row of one of these tables is deleted; none in most databases."""
        return [self._constraint(table, key) for table, key in self._keys if key.target in tables]

    def _constraint(self, table: Table, key: ForeignKey) -> Constraint:
        target = target_table(self._catalog, key.target)
        refers = [
            sql.SQL("{} {} {}").format(
                column_sql("c", here), sql.SQL(target_column(target, there).equals), column_sql("p", there)
            )
            for here, there in zip(key.columns, key.target_columns, strict=True)
        ]
        return Constraint(table=table, key=key, refers=sql.SQL(" AND ").join(refers))


def _trouble(tx: int, seq: int, layout: int, reason: str) -> Trouble:
    return Trouble(
        tx=tx, seq=seq, layout=layout, conflict=Conflict.STILL_REFERENCED, place=0, asked=None, reason=reason
    )
