"""How fast a backlog reaches the upstream once somebody types ``dbsync resume``: the drain without the start of a program."""

from __future__ import annotations

import time
from contextlib import ExitStack

from tests.benchmarks import arrival, ground, study
from tests.benchmarks.backlogs import Backlogs, Work
from tests.benchmarks.drain import Drained, compared
from tests.benchmarks.report import Check, Result
from tests.benchmarks.routes import Route
from tests.benchmarks.stage import Stage


def run(stage: Stage) -> list[Result]:
    """Measure both routes in turns, while their replicators run on; give the rows of the report."""
    found: list[Drained] = []
    backlogs = Backlogs(scale=stage.scale, pool=stage.pool)
    with stage.routes() as routes, ExitStack() as running:
        for route in routes:
            running.enter_context(arrival.running(route, "RESUME-"))
        for number, route in stage.turns(routes):
            for work in Work:
                found.append(_resumed(route, work, f"RESUME-{work.name}-{number}-", backlogs))
                ground.talk(f"resume {number + 1}/{stage.reps}, {work}: {route.name} {found[-1].rate:,.0f}/s")
    equal = Check(
        name="resume_checksums_equal",
        title="after each of these drains all tables have equal checksums by natural key",
        held=tuple(drained.equal for drained in found),
    )
    rates = (row for work in Work for row in compared(found, work, "resume", manner="resumed drain"))
    return [*rates, equal]


def _resumed(route: Route, work: Work, tag: str, backlogs: Backlogs) -> Drained:
    """Let a backlog arise while shipping is paused, then time it from the word to go on to the last row upstream."""
    route.pause()
    changes = backlogs.make(route.source, work, tag) + 1
    mark = arrival.Mark.enter(route.source, tag)
    arrival.stopped(route, mark)
    began = time.perf_counter()
    route.resume()
    came = arrival.wait(route, mark, began)
    for database in (route.source, route.upstream):
        study.settle(database)
    return Drained(route=route.name, work=work, changes=changes, seconds=came.seconds, equal=came.equal, memory=None)
