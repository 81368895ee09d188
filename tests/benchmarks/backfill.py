"""Rows that were there before dbsync: how fast they come upstream, beside a dump, and what the application feels of it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event

from dbsync.demo.processes import clean_environment
from dbsync.errors import DbsyncError
from tests.benchmarks import arrival, ground, pulse, study
from tests.benchmarks.backlogs import in_blocks
from tests.benchmarks.report import Check, Measure, Result
from tests.benchmarks.routes import DbsyncRoute
from tests.benchmarks.stage import Stage
from tests.support.databases import Database

ROWS = 1_000_000
FEWEST = 1_000
SECONDS = 10.0
SHORTEST = 0.5
"""Seconds in which the application is watched before."""
PACE = 100.0
"""Single rows a second that the application enters."""
TIMEOUT = 7200.0
"""Seconds it all may take."""
MARK = "MARK-backfill"
RESTORED = "restored"

Milliseconds = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """One backfill: seconds, and the application's inserts before it and while it ran."""

    rows: int
    logged: float
    """Until all rows were in the change log."""
    upstream: float
    """Until all rows were upstream."""
    dumped: float
    """What ``pg_dump | pg_restore`` took for them."""
    before: Milliseconds
    meanwhile: Milliseconds
    equal: bool


def run(stage: Stage) -> list[Result]:
    """Measure a dump, then a backfill, of the same rows; give the rows of the report."""
    found = []
    for number in range(stage.reps):
        with stage.pair(DbsyncRoute.name) as (source, upstream):
            rows = in_blocks(source, "OLD-", stage.size(ROWS, FEWEST))
            study.settle(source)
            dumped, same = _dumped(source, upstream)
            route = DbsyncRoute(source, upstream, stage.folder / f"backfill-{number}")
            found.append(_measure(route, rows, dumped, max(SHORTEST, SECONDS * stage.scale), same=same))
        ground.talk(f"backfill {number + 1}/{stage.reps}, {rows:,}: {rows / found[-1].upstream:,.0f}/s")
    return _rows(found)


def _dumped(source: Database, upstream: Database) -> tuple[float, bool]:
    """Copy a database by a pipe into a new one; give the seconds and whether it is the same."""
    programs = upstream.cluster.binaries.bindir
    copy = ground.database(upstream.cluster, RESTORED)
    try:
        began = time.perf_counter()
        with subprocess.Popen(
            [programs / "pg_dump", "-Fc", "-d", source.dsn], stdout=subprocess.PIPE, env=clean_environment()
        ) as dump:
            restore = [str(programs / "pg_restore"), "--exit-on-error", "-d", copy.dsn]
            subprocess.run(restore, stdin=dump.stdout, env=clean_environment(), check=True)
        if dump.returncode:
            raise DbsyncError(f"pg_dump: exit {dump.returncode}")
        return time.perf_counter() - began, study.checksums(copy) == study.checksums(source)
    finally:
        copy.cluster.drop_database(copy.name)


def _measure(route: DbsyncRoute, rows: int, dumped: float, seconds: float, *, same: bool) -> Filled:
    """Backfill with the service running; the application enters rows before and meanwhile."""
    with _entering(route.source, "BEFORE-") as before:
        time.sleep(seconds)
    try:
        route.start()
        began = time.perf_counter()
        with _entering(route.source, "MEANWHILE-") as meanwhile:
            route.backfill()
            logged = time.perf_counter() - began
        upstream = _until_upstream(route, began)
    finally:
        route.close()
    equal = same and study.checksums(route.source) == study.checksums(route.upstream)
    return Filled(
        rows=rows,
        logged=logged,
        upstream=upstream,
        dumped=dumped,
        before=tuple(before),
        meanwhile=tuple(meanwhile),
        equal=equal,
    )


@contextmanager
def _entering(source: Database, tag: str) -> Iterator[list[float]]:
    """Let the application enter rows while inside; then the list holds what each insert took, in milliseconds."""
    done = Event()
    taken: list[float] = []
    with ThreadPoolExecutor(1) as threads:
        entering = threads.submit(pulse.enter, source, tag, lambda _: not done.is_set(), PACE)
        try:
            yield taken
        finally:
            done.set()
    taken += [(row.committed - row.began) * 1000 for row in entering.result()]


def _until_upstream(route: DbsyncRoute, began: float) -> float:
    """Wait for a row that was entered after all others."""
    route.source.sql(study.subjects(MARK, 1))
    with route.upstream.connect() as connection:
        while not arrival.has(connection, f"{MARK}1"):
            route.alive()
            if time.perf_counter() - began > TIMEOUT:
                break  # the databases differ then, and the report says so
            time.sleep(0.01)
    return time.perf_counter() - began


def _rows(found: Sequence[Filled]) -> list[Result]:
    rows = f"{found[0].rows:,} rows"

    def rate(name: str, title: str, seconds: list[float]) -> Measure:
        values = tuple(one.rows / taken for one, taken in zip(found, seconds, strict=True))
        return Measure(name=f"backfill_{name}_rate", title=f"{rows}, {title}", values=values, unit="/s", digits=0)

    def felt(name: str, title: str, times: list[Milliseconds], percent: int) -> Measure:
        values = tuple(pulse.percentile(taken, percent) for taken in times)
        title = f"insert of a single row {title}, p{percent}"
        return Measure(name=f"backfill_{name}_p{percent}", title=title, values=values, unit="ms", digits=1)

    return [
        rate("dbsync", "dbsync backfill until all are upstream", [one.upstream for one in found]),
        rate("log", "dbsync backfill until all are in the change log", [one.logged for one in found]),
        rate("dump", "pg_dump -Fc into pg_restore", [one.dumped for one in found]),
        Measure(
            name="backfill_ratio",
            title=f"{rows}, rate of dbsync / of pg_dump -Fc into pg_restore",
            values=tuple(one.dumped / one.upstream for one in found),
        ),
        *(felt("before", "before a backfill", [one.before for one in found], percent) for percent in (50, 99)),
        *(felt("while", "while it runs", [one.meanwhile for one in found], percent) for percent in (50, 99)),
        Check(
            name="backfill_equal",
            title="after a backfill, and after a dump, all tables have equal checksums by natural key",
            held=tuple(one.equal for one in found),
        ),
    ]
