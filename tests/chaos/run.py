"""The run: everybody works while things break, then everything is let go, drained and compared."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import blocks, proof
from tests.chaos.faults import HEAVY, LIGHT, Faults
from tests.chaos.ground import PATIENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of it."""

    seed: int
    seconds: float
    counts: Counter[str]
    differences: list[str]
    silent: list[str]
    """Values that were overwritten without an entry in the ledger."""


class Chaos(Faults):
    """Everybody at work, and everything that can go wrong."""

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
            heavy = ["back_up", "kill_both_ends", *heavy]
            if cycle == self.wish.cycles // 2:
                heavy.append("skew")
            for name in heavy:
                plan += [name, *self._pick.choices(LIGHT, k=self._pick.randint(1, 3))]
        return plan

    def _finish_writing(self) -> None:
        end = time.monotonic() + PATIENCE
        while not self.pace.done:
            for node in self.nodes:
                node.serve()
            time.sleep(0.2)
            assert time.monotonic() < end, "the writers do not come to an end"

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


@contextmanager
def folder() -> Iterator[Path]:
    """Give a folder for the run."""
    with tempfile.TemporaryDirectory(prefix="dbsync-chaos-") as made:
        yield Path(made)
