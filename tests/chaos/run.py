"""The run: everybody works while things break, then everything is let go, drained and compared."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import LiteralString

from tests.chaos import blocks, proof
from tests.chaos.blocks import Journal
from tests.chaos.shared import HISTORY, Quarrel, say_all_anew
from tests.chaos.tiers import BulkWriter, Node, Pace, prepare
from tests.fault.workload import TALLIES, Writers
from tests.integration.commands import dbsync
from tests.support.databases import Database
from tests.support.lives import back_up, copied, restore
from tests.support.proxy import Fault, Way
from tests.support.servers import own_cluster

LIGHT = ("kill_service", "kill_service", "kill_server", "kill_both_ends", "cut", "cut_at_a_byte", "go_silent")
HEAVY = ("refuse", "back_up", "clone", "release", "restore_laptop", "end_clones", "restore_community")
PATIENCE = 900.0
STUCK = 60.0
"""Seconds to release all that waits, when nothing stands in its way any more."""
WAITING: LiteralString = """
SELECT node, conflict, relation, key::text, op::text, reason, count(*) OVER () FROM dbsync.quarantine
WHERE state = 'waiting' ORDER BY behind NULLS FIRST, id LIMIT 5
"""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of it."""

    seed: int
    seconds: float
    counts: Counter[str]
    differences: list[str]
    silent: list[str]
    """Values that were overwritten without an entry in the ledger."""


