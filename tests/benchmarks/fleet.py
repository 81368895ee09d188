"""A thousand laptops and one server: how fast they are rid of what they bring, and how long each waits for its receipt."""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString

from dbsync.identity.keys import Keys
from tests.benchmarks import ground, plot, study
from tests.benchmarks.fleet_ways import Way, over_https, over_nats
from tests.benchmarks.laptops import CHANGES, SUBJECTS, Laptop, Parcel, made
from tests.benchmarks.locks import Locks
from tests.benchmarks.memory import PeakMemory
from tests.benchmarks.report import Check, Measure, Result
from tests.benchmarks.routes import DbsyncRoute
from tests.benchmarks.stage import Stage
from tests.support.databases import Database
from tests.support.served import admit

FLEETS = (10, 100, 1000)
FEWEST = 3
RUSH, MORNING, BESIDE = 3, 2, 2
"""Batches of each laptop: all at once; spread over a morning; spread over one on which another comes home."""
BACKLOG = 200
"""Batches of the one that comes home."""
LOAD = 0.6
"""Of what the server was found to take in a rush: how much comes on a morning."""
HANDS = 24
"""Laptops that speak at the same time, as far as this machine can be them."""
TIMEOUT = 600.0
"""Seconds that all of it may take to be upstream."""

_NEWEST: LiteralString = "SELECT max(number) FROM dbsync.receipt WHERE node = %s"
_RECEIPTS: LiteralString = "SELECT node, number, extract(epoch FROM applied_at)::float8 FROM dbsync.receipt"

WAYS = {"https": over_https, "nats": over_nats}

Receipt = float
"""Seconds from when a laptop had a batch to bring until it was committed upstream, with its receipt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A batch, whose it is, and when it is to be brought: seconds from the beginning."""

    laptop: Laptop
    parcel: Parcel
    at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """What one fleet found."""

    way: str
    laptops: int
    rate: float
    """Row changes a second, of all together, in the rush."""
    morning: tuple[Receipt, ...]
    beside: tuple[Receipt, ...]
    """Those of the others, while one came home."""
    turned_away: int
    """Answers that said: come again."""
    deadlocks: int
    locks: int
    """Held at one moment, at most."""
    waiting: float
    """Sessions upstream that waited for a lock, on average."""
    megabytes: float
    """Of the upstream's process that took most."""
    equal: bool


def run(stage: Stage) -> list[Result]:
    """Let larger and larger fleets bring the same each, on either way by turns; draw it, and give the rows of the report."""
    found = []
    for number in range(stage.reps):
        for size in sorted({stage.size(size, FEWEST) for size in FLEETS}):
            for way in WAYS if number % 2 == 0 else reversed(WAYS):
                found.append(_fleet(stage, way, size, stage.folder / f"fleet-{number}-{size}-{way}"))
                ground.talk(f"fleet {number + 1}/{stage.reps}, {size:,} laptops, {way}: {found[-1].rate:,.0f}/s")
    sizes = sorted({fleet.laptops for fleet in found})
    stage.draw("fleet", _drawing(found, sizes))
    return [
        *(
            row
            for way in WAYS
            for size in sizes
            for row in _rows([fleet for fleet in found if (fleet.way, fleet.laptops) == (way, size)])
        ),
        Check(
            name="fleet_equal",
            title="after all that every laptop's rows are upstream as they are, once",
            held=tuple(fleet.equal for fleet in found),
        ),
    ]


def _fleet(stage: Stage, name: str, size: int, folder: Path) -> Fleet:
    with stage.pair(DbsyncRoute.name) as (source, upstream), ExitStack() as stack:
        route = DbsyncRoute(source, upstream, folder)
        stack.callback(route.close)
        each = RUSH + MORNING + BESIDE
        *laptops, home = made(source, "laptop-", [each] * size + [min(BACKLOG, stage.size(BACKLOG, FEWEST))])
        keys = Keys.generate()
        for laptop in [*laptops, home]:
            admit(upstream, laptop.name, laptop.keys)
        way = stack.enter_context(WAYS[name](upstream, folder, keys, [*laptops, home]))
        memory = [stack.enter_context(PeakMemory(pid)) for pid in way.pids]
        locks = stack.enter_context(Locks(upstream))
        rush = _brought(way, upstream, _order(laptops, 0, RUSH, math.inf))
        rate = len(laptops) * RUSH * SUBJECTS * CHANGES / max(rush)
        morning = _brought(way, upstream, _order(laptops, RUSH, MORNING, rate * LOAD))
        backlog = threading.Thread(target=_come_home, args=(way, home))
        backlog.start()
        beside = _brought(way, upstream, _order(laptops, RUSH + MORNING, BESIDE, rate * LOAD))
        backlog.join()
        _all_there(upstream, home, len(home.parcels))
        locks.stop()
        return Fleet(
            way=name, laptops=size, rate=rate, morning=morning, beside=beside, turned_away=way.turned_away,
            deadlocks=_deadlocks(upstream), locks=locks.most, waiting=locks.waiting,
            megabytes=max(one.megabytes for one in memory),
            equal=study.checksums(upstream) == study.checksums(source),
        )  # fmt: skip


