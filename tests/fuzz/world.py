"""Where a story happens: a source, its upstream, and the server above that one, if there is one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from psycopg import errors

from dbsync.capture.backfill import backfill
from dbsync.catalog.former import FormerNames
from dbsync.catalog.inspect import inspect
from dbsync.changelog.compact import compact
from dbsync.postgres import connect
from dbsync.schema import upgrade
from dbsync.verify.report import Kind
from tests.fuzz.drift import Dropping, Renaming, Step, after
from tests.fuzz.events import (
    Allow,
    Backfill,
    BackUp,
    Compact,
    Event,
    Meanwhile,
    MeanwhileEnds,
    Migrate,
    Refuse,
    Reinstall,
    Restart,
    Restore,
    Session,
    Ship,
    Transaction,
    end,
    is_open,
)
from tests.fuzz.hop import Hop, Once, Staying
from tests.fuzz.schema import TYPES, Schema
from tests.support.databases import Database, Databases, Pair
from tests.support.lives import back_up, restore
from tests.support.pipeline import LINK, SHIFT_SEQUENCES, Pipeline, prepared
from tests.support.servers import own_cluster

CHECKS = """
SELECT conrelid::regclass::text, conname FROM pg_constraint
WHERE contype = 'c' AND coninhcount = 0 AND connamespace = 'public'::regnamespace
"""
HELD = "SELECT conflict, reason FROM dbsync.quarantine WHERE state = 'waiting' ORDER BY id"
WAITING = "SELECT count(*) FROM dbsync.quarantine WHERE state = 'waiting'"
OTHER_IDS = f"{SHIFT_SEQUENCES}; UPDATE {TYPES} SET id = id + 100"
MANY = 20_000
TIMES = 4
"""That what waits is tried again at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Laptop:
    """Where statements are run: in one session, and in another one beside it."""

    hop: Hop
    session: Session
    beside: Session


