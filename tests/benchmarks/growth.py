"""How the rate of a drain changes with the size of the upstream's tables: a look at every row shows as a line that falls."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks import arrival, ground, plot, study
from tests.benchmarks.backlogs import Backlogs, Work, in_blocks
from tests.benchmarks.report import Check, Measure, Result
from tests.benchmarks.routes import DbsyncRoute
from tests.benchmarks.stage import Stage
from tests.support.databases import Database

SIZES = (10_000, 100_000, 1_000_000)
"""Rows upstream that came from elsewhere; ten millions with ``--scale 10``."""
CHANGES = 100_000
SMALLEST = 1_000
OURS = "GROWTH-"
EDITS = 1.0
"""A scale of the edits of single rows: ten thousand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Two drains into tables of about ``size`` rows: of inserts, and of updates of single rows. Changes a second."""

    size: int
    inserts: float
    edits: float
    equal: bool


def run(stage: Stage) -> list[Result]:
    """Fill the upstream's tables more and more, and drain the same each time; draw it, and give the rows."""
    sizes = sorted({stage.size(size, SMALLEST) for size in SIZES})
    found = []
    for number in range(stage.reps):
        with stage.pair(DbsyncRoute.name) as (source, upstream):
            route = DbsyncRoute(source, upstream, stage.folder / f"growth-{number}")
            there = 0
            for size in sizes:
                there += _fill(upstream, f"THERE-{size}-", size - there)
                found.append(_measure(stage, route, size, f"{OURS}{number}-{size}-"))
                ground.talk(f"growth {number + 1}/{stage.reps}, {size:,} rows: {found[-1].inserts:,.0f}/s")
            route.close()
    stage.draw("growth", _drawing(found, sizes))
    return [
        *(row for size in sizes for row in _rows(found, size)),
        Check(
            name="growth_equal",
            title="after each drain the rows of the source are upstream as they are",
            held=tuple(point.equal for point in found),
        ),
    ]


def _fill(upstream: Database, tag: str, rows: int) -> int:
    """Let so many rows be upstream that the source knows nothing of."""
    made = in_blocks(upstream, tag, max(rows, 0))
    study.settle(upstream)
    return made


def _measure(stage: Stage, route: DbsyncRoute, size: int, tag: str) -> Point:
    inserts, all_there = _drained(route, tag, in_blocks(route.source, tag, stage.size(CHANGES, SMALLEST)))
    edited = Backlogs(scale=min(1.0, stage.scale) * EDITS, pool=stage.pool).make(route.source, Work.EDITS, tag)
    edits, as_edited = _drained(route, f"{tag}edits-", edited)
    return Point(size=size, inserts=inserts, edits=edits, equal=all_there and as_edited)


def _drained(route: DbsyncRoute, tag: str, changes: int) -> tuple[float, bool]:
    """Drain what is pending; give the changes a second, and whether the source's rows are upstream then."""
    mark = arrival.Mark.enter(route.source, tag)
    arrival.stopped(route, mark)
    began = time.perf_counter()
    route.start()
    with route.upstream.connect() as upstream:
        while not mark.arrived(upstream) and time.perf_counter() - began < arrival.TIMEOUT:
            route.alive()
            time.sleep(0.005)
    seconds = time.perf_counter() - began
    route.stop()
    equal = study.checksums(route.upstream, of=OURS) == study.checksums(route.source, of=OURS)
    return changes / seconds, equal


def _rows(found: Sequence[Point], size: int) -> list[Result]:
    points = [point for point in found if point.size == size]
    return [
        Measure(
            name=f"growth_{size}_{what}",
            title=f"drain of {what} where {size:,} rows are upstream already",
            values=values,
            unit="/s",
            digits=0,
        )
        for what, values in (
            ("inserts", tuple(point.inserts for point in points)),
            ("edits", tuple(point.edits for point in points)),
        )
    ]


def _drawing(found: Sequence[Point], sizes: Sequence[int]) -> plot.Drawing:
    of_size = {size: [point for point in found if point.size == size] for size in sizes}
    return plot.Drawing(
        title="Drain rate over the size of the upstream's tables, start included",
        across=plot.Axis(title="rows upstream before", marks=tuple(f"{size:,}" for size in sizes)),
        up="row changes a second",
        lines=(
            plot.Line(name="inserts", values=tuple(statistics.median(p.inserts for p in of_size[s]) for s in sizes)),
            plot.Line(name="edits", values=tuple(statistics.median(p.edits for p in of_size[s]) for s in sizes)),
        ),
    )
