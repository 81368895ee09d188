"""How fast a backlog reaches the upstream: ``dbsync run`` beside PostgreSQL's own logical replication."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import psycopg

from tests.benchmarks import ground, study
from tests.benchmarks.backlogs import Backlogs, Work
from tests.benchmarks.entry import CLIENTS
from tests.benchmarks.memory import PeakMemory
from tests.benchmarks.report import Aim, Check, Measure, Result, Sense
from tests.benchmarks.routes import DbsyncRoute, LogicalRoute, Route
from tests.support.databases import Row

WARM_UP = 0.01
"""A scale."""
TIMEOUT = 900.0
"""Seconds a drain may take; longer is reported as data that did not arrive."""

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


def run(scale: float, reps: int) -> list[Result]:
    """Measure on two pairs of clusters; give the rows of the report."""
    found: list[Drained] = []
    pool = ProcessPoolExecutor(CLIENTS, mp_context=get_context("spawn"))
    with pool, _routes() as routes:
        backlogs = Backlogs(scale=scale, pool=pool)
        for route in routes:
            _drain(route, Work.THREE, "warm-up-", Backlogs(scale=min(scale, WARM_UP), pool=pool))
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
    ours, theirs = (
        [drained for drained in found if (drained.route, drained.work) == (route, work)]
        for route in (DbsyncRoute.name, LogicalRoute.name)
    )
    backlog = f"{ours[0].changes:,} {work}"
    name = f"drain_{work.name.lower()}"
    return [
        Measure(
            name=f"{name}_ratio",
            title=f"drain of {backlog}, rate of dbsync / of logical replication",
            values=tuple(our.rate / their.rate for our, their in zip(ours, theirs, strict=True)),
            aim=RATE_AIM,
        ),
        *(
            Measure(
                name=f"{name}_{drains[0].route}_rate",
                title=f"drain of {backlog}: {drains[0].route}",
                values=tuple(drained.rate for drained in drains),
                unit="/s",
                digits=0,
            )
            for drains in (ours, theirs)
        ),
        Measure(
            name=f"{name}_memory",
            title=f"drain of {backlog}: peak memory of dbsync run",
            values=tuple(drained.memory or 0.0 for drained in ours),
            unit="MB",
            digits=0,
            aim=MEMORY_AIM,
        ),
    ]


@contextmanager
def _routes() -> Iterator[list[Route]]:
    """Set both routes up, each on two clusters of its own: nobody decodes or flushes the other's log."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dbsync-bench-")))
        made: list[Route] = []
        for kind in (LogicalRoute, DbsyncRoute):
            source, upstream = (
                ground.database(stack.enter_context(ground.cluster()), name) for name in ("source", "upstream")
            )
            for database in (source, upstream):
                database.script(study.SCHEMA)
            route = kind(source, upstream, folder / kind.name)
            stack.callback(route.stop)
            made.append(route)
        yield made


def _drain(route: Route, work: Work, tag: str, backlogs: Backlogs) -> Drained:
    """Let a backlog arise while the replicator is stopped, then time it from its start to the last row upstream."""
    changes = backlogs.make(route.source, work, tag)
    mark = f"MARK-{tag}"
    route.source.sql(study.subjects(mark, 1))
    wanted = study.checksums(route.source)
    with route.upstream.connect() as connection:
        assert not _arrived(connection, mark), "the replicator was not stopped"
    route.source.sql(b"CHECKPOINT")
    began = time.perf_counter()
    with ExitStack() as stack:
        pid = route.start()
        watched = stack.enter_context(PeakMemory(pid)) if pid is not None else None
        ended, equal = _wait(route, mark, wanted, began + TIMEOUT)
    route.stop()
    route.clean()
    for database in (route.source, route.upstream):
        study.settle(database)
    memory = watched.megabytes if watched else None
    return Drained(route=route.name, work=work, changes=changes + 1, seconds=ended - began, equal=equal, memory=memory)


def _wait(route: Route, mark: str, wanted: dict[str, Row], deadline: float) -> tuple[float, bool]:
    """Wait until the marker and then everything is upstream; give when, and whether all was equal then."""
    with route.upstream.connect() as connection:
        while True:
            if _arrived(connection, mark):
                ended = time.perf_counter()
                if study.checksums(route.upstream) == wanted:
                    return ended, True
            route.alive()
            if time.perf_counter() > deadline:
                return time.perf_counter(), False
            time.sleep(0.01)


def _arrived(connection: psycopg.Connection[Row], mark: str) -> bool:
    found = connection.execute("SELECT 1 FROM subject WHERE subject_identifier = %s", [f"{mark}1"])
    return found.fetchone() is not None
