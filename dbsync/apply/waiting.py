"""What waits in quarantine is tried again: by itself when what it waits for may be there, and when somebody says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
from psycopg import errors

from dbsync.apply.load import Load, Released
from dbsync.apply.quarantine import has_turn
from dbsync.apply.ripe import arrived, parked
from dbsync.catalog.former import FormerNames
from dbsync.catalog.inspect import Inspection
from dbsync.errors import Refusal
from dbsync.keys.expression import qualified
from dbsync.model.batch import Header, Receipt
from dbsync.model.layout import Layout
from dbsync.model.policy import Policies
from dbsync.statements import statement

TRIES = 100
"""Times that cases which were corrected are tried apart from others, and cases that are tried when their correction comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The cases of one upstream. Not in a transaction: each try is one of its own."""

    connection: psycopg.Connection
    policies: Policies
    inspection: Inspection
    names: FormerNames
    transaction: Callable[[], AbstractContextManager[None]]
    """Begins a transaction in which there is a stage."""
    write: Callable[[Load, Policies], None]
    """Writes what is staged, and holds again what cannot be."""

    def look_again(self) -> None:
        """Try what may go now."""
        self._release_arrived(None)
        self._release_overdue()
        self._release_parked()

    def look_after(self, header: Header, receipt: Receipt) -> None:
        """Try what may go now that a batch is applied."""
        if receipt.held:
            self._release_just_corrected(header)
        self._release_arrived({qualified(layout.table) for layout in header.layouts.values()})
        self._release_overdue(before=receipt.applied_at)

    def release(
        self, cases: Sequence[int] | None = None, *, policies: Policies | None = None, patience: float = 0.0
    ) -> Released:
        """Try cases, with what waits behind them; None tries all that wait. Other ``policies`` are for this once.

        One transaction a node, and more of them where that lets more go; a node whose batch is still being applied after
        ``patience`` seconds is left alone.
        """
        chosen = None if cases is None else list(cases)
        nodes = self.connection.execute(statement("aside", "waiting_nodes"), {"cases": chosen}).fetchall()
        found = Released()
        done: set[UUID] = set()
        for lineage, node, incarnation in nodes:
            if lineage in done:
                continue
            done.add(lineage)
            load = Load(node=node, lineage=lineage, incarnation=incarnation, number=0, link="", layouts={}, sent={})
            found += self._release(load, chosen, policies or self.policies, patience)
        return found

    # How a node's cases are tried.

    def _release(self, load: Load, cases: list[int] | None, policies: Policies, patience: float) -> Released:
        """Try cases batch by batch where that tells more, then all together, then those that were corrected apart from others."""
        retry = partial(self._retry, load, policies, patience)
        found = Released()
        batches = self._came_and_went(load, cases)
        cases = [case for batch in batches for case in batch] or cases
        for batch in batches:
            found = found.then(retry(batch, alone=True))
        found = found.then(retry(cases))
        return _in_halves(partial(retry, counts=False), self._corrected(load, cases), found) if found.waiting else found

    def _came_and_went(self, load: Load, cases: list[int] | None) -> list[list[int]]:
        """Give what is to be tried batch by batch, because the tier above may know rows that came and went while they waited.

        Taken together they come to nothing here, and nothing would be told of them. But this server may have told that they
        came before it was restored, and there may be another way to the one above.
        """
        return self._numbers("came_and_went", load, cases)

    def _corrected(self, load: Load, cases: list[int] | None) -> list[int]:
        """Give the cases whose row was changed again since: one that nobody has corrected yet is not to be in their way."""
        return self._numbers("corrected", load, cases)

    def _numbers(self, name: str, load: Load, cases: list[int] | None) -> list[Any]:
        asked = {"lineage": load.lineage, "cases": cases}
        return [row[0] for row in self.connection.execute(statement("aside", name), asked).fetchall()]

    def _retry(
        self,
        load: Load,
        policies: Policies,
        patience: float,
        cases: list[int] | None,
        *,
        alone: bool = False,
        counts: bool = True,
    ) -> Released:
        """Write cases in a transaction, with what waits behind them but for ``alone``, and let go of those that went in.

        ``counts``: it counts as an attempt at those that did not.
        """
        with self.transaction():
            if not has_turn(self.connection, load.lineage, patience):
                return Released(busy=(load.node,))
            if not alone:
                cases = self._numbers("waiting_cases" if cases is None else "heads_of", load, cases)
            self.connection.execute(
                statement("aside", "stage_again"), {"lineage": load.lineage, "cases": cases, "alone": alone}
            )
            staged = [row[0] for row in self.connection.execute(statement("aside", "staged_layouts")).fetchall()]
            layouts = self._layouts(staged)
            load = replace(load, layouts=layouts, sent=layouts)
            tried = self.connection.execute(statement("aside", "count_staged")).fetchone()
            self.write(load, policies)
            released = self.connection.execute(statement("aside", "release")).rowcount
            self.connection.execute(statement("aside", "free_those_behind"))
            self.connection.execute(statement("aside", "empty_stage"))
            if not counts:
                self.connection.execute(statement("aside", "forget_attempt"), {"lineage": load.lineage})
        return Released(released=released, waiting=(tried[0] if tried else 0) - released)

    def _layouts(self, ids: Sequence[int]) -> dict[int, Layout]:
        rows = self.connection.execute(statement("aside", "layouts"), {"ids": list(set(ids))}).fetchall()
        return {identity: Layout.read(definition) for identity, definition in rows}

    def _release_just_corrected(self, header: Header) -> None:
        """Try again, at once, cases whose row a batch changed again: somebody may have corrected it. Some of them, if they are many."""
        asked = {"lineage": header.lineage, "incarnation": header.incarnation, "number": header.number, "most": TRIES}
        cases = [row[0] for row in self.connection.execute(statement("aside", "just_corrected"), asked).fetchall()]
        if cases:
            self.release(cases)

    def _release_arrived(self, relations: set[str] | None) -> None:
        """Try again what waited for rows that are there now; of some tables, or of all."""
        cases: list[int] = []
        for layout, awaits in self.connection.execute(statement("aside", "awaited"), prepare=True).fetchall():
            if relations is not None and awaits not in relations:
                continue
            cases += self._arrived(layout, awaits)
        if cases:
            self.release(cases)

    def _arrived(self, layout: int, awaits: str) -> list[int]:
        """Give the cases whose row is there now; all, where the upstream's table is not what it was any more."""
        meaning = self._layouts([layout])[layout]
        try:
            catalog = self.inspection.now()
            query = arrived(layout, self.names.of(catalog).read(meaning), awaits, catalog)
            found = None if query is None else self.connection.execute(query)
        except (Refusal, psycopg.DataError, errors.InsufficientPrivilege):
            found = self.connection.execute(statement("aside", "awaiting"), {"layout": layout, "awaits": awaits})
        return [] if found is None else [row[0] for row in found.fetchall()]

    def _release_overdue(self, before: datetime | None = None) -> None:
        """Try again what was not tried for a while; only what was held ``before`` a batch, if one is given."""
        overdue = self.connection.execute(statement("aside", "overdue"), {"before": before}, prepare=True).fetchall()
        cases = [row[0] for row in overdue]
        if cases:
            self.release(cases)

    def _release_parked(self) -> None:
        """Try again what waited for a migration, where the tables fit now."""
        waiting = [row[0] for row in self.connection.execute(statement("aside", "parked_layouts")).fetchall()]
        if not waiting:
            return
        catalog = self.inspection.now()
        former = self.names.of(catalog)
        fit = parked(former.read_all(self._layouts(waiting)), catalog, self.policies, former)
        rows = self.connection.execute(statement("aside", "parked"), {"layouts": fit}).fetchall()
        if rows:
            self.release([row[0] for row in rows])


def _in_halves(retry: Callable[[list[int]], Released], cases: list[int], found: Released) -> Released:
    """Try cases apart from others, and those of which some stay apart from one another, as often as :data:`TRIES`."""
    parts = [cases] if cases else []
    for _ in range(TRIES):
        if found.busy or not parts:
            break
        part = parts.pop()
        tried = retry(part)
        found = Released(
            released=found.released + tried.released, waiting=found.waiting - tried.released, busy=tried.busy
        )
        if tried.waiting and len(part) > 1:
            parts += [part[: len(part) // 2], part[len(part) // 2 :]]
    return found
