"""How fast a backlog reaches the upstream: ``dbsync run`` beside PostgreSQL's own logical replication."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from tests.benchmarks import arrival, ground
from tests.benchmarks.backlogs import Backlogs, Work
from tests.benchmarks.memory import PeakMemory
from tests.benchmarks.report import Aim, Check, Measure, Result, Sense
from tests.benchmarks.routes import DbsyncRoute, LogicalRoute, Route
from tests.benchmarks.stage import Stage

WARM_UP = 0.01
"""A scale."""

RATE_AIM = Aim(sense=Sense.AT_LEAST, limit=1.0)
MEMORY_AIM = Aim(sense=Sense.BELOW, limit=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What a drain was like. Memory is in MB, None where the replicator is the server."""

    route: str
    work: Work
    changes: int
    seconds: float
    equal: bool
    memory: float | None

    @property
    def rate(self) -> float:
        """Give the changes a second."""
        return self.changes / self.seconds


def run(stage: Stage) -> list[Result]:
    """Measure on two pairs of clusters; give the rows of the report."""
    found: list[Drained] = []
    scale, reps = stage.scale, stage.reps
    with stage.routes() as routes:
        backlogs = Backlogs(scale=scale, pool=stage.pool)
        for route in routes:
            _drain(route, Work.THREE, "warm-up-", Backlogs(scale=min(scale, WARM_UP), pool=stage.pool))
        for number in range(reps):
            for work in Work:
                for route in routes if number % 2 == 0 else routes[::-1]:
                    found.append(_drain(route, work, f"{work.name}-{number}-", backlogs))
                    ground.talk(_progress(found[-1], number, reps))
        differ = tuple(route.ids_differ() for route in routes if isinstance(route, DbsyncRoute))
    return _results(found, differ)


def _progress(drained: Drained, number: int, reps: int) -> str:
    what = f"drain {number + 1}/{reps}, {drained.changes:,} {drained.work}"
    memory = f", {drained.memory:.0f} MB" if drained.memory is not None else ""
    return f"{what}: {drained.route} {drained.rate:,.0f}/s{memory}{'' if drained.equal else ', NOT EQUAL'}"


def _results(found: Sequence[Drained], differ: tuple[bool, ...]) -> list[Result]:
    return [
        *(row for work in Work for row in _of_work(found, work)),
        Check(
            name="checksums_equal",
            title="after a drain all tables have equal checksums by natural key",
            held=tuple(drained.equal for drained in found),
        ),
        Check(name="ids_differ", title="no id means the same row upstream of dbsync", held=differ),
    ]


def _of_work(found: Sequence[Drained], work: Work) -> list[Result]:
    ours = _of_route(found, work, DbsyncRoute.name)
    memory = Measure(
        name=f"drain_{work.name.lower()}_memory",
        title=f"drain of {ours[0].changes:,} {work}: peak memory of dbsync run",
        values=tuple(drained.memory or 0.0 for drained in ours),
        unit="MB",
        digits=0,
        aim=MEMORY_AIM,
    )
    return [*compared(found, work, "drain", RATE_AIM), memory]


def compared(
    found: Sequence[Drained], work: Work, name: str, aim: Aim | None = None, manner: str = "drain"
) -> list[Result]:
    """Give the rows that compare the rates of both routes; ``name`` begins theirs, ``manner`` says in words what was done."""
    ours, theirs = (_of_route(found, work, route) for route in (DbsyncRoute.name, LogicalRoute.name))
    begins, title = f"{name}_{work.name.lower()}", f"{manner} of {ours[0].changes:,} {work}"
    return [
        Measure(
            name=f"{begins}_ratio",
            title=f"{title}, rate of dbsync / of logical replication",
            values=tuple(our.rate / their.rate for our, their in zip(ours, theirs, strict=True)),
            aim=aim,
        ),
        *(
            Measure(
                name=f"{begins}_{drains[0].route}_rate",
                title=f"{title}: {drains[0].route}",
                values=tuple(drained.rate for drained in drains),
                unit="/s",
                digits=0,
            )
            for drains in (ours, theirs)
        ),
    ]


def _of_route(found: Sequence[Drained], work: Work, route: str) -> list[Drained]:
    return [drained for drained in found if (drained.route, drained.work) == (route, work)]


def _drain(route: Route, work: Work, tag: str, backlogs: Backlogs) -> Drained:
    """Let a backlog arise while the replicator is stopped, then time it from its start to the last row upstream."""
    changes = backlogs.make(route.source, work, tag) + 1
    mark = arrival.Mark.enter(route.source, tag)
    arrival.stopped(route, mark)
    began = time.perf_counter()
    with ExitStack() as stack:
        pid = route.start()
        watched = stack.enter_context(PeakMemory(pid)) if pid is not None else None
        came = arrival.wait(route, mark, began)
    route.stop()
    arrival.settle(route)
    memory = watched.megabytes if watched else None
    return Drained(route=route.name, work=work, changes=changes, seconds=came.seconds, equal=came.equal, memory=memory)
