"""Layouts that the change log may name."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg.types.json import Jsonb

from dbsync.keys.expression import qualified
from dbsync.model.layout import Layout
from dbsync.model.registration import RegisteredTable
from dbsync.statements import statement


def know_layout(connection: psycopg.Connection, table: RegisteredTable) -> None:
    """Enter the layout of a table as it is now: it may have been altered since its triggers were installed."""
    connection.execute(statement("capture", "register_layout"), layout_entry(table))


def layout_entry(table: RegisteredTable) -> Mapping[str, object]:
    """Give what is entered."""
    layout = Layout.of(table)
    return {"id": layout.identity, "relation": qualified(table.name), "definition": Jsonb(layout.definition())}
