"""How long a change takes to be seen upstream when little happens: from its commit, at 20 changes a second."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.benchmarks import arrival, ground, pulse
from tests.benchmarks.report import Aim, Check, Measure, Result, Sense
from tests.benchmarks.routes import DbsyncRoute, LogicalRoute, Route
from tests.benchmarks.stage import Stage

CHANGES = 400
FEWEST = 10
P50_AIM = Aim(sense=Sense.AT_MOST, limit=20)
P99_AIM = Aim(sense=Sense.AT_MOST, limit=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """From commit to visible upstream, in milliseconds, of each change that was seen."""

    route: str
    values: tuple[float, ...]
    complete: bool


def run(stage: Stage) -> list[Result]:
    """Measure both routes in turns; give the rows of the report."""
    changes = stage.size(CHANGES, FEWEST)
    found = []
    for number, route in stage.turns(stage.calm):
        tag = f"LATENCY-{number}-"
        with arrival.running(route, tag):
            found.append(_measure(route, tag, changes))
        ground.talk(f"latency {number + 1}/{stage.reps}: {route.name} p50 {_at(found[-1:], 50)[0]:.1f} ms")
    seen = Check(
        name="latency_all_seen",
        title=f"all {changes:,} changes were seen upstream",
        held=tuple(one.complete for one in found),
    )
    return [*_rows(found), seen]


def _measure(route: Route, tag: str, changes: int) -> Latencies:
    with ThreadPoolExecutor(1) as threads:
        entering = threads.submit(pulse.enter, route.source, tag, lambda entered: entered < changes)
        seen = pulse.watch(route, tag, lambda seen: seen == changes, changes / pulse.PACE)
        entered = entering.result()
    # A row may be seen before its own client knows that it is committed.
    values = (max(0.0, there - entered[number].committed) * 1000 for number, there in seen.items())
    return Latencies(route=route.name, values=tuple(values), complete=len(seen) == changes)


def _rows(found: Sequence[Latencies]) -> list[Result]:
    return [
        Measure(
            name=f"latency_{route}_p{percent}",
            title=f"commit to visible upstream at {pulse.PACE:.0f} changes/s, p{percent}: {route}",
            values=tuple(_at([one for one in found if one.route == route], percent)),
            unit="ms",
            digits=1,
            aim=aim if route == DbsyncRoute.name else None,
        )
        for route in (DbsyncRoute.name, LogicalRoute.name)
        for percent, aim in ((50, P50_AIM), (99, P99_AIM))
    ]


def _at(found: Sequence[Latencies], percent: int) -> list[float]:
    return [pulse.percentile(one.values, percent) for one in found]
