"""What the parts of one run share: how much and how often, the clusters, and the processes of the clients."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Self

from dbsync.demo.server import Cluster
from tests.benchmarks import ground, plot, study
from tests.benchmarks.entry import CLIENTS
from tests.benchmarks.routes import DbsyncRoute, LogicalRoute, Route
from tests.support.databases import Database

ENDS = ("source", "upstream")


@dataclass(kw_only=True)
class Stage:
    """Gives each part databases of its own on clusters that are made when first needed.

    Each end of each route has its own cluster: nobody decodes or flushes the other's log.
    """

    scale: float
    reps: int
    out: Path
    plots: list[Path] = field(default_factory=list)
    """Those drawn so far."""
    _stack: ExitStack = field(default_factory=ExitStack)
    _clusters: dict[tuple[str, str], Cluster] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=count)

    @cached_property
    def pool(self) -> ProcessPoolExecutor:
        """Make the processes in which clients enter."""
        return self._stack.enter_context(ProcessPoolExecutor(CLIENTS, mp_context=get_context("spawn")))

    @cached_property
    def folder(self) -> Path:
        """Make the folder that is gone at the end."""
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="dbsync-bench-")))

    def size(self, full: int, least: int) -> int:
        """Give a size at this run's scale."""
        return max(least, round(full * self.scale))

    def draw(self, name: str, drawing: plot.Drawing) -> None:
        """Write DATE-name.svg, where the library for it is installed."""
        if not plot.available():
            ground.talk(f"no plot {name}: pip install pygal")
            return
        path = self.out / f"{ground.today()}-{name}.svg"
        plot.write(drawing, path)
        self.plots.append(path)

    @contextmanager
    def pair(self, name: str, *, filled: bool = True) -> Iterator[tuple[Database, Database]]:
        """Make a source and an upstream on the clusters of a route, with the study's tables in them; drop both."""
        clusters = [self._cluster(name, end) for end in ENDS]
        number = next(self._numbers)
        made = [ground.database(cluster, f"{end}_{number}") for cluster, end in zip(clusters, ENDS, strict=True)]
        try:
            for database in made if filled else []:
                database.script(study.SCHEMA)
            yield made[0], made[1]
        finally:
            for database in made:
                database.cluster.drop_database(database.name)

    @contextmanager
    def routes(self) -> Iterator[list[Route]]:
        """Set both routes up, and take them away afterwards."""
        with ExitStack() as stack:
            made: list[Route] = []
            for kind in (LogicalRoute, DbsyncRoute):
                source, upstream = stack.enter_context(self.pair(kind.name))
                route = kind(source, upstream, self.folder / source.name)
                stack.callback(route.close)
                made.append(route)
            yield made

    @cached_property
    def calm(self) -> list[Route]:
        """Give routes that several parts share, one after the other: those that ask little of the databases."""
        return self._stack.enter_context(self.routes())

    def turns(self, routes: list[Route]) -> Iterator[tuple[int, Route]]:
        """Give each repetition's number with each route, the order changing from one to the next."""
        for number in range(self.reps):
            for route in routes if number % 2 == 0 else routes[::-1]:
                yield number, route

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _cluster(self, name: str, end: str) -> Cluster:
        if (name, end) not in self._clusters:
            self._clusters[name, end] = self._stack.enter_context(ground.cluster())
        return self._clusters[name, end]
