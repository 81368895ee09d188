"""What capture costs the application: the same statements with dbsync's triggers and without, by turns."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from dbsync.demo.server import Cluster
from tests.benchmarks import ground, study
from tests.benchmarks.entry import CLIENTS, enter
from tests.benchmarks.node import Node
from tests.benchmarks.report import Aim, Measure, Result, Sense
from tests.benchmarks.stage import Stage
from tests.support.databases import Database

BULK = 100_000
SINGLES = 2_000
FEWEST_SINGLES = 200
TRANSACTIONS = 5_000
SLICE = 50
"""Single rows in a turn."""
TURNS = 10
"""Turns in which the small transactions run."""
TAG = "B-"
PLAIN, CAPTURED = "plain", "captured"
TEMPLATE = "study"
NOWHERE = "nowhere"
"""The upstream: capture needs none, and there is none."""

BULK_AIM = Aim(sense=Sense.AT_MOST, limit=1.5)
UPDATE_AIM = Aim(sense=Sense.AT_MOST, limit=2.0)
SMALL_AIM = Aim(sense=Sense.AT_MOST, limit=1.15)
SINGLE_AIM = Aim(sense=Sense.AT_MOST, limit=2.2)

Side = dict[str, float]
"""A time on the database without capture, and with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is done, at a scale."""

    bulk: int
    singles: int
    transactions: int

    @property
    def visits(self) -> int:
        """Give the visits needed: each crf has its own."""
        return self.bulk + 2 * self.singles


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """The times of one repetition: seconds; single rows in microseconds."""

    single: Side
    bulk: Side
    single_after_bulk: Side
    update: Side
    small: Side


def run(stage: Stage) -> list[Result]:
    """Measure on a cluster of its own; give the rows of the report."""
    sizes = Sizes(
        bulk=stage.size(BULK, 100),
        singles=stage.size(SINGLES, FEWEST_SINGLES),
        transactions=stage.size(TRANSACTIONS, 2 * TURNS * CLIENTS),
    )
    reps = stage.reps
    with ground.cluster() as cluster:
        _make_template(cluster, sizes)
        found = []
        for number in range(reps):
            with _pair(cluster, number) as pair:
                found.append(_repetition(pair, sizes, stage.pool, number))
            ground.talk(f"capture {number + 1}/{reps}: bulk insert x{ratios(found, 'bulk')[-1]:.2f}")
    return _results(found, sizes)


def ratios(found: Sequence[Repetition], name: str) -> tuple[float, ...]:
    """Give the time with capture by the time without, of each repetition."""
    return tuple(times[CAPTURED] / times[PLAIN] for times in _times(found, name))


def _results(found: Sequence[Repetition], sizes: Sizes) -> list[Result]:
    def ratio(name: str, what: str, aim: Aim | None = None) -> Measure:
        title = f"{what}, with capture / without"
        return Measure(name=f"capture_{name}", title=title, values=ratios(found, name), aim=aim)

    def single(name: str, side: str, title: str) -> Measure:
        values = tuple(times[side] for times in _times(found, name))
        return Measure(name=f"{name}_{side}_us", title=title, values=values, unit="us", digits=0)

    bare = tuple(times[PLAIN] * 1e6 / sizes.bulk for times in _times(found, "bulk"))
    added = tuple((times[CAPTURED] - times[PLAIN]) * 1e6 / sizes.bulk for times in _times(found, "bulk"))
    return [
        ratio("bulk", f"insert of {sizes.bulk:,} rows in one statement", BULK_AIM),
        ratio("single", "insert of a single row", SINGLE_AIM),
        ratio("single_after_bulk", "the same right after the bulk insert, in its session", SINGLE_AIM),
        ratio("update", f"update of {sizes.bulk:,} rows in one statement", UPDATE_AIM),
        ratio("small", f"{sizes.transactions:,} small transactions", SMALL_AIM),
        Measure(name="bulk_plain_us", title="bulk insert without capture, per row", values=bare, unit="us", digits=1),
        Measure(name="bulk_added_us", title="bulk insert, added per row", values=added, unit="us", digits=1),
        single("single", PLAIN, "single row without capture"),
        single("single", CAPTURED, "single row with capture"),
        single("single_after_bulk", PLAIN, "single row without capture, right after the bulk insert"),
        single("single_after_bulk", CAPTURED, "single row with capture, right after the bulk insert"),
    ]


def _times(found: Sequence[Repetition], name: str) -> list[Side]:
    return [getattr(repetition, name) for repetition in found]


def _make_template(cluster: Cluster, sizes: Sizes) -> None:
    template = ground.database(cluster, TEMPLATE)
    template.script(study.SCHEMA)
    template.sql(study.subjects(TAG, -(-sizes.visits // study.VISITS_PER_SUBJECT)))
    template.sql(study.visits(TAG))
    study.settle(template)


@contextmanager
def _pair(cluster: Cluster, number: int) -> Iterator[dict[str, Database]]:
    """Make two equal databases, one of them captured; drop both afterwards."""
    pair = {
        side: ground.database(cluster, f"{side}_{number}", TEMPLATE) for side in _in_turn(number, (PLAIN, CAPTURED))
    }
    try:
        with tempfile.TemporaryDirectory(prefix="dbsync-bench-") as folder:
            node = Node(Path(folder) / "node", source=pair[CAPTURED].dsn, upstream=cluster.dsn(NOWHERE))
            node.prepare("install-triggers")
        yield pair
    finally:
        for database in pair.values():
            cluster.drop_database(database.name)


def _repetition(pair: dict[str, Database], sizes: Sizes, pool: ProcessPoolExecutor, number: int) -> Repetition:
    with _sessions(pair) as sessions:
        single = _singles(sessions, range(sizes.bulk + 1, sizes.bulk + sizes.singles + 1))
    with _sessions(pair) as sessions:
        bulk = _by_turns(number, sessions, lambda session: session.execute(study.crfs(TAG, sizes.bulk)))
        single_after_bulk = _singles(sessions, range(sizes.bulk + sizes.singles + 1, sizes.visits + 1))
    for database in pair.values():
        study.settle(database)
    with _sessions(pair) as sessions:
        update = _by_turns(number, sessions, lambda session: session.execute(study.UPDATE, [sizes.bulk]))
    _agree(pair)
    small = _small_transactions(pair, sizes.transactions, pool)
    return Repetition(single=single, bulk=bulk, single_after_bulk=single_after_bulk, update=update, small=small)


@contextmanager
def _sessions(pair: dict[str, Database]) -> Iterator[dict[str, psycopg.Connection[Any]]]:
    with ExitStack() as stack:
        yield {side: stack.enter_context(database.connect()) for side, database in pair.items()}


def _by_turns(
    number: int,
    sessions: dict[str, psycopg.Connection[Any]],
    act: Callable[[psycopg.Connection[Any]], psycopg.Cursor[Any]],
) -> Side:
    """Time an autocommitted statement on both sides; the commit with its deferred checks belongs to it."""
    times = {}
    for side in _in_turn(number, (PLAIN, CAPTURED)):
        sessions[side].execute("CHECKPOINT")
        began = time.perf_counter()
        act(sessions[side])
        times[side] = time.perf_counter() - began
    return times


def _singles(sessions: dict[str, psycopg.Connection[Any]], visits: range) -> Side:
    """Insert one crf for each visit, on both sides in turns; give the median of a statement in microseconds."""
    times: dict[str, list[float]] = {PLAIN: [], CAPTURED: []}
    for session in sessions.values():
        session.autocommit = False
    for turn, start in enumerate(range(0, len(visits), SLICE)):
        for side in _in_turn(turn, (PLAIN, CAPTURED)):
            times[side] += _timed_inserts(sessions[side], visits[start : start + SLICE])
    for session in sessions.values():
        session.commit()
    return {side: statistics.median(taken) * 1e6 for side, taken in times.items()}


def _timed_inserts(session: psycopg.Connection[Any], visits: range) -> list[float]:
    taken = []
    for visit in visits:
        began = time.perf_counter()
        session.execute(study.CRF, [visit])
        taken.append(time.perf_counter() - began)
    return taken


def _small_transactions(pair: dict[str, Database], count: int, pool: ProcessPoolExecutor) -> Side:
    """Run small transactions over two connections, each a process, on both sides in turns; give the seconds."""
    taken = {PLAIN: 0.0, CAPTURED: 0.0}
    each = max(1, count // TURNS // CLIENTS)
    for database in pair.values():
        enter(pool, database.dsn, "warm-up", 1)
    for turn in range(TURNS):
        for side in _in_turn(turn, (PLAIN, CAPTURED)):
            taken[side] += enter(pool, pair[side].dsn, f"W-{turn}", each)
    return taken


def _agree(pair: dict[str, Database]) -> None:
    """Hold that both sides did the same work and that one of them captured it."""
    counts = {side: database.value("SELECT count(*) FROM crf") for side, database in pair.items()}
    logged = pair[CAPTURED].value("SELECT count(*) FROM dbsync.change")
    assert counts[PLAIN] == counts[CAPTURED], counts
    assert logged >= counts[CAPTURED], (logged, counts)


def _in_turn(number: int, sides: tuple[str, str]) -> tuple[str, str]:
    return sides if number % 2 == 0 else (sides[1], sides[0])
