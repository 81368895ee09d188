"""A row that one statement of the source changed in several steps, its key among it: staged, they become one change.

A code that a row has twice (two foreign keys with ON UPDATE CASCADE) is renamed in it by one key after the other. In between
the row has a key that it never has here, where a constraint may do the same at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import sql

from dbsync.apply.load import Load
from dbsync.apply.segments import count_staged
from dbsync.apply.span import Span
from dbsync.model.batch import Count, Op
from dbsync.model.catalog import Catalog
from dbsync.statements import statement


def join_steps(
    connection: psycopg.Connection, load: Load, catalog: Catalog, counts: Sequence[Count]
) -> Sequence[Count]:
    """Join the steps of each row; give what is staged then. What waits in quarantine was joined when it came."""
    layouts = [count.layout for count in counts if _may_have_steps(count, load, catalog)]
    if not layouts:
        return counts
    query = statement("steps", "join_steps").format(layouts=sql.Literal(layouts))
    return count_staged(connection, Span()) if connection.execute(query).rowcount else counts


def _may_have_steps(count: Count, load: Load, catalog: Catalog) -> bool:
    """Say whether rows of a layout were renamed that refer by values to several others, or to one by several."""
    layout = load.layouts[count.layout]
    table = catalog.table(layout.table)
    plain = {name for name, _ in layout.columns}
    keys = [key for key in table.foreign_keys if plain.issuperset(key.columns)] if table is not None else []
    return count.op is Op.UPDATE and count.renames > 0 and count.changes > 1 and len(keys) > 1
