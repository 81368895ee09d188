"""How the rate of a drain changes with the size of the backlog: what grows with it shows as a line that falls."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks import arrival, ground, plot, study
from tests.benchmarks.backlogs import in_blocks
from tests.benchmarks.report import Check, Measure, Result
from tests.benchmarks.routes import DbsyncRoute, LogicalRoute, Route
from tests.benchmarks.stage import Stage

SIZES = (1_000, 10_000, 100_000, 1_000_000)
SMALLEST = 1_000
NOTHING = 0
"""The size of a backlog that is nothing but the marker: what it takes is the start alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One drain of a backlog of about ``size`` changes."""

    route: str
    size: int
    changes: int
    came: arrival.Arrival

    @property
    def value(self) -> float:
        """Give the changes a second; of the start alone the seconds."""
        return self.changes / self.came.seconds if self.size else self.came.seconds


def run(stage: Stage) -> list[Result]:
    """Measure both routes in turns, from the smallest backlog to the largest; draw them, and give the rows."""
    sizes = sorted({stage.size(size, SMALLEST) for size in SIZES})
    found = []
    for number, route in stage.turns(stage.calm):
        for size in (NOTHING, *sizes):
            found.append(_measure(route, size, f"CURVE-{number}-{size}-"))
            ground.talk(f"curve {number + 1}/{stage.reps}, {size:,}: {route.name} {_said(found[-1])}")
    stage.draw("curve", _drawing(found, sizes))
    return [
        *(_row(found, route, size) for size in (NOTHING, *sizes) for route in (DbsyncRoute.name, LogicalRoute.name)),
        Check(
            name="curve_checksums_equal",
            title="after each drain of the curve all tables have equal checksums by natural key",
            held=tuple(point.came.equal for point in found),
        ),
    ]


def _measure(route: Route, size: int, tag: str) -> Point:
    changes = in_blocks(route.source, tag, size) + 1
    mark = arrival.Mark.enter(route.source, tag)
    arrival.stopped(route, mark)
    began = time.perf_counter()
    route.start()
    came = arrival.wait(route, mark, began)
    route.stop()
    for database in (route.source, route.upstream):
        study.settle(database)
    return Point(route=route.name, size=size, changes=changes, came=came)


def _said(point: Point) -> str:
    return f"{point.value:,.0f}/s" if point.size else f"{point.value:.2f} s"


def _of(found: Sequence[Point], route: str, size: int) -> list[Point]:
    return [point for point in found if (point.route, point.size) == (route, size)]


def _row(found: Sequence[Point], route: str, size: int) -> Measure:
    points = _of(found, route, size)
    values = tuple(point.value for point in points)
    if not size:
        title = f"from the start until one waiting change is upstream: {route}"
        return Measure(name=f"curve_{route}_start", title=title, values=values, unit="s")
    title = f"drain of {points[0].changes:,} changes in one backlog: {route}"
    return Measure(name=f"curve_{route}_{size}", title=title, values=values, unit="/s", digits=0)


def _drawing(found: Sequence[Point], sizes: Sequence[int]) -> plot.Drawing:
    def line(route: str) -> plot.Line:
        start = statistics.median(point.value for point in _of(found, route, NOTHING))
        return plot.Line(
            name=f"{route} (start: {start:.2f} s)",
            values=tuple(statistics.median(point.value for point in _of(found, route, size)) for size in sizes),
        )

    return plot.Drawing(
        title="Drain rate over the size of the backlog, start included",
        across=plot.Axis(title="row changes in the backlog", marks=tuple(f"{size:,}" for size in sizes)),
        up="row changes a second",
        lines=(line(DbsyncRoute.name), line(LogicalRoute.name)),
    )
