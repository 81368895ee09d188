"""How long a single change takes while a large backlog is on its way: whoever saves a form now waits behind all of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psycopg

from tests.benchmarks import arrival, ground, pulse, study
from tests.benchmarks.backlogs import in_blocks
from tests.benchmarks.report import Check, Measure, Result
from tests.benchmarks.routes import DbsyncRoute, LogicalRoute, Route
from tests.benchmarks.stage import Stage
from tests.support.databases import Row

CHANGES = 100_000
FEWEST = 500
PACE = 50.0
"""Single changes a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """One drain, and the changes made until its end; times in milliseconds, from the commit to visible upstream."""

    route: str
    changes: int
    seconds: float
    """Until the backlog was upstream."""
    values: tuple[float, ...]
    complete: bool


def run(stage: Stage) -> list[Result]:
    """Measure both routes in turns; give the rows of the report."""
    found = []
    for number, route in stage.turns(stage.calm):
        found.append(_measure(route, f"LOAD-{number}-", stage.size(CHANGES, FEWEST)))
        ground.talk(f"load {number + 1}/{stage.reps}: {route.name} p50 {pulse.percentile(found[-1].values, 50):.0f} ms")
    seen = Check(
        name="load_all_seen",
        title="all changes made behind a backlog were seen upstream",
        held=tuple(one.complete for one in found),
    )
    return [*_rows(found), seen]


def _measure(route: Route, tag: str, size: int) -> Loaded:
    """Start the replicator and the single changes at once; those count that were made before the backlog was there."""
    changes = in_blocks(route.source, tag, size) + 1
    mark = arrival.Mark.enter(route.source, tag)
    arrival.stopped(route, mark)
    singles = f"{tag}single-"
    drain = _Drain(route=route, mark=mark)
    with ThreadPoolExecutor(1) as threads, route.upstream.connect() as connection:
        drain.begin()
        entering = threads.submit(pulse.enter, route.source, singles, drain.goes_on, PACE)

        def all_seen(seen: int) -> bool:
            return drain.over(connection) and entering.done() and seen == len(entering.result())

        try:
            seen = pulse.watch(route, singles, all_seen, arrival.TIMEOUT)
        finally:
            drain.end()
    for database in (route.source, route.upstream):
        study.settle(database)
    entered = _behind(entering.result(), drain.ended)
    return Loaded(
        route=route.name,
        changes=changes,
        seconds=drain.ended - drain.began,
        values=tuple(
            max(0.0, seen[number] - row.committed) * 1000 for number, row in enumerate(entered) if number in seen
        ),
        complete=all(number in seen for number in range(len(entered))),
    )


def _behind(entered: list[pulse.Entered], ended: float) -> list[pulse.Entered]:
    """Keep those that were sent while the backlog was on its way, and one where a short backlog left time for none.

    >>> late = pulse.Entered(began=2.0, committed=2.1)
    >>> _behind([late], ended=1.0) == _behind([late], ended=3.0) == [late]
    True
    >>> _behind([pulse.Entered(began=0.5, committed=0.6), late], ended=1.0)
    [Entered(began=0.5, committed=0.6)]
    """
    return [row for row in entered if row.began < ended] or entered[:1]


@dataclass(slots=True, kw_only=True)
class _Drain:
    """A backlog on its way: begun, and over when its marker is upstream; times by the monotonic clock."""

    route: Route
    mark: arrival.Mark
    began: float = 0.0
    ended: float = 0.0

    def begin(self) -> None:
        self.began = time.monotonic()
        self.route.start()

    def goes_on(self, entered: int) -> bool:
        """Say whether to enter another row; one there is always."""
        return not self.ended or not entered

    def over(self, upstream: psycopg.Connection[Row]) -> bool:
        self.route.alive()
        if not self.ended and self.mark.arrived(upstream):
            self.ended = time.monotonic()
        return bool(self.ended)

    def end(self) -> None:
        """Stop the replicator, whether it came to an end or not."""
        self.ended = self.ended or time.monotonic()
        self.route.stop()


def _rows(found: Sequence[Loaded]) -> list[Result]:
    return [row for name in (DbsyncRoute.name, LogicalRoute.name) for row in _of([o for o in found if o.route == name])]


def _of(found: Sequence[Loaded]) -> list[Result]:
    route = found[0].route
    behind = f"while {found[0].changes:,} changes are drained"
    return [
        *(
            Measure(
                name=f"load_{route}_p{percent}",
                title=f"commit to visible upstream at {PACE:.0f} changes/s {behind}, p{percent}: {route}",
                values=tuple(pulse.percentile(one.values, percent) for one in found),
                unit="ms",
                digits=0,
            )
            for percent in (50, 99)
        ),
        Measure(
            name=f"load_{route}_seconds",
            title=f"until they are drained: {route}",
            values=tuple(one.seconds for one in found),
            unit="s",
        ),
    ]
