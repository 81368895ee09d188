"""What breaks, and what a person does about it. The name of a method is what the plan of a run says."""

from __future__ import annotations

import shutil
import time
from typing import LiteralString

from tests.chaos import blocks
from tests.chaos.blocks import Journal
from tests.chaos.ground import PATIENCE, Ground, Twin
from tests.chaos.shared import say_all_anew
from tests.chaos.tiers import BulkWriter, Node
from tests.integration.commands import dbsync
from tests.support.databases import Database
from tests.support.lives import back_up, copied, restore
from tests.support.proxy import Fault, Way

LIGHT = ("kill_service", "kill_service", "kill_server", "kill_both_ends", "cut", "cut_at_a_byte", "go_silent")
HEAVY = ("refuse", "back_up", "clone", "release", "restore_laptop", "end_clones", "restore_community")
STUCK = 300.0
"""Seconds to release all that waits, when nothing stands in its way any more."""
LOST_WORK = 2.0
"""Seconds."""
WAITING: LiteralString = """
SELECT node, conflict, relation, key::text, op::text, reason, count(*) OVER () FROM dbsync.quarantine
WHERE state = 'waiting' ORDER BY behind NULLS FIRST, id LIMIT 5
"""


class Faults(Ground):
    """Breaks things on the ground, and counts."""

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

    def _restore_laptop(self) -> None:
        self._see_to_a_backup(self.a)
        self._restore(self.a)
        self.counts["laptops restored"] += 1
        self._forget(self.community)

    def _restore_community(self) -> None:
        self._see_to_a_backup(self.community)
        self._count_upstream(self.community_database)
        self._restore(self.community)
        self.counts["communities restored"] += 1
        self._refusing = bool(self.community_database.sql("SELECT FROM pg_constraint WHERE conname = 'plausible'"))
        say_all_anew(self.community_database, "app")

    def _see_to_a_backup(self, node: Node) -> None:
        """Make a backup where there is none, and let some work be done that it lacks."""
        if node.saved is None:
            self._back_up()
            time.sleep(LOST_WORK)

    def _restore(self, node: Node) -> None:
        """Restore a node; what of the lost time had arrived upstream stays there."""
        assert node.saved is not None
        if node is self.a:
            self._release()
            self._let_copies_catch_up()
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

    def _let_copies_catch_up(self) -> None:
        """Let the copies of the laptop ship what they have: what it is about to lose would come from them later."""
        for twin in self._twins:
            with twin.writer.held:
                twin.writer.settle()
                self._ship_all(twin.node)

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
        self.counts["schema skews"] += 1

    def _ship_what_was_there(self, node: Node) -> None:
        """Wait until a node has shipped all batches of before this moment."""
        reached = node.database.value("SELECT coalesce(max(seq), 0) FROM dbsync.change")
        asked = "SELECT reached_seq FROM dbsync.link"
        end = time.monotonic() + PATIENCE
        while node.database.value(asked) < reached:
            node.serve()
            time.sleep(0.2)
            assert time.monotonic() < end, f"{node.name} does not get on: {node.trouble()}"

    def _until_parked(self, node: Node) -> None:
        end = time.monotonic() + PATIENCE
        asked = "SELECT count(*) FROM dbsync.quarantine WHERE conflict = 'missing_column'"
        while not node.upstream.value(asked):
            for each in self.nodes:
                each.serve()
            time.sleep(0.2)
            assert time.monotonic() < end, f"nothing is parked upstream of {node.name}: {node.trouble()}"
