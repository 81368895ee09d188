"""Changes of which a reference gave no key when they were captured: which they are, and that one of it is told now. Pure."""

from __future__ import annotations

from psycopg import sql

from dbsync.keys.expression import Sql
from dbsync.statements import statement

ANYWHERE = sql.SQL("")


def untold(layout: int, place: Sql, into: Sql = ANYWHERE) -> dict[str, Sql]:
    """Give what statements about one reference of a layout's changes are filled with.

    ``place`` is where its id is among those that wait; ``into`` leaves out those that point into other tables.
    """
    return {
        "place": place,
        "untold": statement("changelog", "untold").format(layout=sql.Literal(layout), place=place, into=into),
        "still_untold": statement("changelog", "told").format(place=place),
    }