def _order(laptops: Sequence[Laptop], first: int, count: int, rate: float) -> list[Due]:
    """Say when each is to bring its batches: all first ones, evenly, so many changes a second, and then all second ones."""
    pause = SUBJECTS * CHANGES / rate
    return [
        Due(laptop=one, parcel=one.parcels[first + turn], at=(turn * len(laptops) + place) * pause)
        for turn in range(count)
        for place, one in enumerate(laptops)
    ]


def _brought(way: Way, upstream: Database, order: Sequence[Due]) -> tuple[Receipt, ...]:
    """Let batches be brought when they are due, and give how long each took; a laptop's go one after the other."""
    began = time.time()
    gone = {id(due): threading.Event() for due in order}
    before: dict[str, threading.Event] = {}
    with ThreadPoolExecutor(HANDS) as hands:
        work = []
        for due in order:
            work.append(hands.submit(_when_due, way, due, began, before.get(due.laptop.name), gone[id(due)]))
            before[due.laptop.name] = gone[id(due)]
        for one in work:
            one.result()
    newest = {due.laptop.name: due for due in order}
    for due in newest.values():
        _all_there(upstream, due.laptop, due.parcel.header.number)
    receipts = {(node, number): at for node, number, at in upstream.sql(_RECEIPTS)}
    return tuple(receipts[due.laptop.name, due.parcel.header.number] - began - due.at for due in order)


def _when_due(way: Way, due: Due, began: float, before: threading.Event | None, gone: threading.Event) -> None:
    """Bring a batch when it is due and the one before it is gone."""
    time.sleep(max(0.0, due.at - (time.time() - began)))
    try:
        if before is not None:
            before.wait()
        way.bring(due.laptop, due.parcel)
    finally:
        gone.set()


def _come_home(way: Way, laptop: Laptop) -> None:
    for parcel in laptop.parcels:
        way.bring(laptop, parcel)


def _all_there(upstream: Database, laptop: Laptop, number: int) -> None:
    """Wait until a laptop's batches up to a number are committed upstream."""
    with upstream.connect() as connection:
        end = time.monotonic() + TIMEOUT
        while connection.execute(_NEWEST, [laptop.name]).fetchone() != (number,):
            assert time.monotonic() < end, f"{laptop.name} does not get rid of its batches"
            time.sleep(0.02)


def _deadlocks(upstream: Database) -> int:
    return int(upstream.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))


def _rows(found: Sequence[Fleet]) -> list[Result]:
    way, size = found[0].way, found[0].laptops
    titled: list[tuple[str, str, Callable[[Fleet], float], str, int]] = [
        ("rate", "all come at once", lambda fleet: fleet.rate, "/s", 0),
        ("p50", "spread over a morning, from having a batch to its receipt, p50", _percentile("morning", 50), "ms", 0),
        ("p99", "the same, p99", _percentile("morning", 99), "ms", 0),
        ("beside_p50", "the same while one comes home with a backlog, p50", _percentile("beside", 50), "ms", 0),
        ("beside_p99", "the same, p99", _percentile("beside", 99), "ms", 0),
        ("memory", "memory of the greater of the upstream's two processes", lambda fleet: fleet.megabytes, "MB", 0),
        ("deadlocks", "deadlocks upstream", lambda fleet: fleet.deadlocks, "", 0),
        ("locks", "locks in the upstream's table at one moment, at most", lambda fleet: fleet.locks, "", 0),
        ("waiting", "sessions upstream that waited for a lock, on average", lambda fleet: fleet.waiting, "", 2),
        ("turned_away", "how often one was told to come again", lambda fleet: fleet.turned_away, "", 0),
    ]
    return [
        Measure(name=f"fleet_{way}_{size}_{name}", title=f"{size:,} laptops over {way}: {title}",
                values=tuple(value(fleet) for fleet in found), unit=unit, digits=digits)
        for name, title, value, unit, digits in titled
    ]  # fmt: skip


def _percentile(of: str, percent: int) -> Callable[[Fleet], float]:
    def value(fleet: Fleet) -> float:
        seconds = sorted(getattr(fleet, of))
        return 1000 * float(seconds[min(len(seconds) - 1, len(seconds) * percent // 100)])

    return value


def _drawing(found: Sequence[Fleet], sizes: Sequence[int]) -> plot.Drawing:
    return plot.Drawing(
        title="Changes a second of a whole fleet over its size",
        across=plot.Axis(title="laptops", marks=tuple(f"{size:,}" for size in sizes)),
        up="row changes a second",
        lines=tuple(
            plot.Line(
                name=f"over {way}",
                values=tuple(
                    statistics.median(one.rate for one in found if (one.way, one.laptops) == (way, size))
                    for size in sizes
                ),
            )
            for way in WAYS
        ),
    )
