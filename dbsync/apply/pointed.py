"""Generic references that may point into hundreds of tables: they are looked up in those only that they do point into.

Each table that is looked into is some joins more, and some columns; of those PostgreSQL has 1,664 at most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import sql

from dbsync.apply.share import RANGE, Share
from dbsync.keys.expression import Query
from dbsync.statements import statement

FEW = 10
"""Tables all of which are looked into without asking."""

Ask = Callable[[Query], psycopg.Cursor[tuple[Any, ...]]]


def narrowed(share: Share, ask: Ask) -> Share:
    """Let a share look into no other tables than its changes point into."""
    if sum(len(generic.targets) for _, generic, _ in share.generics) <= FEW:
        return share
    row = ask(_pointed(share)).fetchone()
    assert row is not None
    return replace(share, pointed=frozenset(row[0]))


def _pointed(share: Share) -> Query:
    names = [sql.SQL("(s.refs[{}])").format(sql.Literal(first)) for _, _, first in share.generics]
    return statement("apply", "pointed").format(
        names=sql.SQL(", ").join(names), layout=sql.Literal(share.identity), range=RANGE
    )
