"""Where a story happens: a source, its upstream, and the server above that one, if there is one."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import pairwise
from types import TracebackType
from typing import Self

from dbsync.capture.backfill import backfill
from dbsync.changelog.compact import compact
from dbsync.postgres import connect
from tests.fuzz.schema import Schema
from tests.fuzz.story import (
    Allow,
    Backfill,
    Compact,
    Event,
    Meanwhile,
    MeanwhileEnds,
    Refuse,
    Restart,
    Ship,
    Transaction,
    end,
    is_open,
)
from tests.support.databases import Database, Databases, Pair
from tests.support.pipeline import LINK, SHIFT_SEQUENCES, Pipeline, prepared

CHECKS = """
SELECT conrelid::regclass::text, conname FROM pg_constraint
WHERE contype = 'c' AND coninhcount = 0 AND connamespace = 'public'::regnamespace
"""
HELD = "SELECT conflict, reason FROM dbsync.quarantine WHERE state = 'waiting' ORDER BY id"
WAITING = "SELECT count(*) FROM dbsync.quarantine WHERE state = 'waiting'"
TIMES = 4
"""That what waits is tried again at the end."""


class World:
    """Databases with a made-up schema; in one of two ``tiers`` everything goes up twice."""

    def __init__(self, databases: Databases, schema: Schema, versions: tuple[int, int], *, tiers: int = 1) -> None:
        self._schema = schema
        self._stack = ExitStack()
        pairs = [self._pair(databases, versions) for _ in range(tiers)]
        ends = [pairs[0].source, *(pair.upstream for pair in pairs)]
        self._hops = [
            self._stack.enter_context(Pipeline(below, above, schema.config, node=f"tier-{number}"))
            for number, (below, above) in enumerate(pairwise(ends))
        ]
        ends[0].sql((schema.triggers or "SELECT").encode())
        self.session, self.beside = (
            self._stack.enter_context(ends[0].connect(options="-c lock_timeout=50ms")) for _ in range(2)
        )

    def happen(self, event: Event) -> None:
        """Let an event happen."""
        match event:
            case Transaction():
                event.run(self.session)
            case Meanwhile() | MeanwhileEnds():
                event.run(self.beside)
            case Ship():
                self._ship(event)
            case Restart():
                self._restart()
            case Compact() | Backfill():
                self._look_after(event)
            case Refuse():
                self._hops[0].upstream.sql(event.ddl.encode())
            case Allow():
                self._allow()

    def end(self) -> list[str]:
        """Let everything arrive; give what is not as it should be then: what waits, what differs."""
        end(self.beside, "COMMIT")
        self._allow()
        found: list[str] = []
        for number, hop in enumerate(self._hops):
            hop.ship()
            for _ in range(TIMES):
                if hop.upstream.value(WAITING):
                    hop.applier.release()
            found += [f"{number}: {line}" for line in self._wrong(hop)]
        return found

    def _ship(self, event: Ship) -> None:
        if event.only_one:
            self._hops[0].ship_one(event.size)
            return
        for hop in self._hops:
            hop.ship(event.size)

    def _look_after(self, event: Compact | Backfill) -> None:
        if is_open(self.beside):  # both wait for writers
            return
        hop = self._hops[0]
        with connect(hop.source.dsn, name="source") as session:
            if isinstance(event, Compact):
                compact(session, LINK)
                return
            tables = [table.name for table in hop.registry.shipped()]
            backfill(session, hop.registry, hop.catalog, tables, lambda *_: None, again=True)

    def _restart(self) -> None:
        for hop in self._hops:
            hop.restart()

    def _wrong(self, hop: Pipeline) -> list[str]:
        found = [f"waits: {conflict}: {reason}" for conflict, reason in hop.upstream.sql(HELD)]
        for table in self._schema.tables:
            below, above = (self._told(database, table.name) for database in (hop.source, hop.upstream))
            found += [f"missing in {table.name}: {row}" for row in sorted(set(below) - set(above))]
            found += [f"extra in {table.name}: {row}" for row in sorted(set(above) - set(below))]
            if set(below) == set(above) and len(below) != len(above):
                found.append(f"of {len(below)} rows of {table.name} there are {len(above)}")
        return found or [f"verify: {difference}" for difference in hop.compare().differences]

    def _told(self, database: Database, name: str) -> list[str]:
        return [row[0] for row in database.sql(self._schema.told(name).encode())]

    def _allow(self) -> None:
        upstream = self._hops[0].upstream
        for table, name in upstream.sql(CHECKS):
            upstream.sql(f"ALTER TABLE {table} DROP CONSTRAINT {name}".encode())

    def _pair(self, databases: Databases, versions: tuple[int, int]) -> Pair:
        both = prepared(databases, _Versions(versions), "SELECT 1")
        for database in (both.source, both.upstream):
            database.sql(self._schema.ddl.encode())
        both.upstream.script(SHIFT_SEQUENCES)
        return both

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


class _Versions(Pair):
    """A pair of which nothing is asked but the servers' versions."""

    def __init__(self, versions: tuple[int, int]) -> None:
        self._versions = versions

    @property
    def versions(self) -> tuple[int, int]:
        return self._versions
