"""What a replicator costs that has nothing to do: its process and its sessions at both ends, in percent of a core."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import LiteralString

import psutil

from tests.benchmarks import arrival, ground
from tests.benchmarks.report import Aim, Measure, Result, Sense
from tests.benchmarks.routes import DbsyncRoute, LogicalRoute, Route
from tests.benchmarks.stage import Stage
from tests.support.databases import Database

SECONDS = 20.0
SHORTEST = 0.5
REST = 1.0
"""Seconds until what the last change set in motion is over."""
AIM = Aim(sense=Sense.AT_MOST, limit=1.0)
PROCESS, SOURCE, UPSTREAM = "process", "source", "upstream"

_SESSIONS: LiteralString = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type NOT LIKE 'autovacuum%'
"""
"""Nobody else is in the databases of a route."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Idled:
    """Percent of one core, by who used it."""

    route: str
    percent: Mapping[str, float]


def run(stage: Stage) -> list[Result]:
    """Measure both routes in turns; give the rows of the report."""
    seconds = max(SHORTEST, SECONDS * stage.scale)
    found = []
    for number, route in stage.turns(stage.calm):
        with arrival.running(route, f"IDLE-{number}-") as pid:
            found.append(_measure(route, pid, seconds))
        ground.talk(f"idle {number + 1}/{stage.reps}: {route.name} {_said(found[-1])}")
    return _rows(found, seconds)


def _measure(route: Route, pid: int | None, seconds: float) -> Idled:
    time.sleep(min(REST, seconds))
    watched = {
        SOURCE: _sessions(route.source),
        UPSTREAM: _sessions(route.upstream),
        **({PROCESS: _family(pid)} if pid is not None else {}),
    }
    before = {who: _used(processes) for who, processes in watched.items()}
    began = time.perf_counter()
    time.sleep(seconds)
    taken = time.perf_counter() - began
    return Idled(
        route=route.name,
        percent={who: 100 * (_used(processes) - before[who]) / taken for who, processes in watched.items()},
    )


def _sessions(database: Database) -> list[psutil.Process]:
    return [psutil.Process(pid) for (pid,) in database.sql(_SESSIONS)]


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _used(processes: Sequence[psutil.Process]) -> float:
    """Give the seconds of processor time; one that has ended meanwhile counts for nothing."""
    used = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used += times.user + times.system
    return used


def _said(idled: Idled) -> str:
    return ", ".join(f"{who} {percent:.2f} %" for who, percent in sorted(idled.percent.items()))


def _rows(found: Sequence[Idled], seconds: float) -> list[Result]:
    """Give the process first, which has an aim; logical replication has no process beside its sessions."""
    return [
        Measure(
            name=f"idle_{route}_{who}",
            title=f"processor time while idle ({seconds:g} s): {route}, {what}",
            values=tuple(one.percent[who] for one in found if one.route == route),
            unit="%",
            aim=AIM if who == PROCESS else None,
        )
        for route, who, what in (
            (DbsyncRoute.name, PROCESS, "the process"),
            (DbsyncRoute.name, SOURCE, "its sessions at the source"),
            (DbsyncRoute.name, UPSTREAM, "its sessions upstream"),
            (LogicalRoute.name, SOURCE, "its sender"),
            (LogicalRoute.name, UPSTREAM, "its worker"),
        )
    ]
