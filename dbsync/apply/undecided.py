"""Conflicts that a person is to decide: written into the ledger with what each side wants, when all the rest is written.

The statement that found them was undone together with all it wrote. So they are staged once more and read by the same
steps as any change, and PostgreSQL writes both images: no value passes through here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from dbsync.apply.judge import Judgement
from dbsync.apply.pointed import narrowed
from dbsync.apply.share import RANGE, Share
from dbsync.apply.skew import ignored_columns
from dbsync.apply.span import Span
from dbsync.apply.typed import net, typed
from dbsync.catalog.inspect import inspect
from dbsync.errors import Refusal
from dbsync.keys.expression import Query
from dbsync.model.batch import Count, Op
from dbsync.model.catalog import Catalog
from dbsync.model.layout import Layout
from dbsync.model.policy import Conflict, Policies
from dbsync.postgres import is_server_trouble
from dbsync.statements import statement

KINDS = (
    Conflict.INSERT_EXISTS,
    Conflict.UPDATE_ORIGIN_DIFFERS,
    Conflict.UPDATE_MISSING,
    Conflict.DELETE_ORIGIN_DIFFERS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecided:
    """The conflicts among what was held of one load."""

    connection: psycopg.Connection
    layouts: Mapping[int, Layout]
    policies: Policies

    def note(self, lineage: object) -> None:
        """Write those down that the ledger does not know yet; the stage is then what it was."""
        span = self._stage(lineage)
        counts = self._counts(span)
        if not counts:
            return
        catalog = inspect(self.connection)
        for count in counts:
            self._note(count, catalog, span)
        self.connection.execute(statement("aside", "note_without_images").format(range=span.condition()))
        self.connection.execute(statement("aside", "unstage").format(range=span.condition()))

    def _stage(self, lineage: object) -> Span:
        row = self.connection.execute(statement("aside", "newest_staged")).fetchone()
        assert row is not None
        asked = {"lineage": lineage, "conflicts": [kind.value for kind in KINDS]}
        self.connection.execute(statement("aside", "stage_undecided"), asked)
        return Span(low=row[0])

    def _counts(self, span: Span) -> Sequence[Count]:
        rows = self.connection.execute(statement("apply", "counts").format(range=span.condition())).fetchall()
        return [Count(layout=layout, op=Op(op), changes=n, renames=r) for layout, op, n, r in rows]

    def _note(self, count: Count, catalog: Catalog, span: Span) -> None:
        """Write those of one layout and kind; what PostgreSQL cannot read any more is left to be noted without images."""

        def run(query: Query) -> psycopg.Cursor[tuple[Any, ...]]:
            text = query.as_string(self.connection)
            return self.connection.execute(
                text.replace(RANGE.as_string(None), span.condition().as_string(None)).encode()
            )

        try:
            with self.connection.transaction():
                run(_statement(narrowed(self._share(count, catalog), run), count.op))
        except Refusal:
            return
        except psycopg.Error as error:
            if is_server_trouble(error):
                raise

    def _share(self, count: Count, catalog: Catalog) -> Share:
        layout = self.layouts[count.layout]
        return Share(
            identity=count.layout,
            layout=layout,
            catalog=catalog,
            policy=self.policies.of(layout.table),
            ignored=ignored_columns(layout, catalog),
            reduce=False,  # each change is a conflict of its own
            updates=count.op is Op.UPDATE,
            renames=bool(count.renames),
            deletes_only=count.op is Op.DELETE,
        )


def _statement(share: Share, op: Op) -> Query:
    judge = Judgement(share=share)
    return statement("aside", "note_undecided").format(
        net=net(share), typed=typed(share), bound=share.bound(judge.written), ledger=judge.undecided(op)
    )