class Chaos:
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

    def run(self) -> Outcome:
        """Run all of it."""
        begun = time.monotonic()
        with self._stack:
            self._set_up()
            with ExitStack() as work:
                self._let_work(work)
                self._break_things()
                self._finish_writing()
            self._raise_troubles()
            self._drain()
            differences, silent = self._compare()
        return Outcome(
            seed=self.wish.seed,
            seconds=time.monotonic() - begun,
            counts=self.counts,
            differences=differences,
            silent=silent,
        )

    # The ground.

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
        cluster = self._stack.enter_context(own_cluster(version))
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

    # What breaks.

    def _break_things(self) -> None:
        plan = self._plan()
        begun = time.monotonic()
        for number, name in enumerate(plan):
            due = begun + self.wish.seconds * number / len(plan)
            time.sleep(max(0.0, due - time.monotonic()) if number else 0.0)
            for node in [*self.nodes, *(twin.node for twin in self._twins)]:
                node.serve()
            self._raise_troubles()
            getattr(self, f"_{name}")()
            self._talk(f"{number + 1:>3}/{len(plan)} {name.replace('_', ' ')}   {self.pace.total:,} changes written")

    def _plan(self) -> list[str]:
        """Choose what happens in which order; after a restore much goes on, so that it meets all of it."""
        plan: list[str] = []
        for cycle in range(self.wish.cycles):
            heavy = list(HEAVY)
            self._pick.shuffle(heavy)
            heavy.insert(0, "back_up")
            if cycle == self.wish.cycles // 2:
                heavy.append("skew")
            for name in heavy:
                plan += [name, *self._pick.choices(LIGHT, k=self._pick.randint(1, 3))]
        return plan

    def _kill_service(self) -> None:
        node = self._pick.choice([*self.nodes, *(twin.node for twin in self._twins)])
        self.counts["services killed"] += node.kill_service()

    def _kill_server(self) -> None:
        self._kill_servers(self._pick.choice([n.database for n in self.nodes] + [self.central]))

    def _kill_both_ends(self) -> None:
        node = self._pick.choice(self.nodes)
        self._kill_servers(node.database, node.upstream)

    def _kill_servers(self, *databases: Database) -> None:
        for database in databases:
            database.cluster.kill()
        time.sleep(self._pick.random() * 0.3)
        for database in databases:
            database.cluster.start()
        self.counts["servers killed"] += len(databases)

    def _cut(self) -> None:
        self._pick.choice(self.nodes).line.cut()
        self.counts["cuts"] += 1

    def _cut_at_a_byte(self) -> None:
        line = self._pick.choice(self.nodes).line
        line.arm(Fault.CUT, self._pick.choice(list(Way)), self._pick.randrange(300_000))

    def _go_silent(self) -> None:
        line = self._pick.choice(self.nodes).line
        line.arm(Fault.SILENT, self._pick.choice(list(Way)), self._pick.randrange(20_000))

    def _refuse(self) -> None:
        if not self._refusing:
            self.community_database.script(blocks.REFUSAL)
            self._refusing = True
            self.counts["refusals"] += 1

    def _release(self) -> None:
        """Lift the refusal, and let all that waits go in."""
        self._refusing = False
        self.community_database.script(blocks.NO_REFUSAL)
        for node in (self.a, self.community):
            end = time.monotonic() + STUCK
            while waiting := node.upstream.sql(WAITING):
                node.line.mend()
                dbsync(node.folder, "quarantine", "retry", "--all")
                assert time.monotonic() < end, f"upstream of {node.name} there still wait {waiting}"

    def _back_up(self) -> None:
        for node in (self.a, self.community):
            with self._held(node) as writer:
                self._save(node, writer)

    def _save(self, node: Node, writer: BulkWriter) -> None:
        if node.saved is not None:
            shutil.rmtree(node.saved)
        writer.journal.save()
        node.saved = back_up(node.database.cluster)
        self.counts["backups"] += 1

    @contextmanager
    def _held(self, node: Node) -> Iterator[BulkWriter]:
        """Keep a node's bulk writer from writing; what it wrote is known."""
        writer = self.writers[node.name]
        with writer.held:
            writer.settle()
            yield writer

    def _restore_laptop(self) -> None:
        if self.a.saved is None:
            return self._back_up()
        if self._restore(self.a):
            self.counts["laptops restored"] += 1
            self._forget(self.community)
        return None

    def _restore_community(self) -> None:
        if self.community.saved is None:
            return self._back_up()
        self._count_upstream(self.community_database)
        if self._restore(self.community):
            self.counts["communities restored"] += 1
            self._refusing = bool(self.community_database.sql("SELECT FROM pg_constraint WHERE conname = 'plausible'"))
            say_all_anew(self.community_database, "app")
        return None

    def _restore(self, node: Node) -> bool:
        """Restore a node; what of the lost time had arrived upstream stays there."""
        assert node.saved is not None
        if node is self.a:
            self._release()
        with self._held(node) as writer:
            node.kill_service()
            node.wait_until_gone()
            with node.upstream.connect() as session:
                upstream = blocks.look(session, writer.journal.name)
            lost, arrived = writer.journal.restore(upstream)
            restore(node.database.cluster, node.saved)
            self._forget(node)
        self.counts["transactions lost by restores"] += lost
        self.counts["of them kept upstream"] += arrived
        return True

    def _forget(self, node: Node) -> None:
        """Throw a backup away: going back to it would take from upstream what no source has any more."""
        if node.saved is not None:
            shutil.rmtree(node.saved)
            node.saved = None

    def _clone(self) -> None:
        with self._held(self.a) as writer:
            image = back_up(self.a.database.cluster, "image")
            number = writer.journal.number
        cluster = self._stack.enter_context(copied(self.a.database.cluster, image))
        shutil.rmtree(image)
        database = Database(cluster=cluster, name=self.a.database.name)
        name = f"t{self.counts['clones']}-"
        self.counts["clones"] += 1
        node = Node(
            name=self.a.name, database=database, upstream=self.community_database,
            folder=self._folder / f"twin-{name}", link="community", batch=self.a.batch,
        )  # fmt: skip
        self._stack.enter_context(node)
        node.configure()
        node.serve()
        journal = Journal(name=name, pick=self._fork(), size=self.wish.size, number=number, extra=writer.journal.extra)
        bulk = self._work.enter_context(BulkWriter(database, journal, self.pace))
        self._twins.append(Twin(node=node, writer=bulk))

    def _end_clones(self) -> None:
        """Let the copies ship what they have; then they are gone, and with them what they would send again."""
        for twin in self._twins:
            twin.writer.__exit__()
            twin.writer.settle()
            self._ship_all(twin.node)
            twin.node.kill_service()
            twin.node.database.cluster.stop()
            self._ended.append(twin.writer.journal)
            self._forget(self.community)
        self._twins.clear()

    def _skew(self) -> None:
        """Migrate the laptop first, the community later, the centre last; what does not fit waits meanwhile."""
        if self._skewed:
            return
        self._skewed = True
        for node in (self.a, self.community):
            self._forget(node)
        self._end_clones()
        self._let_rename(may=False)
        for node in (self.a, self.community):
            with self._held(node) as writer:
                node.database.script(blocks.SKEW)
                writer.journal.extra = True
            self._until_parked(node)
        self.central.script(blocks.SKEW)
        with self._held(self.b) as writer:
            self.b.database.script(blocks.SKEW)
            writer.journal.extra = True
        for node in (self.a, self.community):
            node.line.mend()
            self._ship_what_was_there(node)
        self._release()
        self._let_rename(may=True)
        self.counts["schema skews"] += 1

    def _ship_what_was_there(self, node: Node) -> None:
        """Wait until a node has shipped all batches of before this moment."""
        reached = node.database.value("SELECT coalesce(max(seq), 0) FROM dbsync.change")
        asked = "SELECT reached_seq FROM dbsync.link"
        end = time.monotonic() + PATIENCE
        while node.database.value(asked) < reached:
            node.serve()
            time.sleep(0.2)
            assert time.monotonic() < end, f"{node.name} does not get on: {node.said()}"

    def _let_rename(self, *, may: bool) -> None:
        for node in self.nodes:
            with self._held(node) as writer:
                writer.journal.renames = may

    def _until_parked(self, node: Node) -> None:
        end = time.monotonic() + PATIENCE
        asked = "SELECT count(*) FROM dbsync.quarantine WHERE conflict = 'missing_column'"
        while not node.upstream.value(asked):
            for each in self.nodes:
                each.serve()
            time.sleep(0.2)
            assert time.monotonic() < end, f"nothing is parked upstream of {node.name}: {node.said()}"

    # The end.

    def _finish_writing(self) -> None:
        end = time.monotonic() + PATIENCE
        while not self.pace.done:
            for node in self.nodes:
                node.serve()
            time.sleep(0.2)
            assert time.monotonic() < end, "the writers do not come to an end"

    def _raise_troubles(self) -> None:
        troubles = [writer.trouble for writer in (*self.writers.values(), *(twin.writer for twin in self._twins))]
        troubles += [*(quarrel.trouble for quarrel in self.quarrels), self.clinic.trouble]
        for trouble in (trouble for some in troubles for trouble in some):
            raise trouble

    def _drain(self) -> None:
        self._talk(f"{self.pace.total:,} changes written; draining")
        for node in self.nodes:
            node.line.mend()
        for writer in self.writers.values():
            writer.settle()
        self._end_clones()
        for node in (self.a, self.b):
            self._ship_all(node)
        self._release()
        self._ship_all(self.community)
        self._release()
        for node in self.nodes:
            node.kill_service()

    def _ship_all(self, node: Node) -> None:
        """Let the service ship until nothing is pending."""
        node.line.mend()
        end = time.monotonic() + PATIENCE
        while node.status.pending:
            node.serve()
            time.sleep(0.2)
            assert time.monotonic() < end, f"{node.name} does not drain: {node.status.link} {node.said()}"

    def _count_upstream(self, database: Database) -> None:
        with database.connect() as session:
            for name, query in proof.COUNTS.items():
                row = session.execute(query).fetchone()
                assert row is not None
                self.counts[name] += row[0]

    def _compare(self) -> tuple[list[str], list[str]]:
        for database in (self.community_database, self.central):
            self._count_upstream(database)
        a, b, c = (self.writers[node.name].journal for node in (self.a, self.b, self.community))
        ended = [journal.there for journal in self._ended]
        for node in self.nodes:
            self.counts["cuts"] += node.line.broken
        self.counts["changes"] = self.pace.total
        self.counts["transactions of the clinic"] = self.clinic.done["committed"] + self.clinic.done["prepared"]
        expected = {
            self.a.database: [a.here],
            self.b.database: [b.here],
            self.community_database: [a.there, b.there, c.here, *ended],
            self.central: [a.there, b.there, c.there, *ended],
        }
        names = ("field-a", "field-b", "community", "central")
        found: list[str] = []
        for name, (database, states) in zip(names, expected.items(), strict=True):
            with database.connect() as session:
                found += [f"{name}: {line}" for line in blocks.differences(session, states)]
        self.counts["rows compared"] += proof.rows(expected)
        found += proof.clinic_differences(self.b.database, self.community_database, self.central)
        found += proof.shared_differences(self.community_database, self.central)
        self.counts["differences"] = len(found)
        return found, proof.overwritten_in_silence(self.community_database)


@dataclass(kw_only=True)
class Twin:
    """A copy of a laptop that sends as well."""

    node: Node
    writer: BulkWriter


@contextmanager
def folder() -> Iterator[Path]:
    """Give a folder for the run."""
    with tempfile.TemporaryDirectory(prefix="dbsync-chaos-") as made:
        yield Path(made)