class World:
    """Databases with a made-up schema: ``laptops`` of one server; with two ``tiers`` all goes on from there to a centre."""

    def __init__(
        self,
        databases: Databases,
        schema: Schema,
        versions: tuple[int, int],
        *,
        tiers: int = 1,
        laptops: int = 1,
        restoring: bool = False,
    ) -> None:
        self._schema = schema
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(TemporaryDirectory())) if restoring else None
        self._saved: Path | None = None
        self._saved_with = 0
        pairs = [self._pair(databases, versions) for _ in range(max(tiers, laptops))]
        above = [pair.upstream for pair in pairs[:tiers]]
        if restoring:
            above[0] = self._own(versions[1])
        self.laptops = [self._laptop(pairs[number].source, above[0], number) for number in range(laptops)]
        self._above = above
        self._steps: list[Step] = []
        self._done = [0] * (laptops + tiers)
        """How many migrations each end has."""
        self._tiers = [self._hop(low, high, f"tier-{number}") for number, (low, high) in enumerate(pairwise(above), 1)]

    def happen(self, event: Event) -> None:
        """Let an event happen."""
        laptop = self.laptops[event.laptop]
        match event:
            case Transaction():
                event.run(laptop.session)
            case Meanwhile() | MeanwhileEnds():
                event.run(laptop.beside)
            case Ship():
                self._ship(laptop, event)
            case Migrate():
                self._migrate(event.step, event.end)
            case Refuse():
                self._refuse(laptop.hop.upstream, event)
            case Allow():
                self._allow()
            case _:
                self._look_after(laptop, event)

    def end(self) -> list[str]:
        """Let everything arrive; give what is not as it should be then: what waits, what differs."""
        for laptop in self.laptops:
            end(laptop.beside, "COMMIT")
        self._allow()
        self._complete()
        hops = [laptop.hop for laptop in self.laptops]
        for hop in hops:
            hop.ship(MANY)
        found = self._wrong(hops)
        for number, hop in enumerate(self._tiers, 1):
            hop.ship(MANY)
            found += [f"{number}: {line}" for line in self._wrong([hop])]
        return found

    def _ship(self, laptop: Laptop, event: Ship) -> None:
        if event.only_one:
            laptop.hop.ship_one(event.size)
            return
        for hop in (laptop.hop, *self._tiers):
            hop.ship(event.size)

    def _look_after(self, laptop: Laptop, event: Event) -> None:
        match event:
            case Restart():
                self._restart()
            case Reinstall():
                self._reinstall()
            case BackUp():
                self._back_up()
            case Restore() if self._saved is not None:
                self._restore(self._saved)
            case Compact() | Backfill() if not is_open(laptop.beside):  # both wait for writers
                self._reduce_or_repeat(laptop, event)

    def _reduce_or_repeat(self, laptop: Laptop, event: Compact | Backfill) -> None:
        with laptop.hop.opened() as hop, connect(hop.source.dsn, name="source") as session:
            if isinstance(event, Compact):
                compact(session, LINK)
                return
            hop.reinstall(self._config(laptop.hop))  # as a process does that knows the tables as they are now
            tables = [table.name for table in hop.registry.shipped()]
            backfill(session, hop.registry, hop.catalog, tables, lambda *_: None, again=True)

    def _migrate(self, step: Step, number: int) -> None:
        """Migrate one end, by what comes before this step too; a part of a story may lack what a step needs, and has none then."""
        if step not in self._steps:
            self._steps.append(step)
        for each in self._steps[self._done[number] : self._steps.index(step) + 1]:
            if number < len(self.laptops):
                end(self.laptops[number].beside, "COMMIT")  # it may hold the table
            try:
                self._ends[number].sql(each.ddl.encode())
            except errors.UndefinedColumn:
                self._steps.remove(each)
                return
            if number >= len(self.laptops):
                _know(self._ends[number])  # a name that it never had while somebody looked is a limit
            before = after(self._schema, self._steps[: self._done[number]])[each.table]
            self._done[number] += 1
            plain = {column.name for column in before.columns}
            if isinstance(each, Renaming | Dropping) and each.column not in plain:
                self._reinstall(
                    number
                )  # a trigger does not know a key or a reference any more that is called otherwise

    def _complete(self) -> None:
        """Migrate all ends that are behind."""
        for number in range(len(self._ends)):
            for step in self._steps[-1:]:
                self._migrate(step, number)
        self._reinstall()

    @staticmethod
    def _refuse(upstream: Database, event: Refuse) -> None:
        with suppress(errors.UndefinedColumn):  # a migration was there before
            upstream.sql(event.ddl.encode())

    @property
    def _ends(self) -> list[Database]:
        return [*(laptop.hop.source for laptop in self.laptops), *self._above]

    def _reinstall(self, *numbers: int) -> None:
        """Install the triggers of some ends again, or of all that have some."""
        for number, hop in enumerate((*(laptop.hop for laptop in self.laptops), *self._tiers)):
            if number in numbers or not numbers:
                if number < len(self.laptops):
                    end(self.laptops[number].beside, "COMMIT")  # triggers wait for it
                hop.reinstall(self._config(hop))

    def _config(self, hop: Hop) -> str:
        """Give what stands in a hop's dbsync.toml, which names columns as its source does."""
        number = next(number for number, database in enumerate(self._ends) if database is hop.source)
        return after(self._schema, self._steps[: self._done[number]]).config

    def _restart(self) -> None:
        for hop in (*(laptop.hop for laptop in self.laptops), *self._tiers):
            hop.restart()

    def _wrong(self, ways: Sequence[Hop]) -> list[str]:
        """Say what is wrong with what came up these hops, which have one upstream."""
        with ExitStack() as stack:
            return self._wrong_with([stack.enter_context(way.opened()) for way in ways])

    def _wrong_with(self, hops: Sequence[Pipeline]) -> list[str]:
        upstream = hops[0].upstream
        for hop in [*hops] * TIMES:
            if upstream.value(WAITING):
                hop.applier.release()
        found = [f"waits: {conflict}: {reason}" for conflict, reason in upstream.sql(HELD)]
        for table in after(self._schema, self._steps).tables:
            below = [row for hop in hops for row in self._told(hop.source, table.name)]
            above = self._told(upstream, table.name)
            found += [f"missing in {table.name}: {row}" for row in sorted(set(below) - set(above))]
            found += [f"extra in {table.name}: {row}" for row in sorted(set(above) - set(below))]
            if set(below) == set(above) and len(below) != len(above):
                found.append(f"of {len(below)} rows of {table.name} there are {len(above)}")
        return found or [
            f"verify: {difference}"
            for hop in hops
            for difference in hop.compare().differences
            if difference.kind is not Kind.EXTRA or len(hops) == 1
        ]

    def _told(self, database: Database, name: str) -> list[str]:
        return [row[0] for row in database.sql(after(self._schema, self._steps).told(name).encode())]

    def _allow(self) -> None:
        upstream = self.laptops[0].hop.upstream
        for table, name in upstream.sql(CHECKS):
            upstream.sql(f"ALTER TABLE {table} DROP CONSTRAINT {name}".encode())

    def _laptop(self, source: Database, upstream: Database, number: int) -> Laptop:
        hop = self._hop(source, upstream, f"laptop-{number}")
        source.sql((self._schema.triggers or "SELECT").encode())
        session, beside = (self._stack.enter_context(source.connect(options="-c lock_timeout=50ms")) for _ in range(2))
        return Laptop(hop=hop, session=session, beside=beside)

    def _hop(self, source: Database, upstream: Database, node: str) -> Hop:
        if self._folder is not None:
            return Once(self._folder, source, upstream, self._schema.config, node=node)
        return self._stack.enter_context(Staying(source, upstream, self._schema.config, node=node))

    def _own(self, version: int) -> Database:
        """Make an upstream in a cluster of its own, as it can be restored then."""
        cluster = self._stack.enter_context(own_cluster(version))
        cluster.create_database("community")
        made = Database(cluster=cluster, name="community")
        upgrade(made.dsn, "upstream")
        made.sql(self._schema.ddl.encode())
        made.script(OTHER_IDS)
        _know(made)
        return made

    def _back_up(self) -> None:
        if self._saved is not None:
            rmtree(self._saved)
        self._saved = back_up(self._above[0].cluster)
        self._saved_with = self._done[len(self.laptops)]

    def _restore(self, saved: Path) -> None:
        restore(self._above[0].cluster, saved)
        here = len(self.laptops)
        was, self._done[here] = self._done[here], self._saved_with
        if self._done[here] != was:
            self._reinstall(here)  # by the configuration of then

    def _pair(self, databases: Databases, versions: tuple[int, int]) -> Pair:
        both = prepared(databases, _Versions(versions), "SELECT 1")
        for database in (both.source, both.upstream):
            database.sql(self._schema.ddl.encode())
        both.upstream.script(OTHER_IDS)
        _know(both.upstream)
        return both

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def _know(database: Database) -> None:
    """Let dbsync know the columns of its tables, as where it is installed beside an application that is there."""
    with connect(database.dsn, name="upstream") as session:
        FormerNames(session).note(inspect(session))


class _Versions(Pair):
    """A pair of which nothing is asked but the servers' versions."""

    def __init__(self, versions: tuple[int, int]) -> None:
        self._versions = versions

    @property
    def versions(self) -> tuple[int, int]:
        return self._versions
