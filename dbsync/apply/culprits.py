"""Which changes of a share PostgreSQL refuses: it is run in halves, down to a change that is refused by itself.

What was written before it stays meanwhile, so that looking costs no more than its own table (group testing by halves, F. K. Hwang,
A method for detecting all defective members, 1972); then all of the span is undone, for others may depend on what was found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import psycopg
from psycopg import sql

from dbsync.apply.load import Trouble
from dbsync.apply.refused import TRIES, Unapplicable
from dbsync.apply.share import Share
from dbsync.apply.span import Span
from dbsync.model.policy import Conflict
from dbsync.statements import statement


class Culprits(Exception):
    """Changes were found that are refused by themselves; what else was written of the span is undone."""

    def __init__(self, troubles: list[Trouble]) -> None:
        super().__init__(f"{len(troubles)} changes are refused")
        self.troubles = troubles


def run_apart(connection: psycopg.Connection, share: Share, span: Span, run: Callable[[Span], None]) -> None:
    """Run a share over a span, in parts where it is refused; raise Culprits where changes are that no part goes in with.

    ``run`` raises Unapplicable, and leaves nothing behind then.
    """
    found: list[Trouble] = []
    parts = [span]
    while parts:
        part = parts.pop()
        refused = _refused(run, part)
        if refused is None:
            continue
        changes, middle, tx, seq = _in_half(connection, share, part)
        if changes > 1:
            parts += [replace(part, low=middle), replace(part, high=middle)]
            continue
        for _ in range(TRIES - 1):
            if refused is not None and refused.retry:
                refused = _refused(run, part)
        if refused is not None:
            found.append(_trouble(share, tx, seq, refused))
    if found:
        raise Culprits(found)


def _refused(run: Callable[[Span], None], part: Span) -> Unapplicable | None:
    try:
        run(part)
    except Unapplicable as problem:
        return problem
    return None


def _in_half(connection: psycopg.Connection, share: Share, span: Span) -> tuple[int, int, int, int]:
    """Count a share's changes in a span; give the place of the one in the middle, and which is the first."""
    query = statement("apply", "middle_of_share").format(layout=sql.Literal(share.identity), range=span.condition())
    row = connection.execute(query).fetchone()
    assert row is not None
    return row


def _trouble(share: Share, tx: int, seq: int, problem: Unapplicable) -> Trouble:
    """Say what is wrong with a change; a foreign key that refuses a delete is held by the rows that refer to it."""
    held = share.deletes_only and problem.conflict is Conflict.REFERENCE_MISSING
    conflict = Conflict.STILL_REFERENCED if held else problem.conflict
    return Trouble(tx=tx, seq=seq, layout=share.identity, conflict=conflict, place=0, asked=None, reason=problem.reason)
