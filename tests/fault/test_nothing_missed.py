"""Nothing missed, nothing doubled, whatever is killed whenever.

Writers work on the source all the time. ``dbsync run``, and in one test the servers too, are killed with SIGKILL at
random points and started again. In the end both databases must say the same, row by row, and every change that was
committed must be in exactly one receipt.

``DBSYNC_SEED`` replays the choices of a run (the interleaving is the machine's); ``DBSYNC_FAULT_SECONDS`` is how long
the first test goes on, the others take a part of it.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest

from dbsync.demo.server import Cluster
from tests.fault.forks import Forks
from tests.fault.workload import BY_NATURAL_KEY, COUNTING, SCHEMA, SEED, TALLIES, Writers
from tests.integration.commands import dbsync
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair
from tests.support.servers import own_cluster
from tests.support.service import ServiceProcess, until

SECONDS = float(os.environ.get("DBSYNC_FAULT_SECONDS", "24"))
ENOUGH_KILLS = SECONDS / 4

pytestmark = [pytest.mark.fault, pytest.mark.timeout(240 + 3 * SECONDS)]

CONFIG = """
[node]
name = "field-01"
source = "{source}"
[upstream]
url = "{upstream}"
name = "community"
[batch]
max_changes = 40
[service]
poll_interval = 0.05
retry_max = 1
[[tables]]
name = "site"
mode = "lookup"
[[tables]]
name = "subject"
[[tables]]
name = "visit"
[[tables]]
name = "crf"
[[tables]]
name = "tally"
"""


@dataclass(kw_only=True)
class Ground:
    """A source and an upstream with the program installed, and what happened to them."""

    source: Database
    upstream: Database
    folder: Path
    seed: int
    pick: Random = field(init=False)
    happened: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.pick = Random(self.seed)
        self._prepare(self.source, 0)
        self._prepare(self.upstream, 900)
        self.source.script(COUNTING)
        config = CONFIG.format(source=self.source.dsn, upstream=self.upstream.dsn)
        (self.folder / "dbsync.toml").write_text(config, encoding="utf-8")
        for command in ("install-upstream", "install-triggers"):
            self.command(command)
        self.source.sql(
            "INSERT INTO subject (subject_identifier, site_id)"
            " SELECT 'first-' || g, (SELECT min(id) FROM site) FROM generate_series(1, 100) g"
        )
        self.source.sql(
            "INSERT INTO tally (name, amount) SELECT g::text, 0 FROM generate_series(0, %s) g", [TALLIES - 1]
        )

    @staticmethod
    def _prepare(database: Database, first_id: int) -> None:
        with database.connect() as connection:
            connection.execute(SCHEMA)
            connection.execute(SEED.format(first_id).encode())
            connection.execute("SELECT setval('subject_id_seq', %s)", [first_id * 1000 + 1])

    def command(self, *words: str) -> str:
        """Run a command that must succeed."""
        done = dbsync(self.folder, *words)
        assert done.code == 0, f"dbsync {' '.join(words)}: {done.code}\n{done.out}{done.err}"
        return done.out

    def replicate_and_kill(self, seconds: float) -> None:
        """Start the service and kill it, again and again; now and then two run at once."""
        end = time.monotonic() + seconds
        with Forks(self.folder) as services:
            while time.monotonic() < end:
                before = services.log.stat().st_size
                running = [services.start() for _ in range(self.pick.choice([1, 1, 1, 2]))]
                if self.pick.random() < 0.9:
                    self._until_it_ships(services, before)
                time.sleep(self.pick.uniform(0.02, 0.8))
                for service in running:
                    assert Path(f"/proc/{service}").exists(), services.said()
                    services.kill(service)
                    self.happened["kills"] += 1
                logged = services.log.read_text()[before:].count("batch_applied")
                self.happened["kills while shipping"] += bool(logged)

    @staticmethod
    def _until_it_ships(services: Forks, before: int) -> None:
        until(lambda: services.log.stat().st_size > before, "the service says nothing")

    def settle(self) -> None:
        """Let the program finish what it left, in peace."""
        self.command("run", "--once")

    def hold_that_nothing_is_missed(self) -> None:
        """Compare both databases, and the receipts with what was committed."""
        differences: list[tuple[str, object]] = []
        rows = 0
        for table, query in BY_NATURAL_KEY.items():
            there, here = Counter(self.source.sql(query.encode())), Counter(self.upstream.sql(query.encode()))
            rows += there.total()
            differences += [(f"{table} missing", row) for row in (there - here).elements()]
            differences += [(f"{table} extra", row) for row in (here - there).elements()]
        receipts = self.upstream.sql("SELECT number, hash, changes FROM dbsync.receipt ORDER BY number")
        sent = self.source.sql("SELECT number, hash, changes FROM dbsync.sent ORDER BY number")
        changes = self.source.value("SELECT count(*) FROM counted")
        self.happened += Counter(rows=rows, batches=len(receipts), changes=changes)
        self.happened["differences"] = len(differences)
        self.tell()
        assert not differences, differences[:10]
        assert [number for number, _, _ in receipts] == list(range(1, len(receipts) + 1))
        assert receipts == sent
        assert sum(number for _, _, number in receipts) == changes
        self.command("verify")

    def tell(self) -> None:
        """Print the counts."""
        counts = ", ".join(f"{name} {number:,}" for name, number in sorted(self.happened.items()))
        print(f"\n{self.source.version} -> {self.upstream.version}, DBSYNC_SEED={self.seed}: {counts}")


@contextmanager
def watched(upstream: Database) -> Iterator[None]:
    """Look into the upstream all the time: no transaction is ever seen in halves, no row ever goes back in time."""
    stop = threading.Event()
    wrong: list[str] = []

    def look() -> None:
        versions: dict[str, int] = {}
        while not stop.is_set():
            try:
                with upstream.connect() as session:
                    while not stop.wait(0.02):
                        _judge(session.execute("SELECT name, amount, version FROM tally").fetchall(), versions, wrong)
            except psycopg.OperationalError:
                time.sleep(0.1)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
    assert not wrong, wrong[:5]


def _judge(rows: list[tuple[Any, ...]], versions: dict[str, int], wrong: list[str]) -> None:
    if sum(amount for _, amount, _ in rows):
        wrong.append(f"half of a transaction is upstream: {rows}")
    for name, _, version in rows:
        if version < versions.get(name, 0):
            wrong.append(f"tally {name} went from version {versions[name]} back to {version}")
        versions[name] = version


@pytest.fixture
def seed() -> int:
    """Choose a seed, or take the one to replay."""
    return int(os.environ.get("DBSYNC_SEED") or time.time_ns() % 1_000_000)


def run(ground: Ground, faults: Callable[[], None]) -> None:
    """Let writers work while things are killed; then compare."""
    with watched(ground.upstream):
        with Writers(ground.source, ground.seed) as writers:
            faults()
        assert not writers.trouble, writers.trouble
        ground.settle()
    ground.happened += writers.done
    ground.hold_that_nothing_is_missed()


@ONE_MIXTURE
def test_a_service_killed_again_and_again_misses_nothing_and_doubles_nothing(
    pair: Pair, tmp_path: Path, seed: int
) -> None:
    ground = Ground(source=pair.source, upstream=pair.upstream, folder=tmp_path, seed=seed)
    run(ground, lambda: ground.replicate_and_kill(SECONDS))
    assert ground.happened["kills"] >= ENOUGH_KILLS
    assert ground.happened["kills while shipping"] >= ENOUGH_KILLS / 3
    assert ground.happened["committed"] > 2 * SECONDS
    assert ground.happened["prepared"] > 0
    assert ground.happened["batches"] > ground.happened["kills"]


@pytest.mark.parametrize("pair", [(18, 15)], indirect=True, ids=["18->15"])
def test_the_same_holds_with_the_newer_server_as_source(pair: Pair, tmp_path: Path, seed: int) -> None:
    ground = Ground(source=pair.source, upstream=pair.upstream, folder=tmp_path, seed=seed)
    run(ground, lambda: ground.replicate_and_kill(SECONDS / 4))
    assert ground.happened["kills"] >= 2


@pytest.fixture
def own_clusters() -> Iterator[tuple[Cluster, Cluster]]:
    """Give two servers that may be killed."""
    with own_cluster(15) as source, own_cluster(18) as upstream:
        yield source, upstream


def test_servers_that_crash_beneath_the_service_lose_nothing(
    own_clusters: tuple[Cluster, Cluster], tmp_path: Path, seed: int, databases: Databases
) -> None:
    """The application's own commits are lazy here, and those the source loses in a crash must not be upstream either."""
    for cluster in own_clusters:
        cluster.create_database("clinic")
    source, upstream = (Database(cluster=cluster, name="clinic") for cluster in own_clusters)
    ground = Ground(source=source, upstream=upstream, folder=tmp_path, seed=seed)

    def faults() -> None:
        with ServiceProcess(tmp_path) as service:
            for ends in ((upstream,), (source,), (upstream, source)):
                time.sleep(ground.pick.uniform(2, 4))
                assert service.runs, service.log.read_text()[-3000:]
                for end in ends:
                    end.cluster.kill()
                    ground.happened["servers killed"] += 1
                time.sleep(ground.pick.uniform(0.1, 0.5))
                for end in ends:
                    end.cluster.start()
            time.sleep(2)
            assert service.runs, service.log.read_text()[-3000:]
        ground.replicate_and_kill(SECONDS / 6)

    run(ground, faults)
    assert ground.happened["servers killed"] == 4
