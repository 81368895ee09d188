"""Two laptops, a community and a centre: who works there, and what every fault needs of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.chaos import proof
from tests.chaos.blocks import Journal
from tests.chaos.shared import HISTORY, Quarrel
from tests.chaos.tiers import BulkWriter, Node, Pace, prepare
from tests.fault.workload import TALLIES, Writers
from tests.support.databases import Database
from tests.support.servers import own_cluster

PATIENCE = 900.0

Talk = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What kind of run it is to be."""

    seed: int
    changes: int
    seconds: float
    cycles: int
    """How often each of the heavy things happens."""
    size: int
    """Persons in a block, at most."""


@dataclass(kw_only=True)
class Twin:
    """A copy of a laptop that sends as well."""

    node: Node
    writer: BulkWriter


class Ground:
    """Two laptops, a community, a centre."""

    def __init__(self, wish: Wish, folder: Path, talk: Talk) -> None:
        self.wish = wish
        self.counts: Counter[str] = Counter()
        self._pick = Random(wish.seed)
        self._folder = folder
        self._talk = talk
        self._stack = ExitStack()
        self._twins: list[Twin] = []
        self._ended: list[Journal] = []
        self._refusing = False
        self._skewed = False

    def _set_up(self) -> None:
        names = ("field-a", "field-b", "community", "central")
        made = {name: self._database(name, version) for name, version in zip(names, (15, 15, 18, 15), strict=True)}
        self.community_database, self.central = made["community"], made["central"]
        self.community = self._node("community", self.community_database, self.central, "central")
        self.a = self._node("field-a", made["field-a"], self.community_database, "community")
        self.b = self._node("field-b", made["field-b"], self.community_database, "community")
        self.nodes = [self.a, self.b, self.community]
        for node in (self.community, self.a, self.b):
            node.install()
        self.community_database.script(HISTORY)
        self.b.database.sql(
            "INSERT INTO tally (name, amount) SELECT g::text, 0 FROM generate_series(0, %s) g", [TALLIES - 1]
        )
        self._talk("two laptops, a community and a centre are there")

    def _database(self, name: str, version: int) -> Database:
        cluster = self._stack.enter_context(own_cluster(version, synchronous_commit="on"))
        cluster.create_database("clinic")
        database = Database(cluster=cluster, name="clinic")
        prepare(database, {"field-a": 0, "field-b": 0, "community": 700, "central": 5000}[name])
        return database

    def _node(self, name: str, database: Database, upstream: Database, link: str) -> Node:
        node = Node(
            name=name, database=database, upstream=upstream, folder=self._folder / name, link=link,
            batch=max(200, self.wish.size * 4),
        )  # fmt: skip
        return self._stack.enter_context(node)

    def _let_work(self, work: ExitStack) -> None:
        self.pace = Pace(changes=self.wish.changes, seconds=self.wish.seconds)
        self.writers: dict[str, BulkWriter] = {}
        for node in self.nodes:
            journal = Journal(
                name=node.name.removeprefix("field-")[0],
                pick=self._fork(),
                size=self.wish.size,
                refusable=node is not self.community,
            )
            self.writers[node.name] = work.enter_context(BulkWriter(node.database, journal, self.pace))
        self.quarrels = [
            work.enter_context(Quarrel(who, database, self._fork(), pause=pause, locks=locks))
            for who, database, pause, locks in (
                ("a", self.a.database, 0.5, False),
                ("b", self.b.database, 0.5, False),
                ("app", self.community_database, 0.3, True),
                ("app", self.community_database, 0.3, False),
            )
        ]
        self.clinic = work.enter_context(Writers(self.b.database, self.wish.seed, number=2))
        self._work = work
        for node in self.nodes:
            node.serve()

    def _fork(self) -> Random:
        return Random(self._pick.random())

    @contextmanager
    def _held(self, node: Node) -> Iterator[BulkWriter]:
        """Keep a node's bulk writer from writing; what it wrote is known."""
        writer = self.writers[node.name]
        with writer.held:
            writer.settle()
            yield writer

    def _ship_all(self, node: Node) -> None:
        """Let the service ship until nothing is pending, and it has met an upstream that was restored meanwhile."""
        node.line.mend()
        end = time.monotonic() + PATIENCE
        while node.status.pending or not node.is_upstream:
            node.serve()
            time.sleep(0.2)
            assert time.monotonic() < end, f"{node.name} does not drain: {node.status.link} {node.trouble()}"

    def _raise_troubles(self) -> None:
        troubles = [writer.trouble for writer in (*self.writers.values(), *(twin.writer for twin in self._twins))]
        troubles += [*(quarrel.trouble for quarrel in self.quarrels), self.clinic.trouble]
        for trouble in (trouble for some in troubles for trouble in some):
            raise trouble

    def _count_upstream(self, database: Database) -> None:
        with database.connect() as session:
            for name, query in proof.COUNTS.items():
                row = session.execute(query).fetchone()
                assert row is not None
                self.counts[name] += row[0]
