"""When is it upstream? A marker row says that nothing is left, and checksums that all of it came."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import psycopg

from tests.benchmarks import study
from tests.benchmarks.routes import Route
from tests.support.databases import Database, Row

TIMEOUT = 900.0
"""Seconds anything may take to arrive; longer is reported as data that did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The last row of a source, and what all rows up to it are."""

    identifier: str
    wanted: dict[str, Row]

    @classmethod
    def enter(cls, source: Database, tag: str) -> Self:
        """Enter the marker."""
        source.sql(study.subjects(f"MARK-{tag}", 1))
        return cls(identifier=f"MARK-{tag}1", wanted=study.checksums(source))

    def arrived(self, upstream: psycopg.Connection[Row]) -> bool:
        """Say whether the marker is there."""
        return has(upstream, self.identifier)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """How long it took, and whether both databases held the same then."""

    seconds: float
    equal: bool


def has(database: psycopg.Connection[Row], identifier: str) -> bool:
    """Say whether a subject is there."""
    found = database.execute("SELECT 1 FROM subject WHERE subject_identifier = %s", [identifier])
    return found.fetchone() is not None


def wait(route: Route, mark: Mark, began: float) -> Arrival:
    """Wait until the marker and then everything is upstream."""
    with route.upstream.connect() as connection:
        while True:
            if mark.arrived(connection):
                seconds = time.perf_counter() - began
                if study.checksums(route.upstream) == mark.wanted:
                    return Arrival(seconds=seconds, equal=True)
            route.alive()
            if time.perf_counter() - began > TIMEOUT:
                return Arrival(seconds=time.perf_counter() - began, equal=False)
            time.sleep(0.01)


def stopped(route: Route, mark: Mark) -> None:
    """Hold that nothing has come by itself, and begin with all written pages on disk."""
    with route.upstream.connect() as connection:
        assert not mark.arrived(connection), "the replicator was not stopped"
    route.source.sql(b"CHECKPOINT")


def settle(route: Route) -> None:
    """Leave a stopped route as the next measurement should find it."""
    route.clean()
    for database in (route.source, route.upstream):
        study.settle(database)


@contextmanager
def running(route: Route, tag: str) -> Iterator[int | None]:
    """Run the replicator while inside, where nothing is left to ship; give its process id."""
    mark = Mark.enter(route.source, tag)
    began = time.perf_counter()
    pid = route.start()
    try:
        arrived = wait(route, mark, began)
        assert arrived.equal, f"{route.name} did not come to rest"
        yield pid
    finally:
        route.stop()
