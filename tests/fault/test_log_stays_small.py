"""The change log does not grow by what left it, however long the source is written at full rate.

``DBSYNC_SOAK_SECONDS`` is how long it goes on; the short form is a part of every run.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from pathlib import Path
from typing import LiteralString

import pytest

from tests.integration.commands import dbsync
from tests.support.databases import ONE_MIXTURE, Database, Pair
from tests.support.service import ServiceProcess, until

SECONDS = float(os.environ.get("DBSYNC_SOAK_SECONDS", "30"))
SAMPLES = 60
AHEAD = 60_000
"""Changes by which the writers may be ahead of the service: full rate is what can be shipped in the long run."""
WARM = 10 * AHEAD
"""Changes that are written before the first sample: the log has its size by then, also on a machine that is busy."""

pytestmark = [pytest.mark.fault, pytest.mark.timeout(360 + 2 * SECONDS)]

SCHEMA = """
CREATE TABLE reading (id bigserial PRIMARY KEY, code text NOT NULL UNIQUE, value int NOT NULL, remark text);
"""
CONFIG = """
[node]
name = "field-01"
source = "{source}"
[upstream]
url = "{upstream}"
name = "community"
[retention]
keep = "0"
[[tables]]
name = "reading"
"""
BULK = "UPDATE reading SET value = value + 1, remark = repeat('x', 40) WHERE mod(id, 20) = mod(%s, 20)"
SINGLE = "UPDATE reading SET value = value + 1 WHERE id = %s"
ROWS = 20_000


class Writers:
    """One session with large statements and one with single rows, as fast as they may."""

    def __init__(self, source: Database) -> None:
        self._source = source
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._write, args=(BULK, 1)),
            threading.Thread(target=self._write, args=(SINGLE, 200)),
        ]

    def _write(self, statement: LiteralString, times: int) -> None:
        number = 0
        with self._source.connect() as session:
            while not self._stop.is_set():
                for _ in range(times):
                    number = number % ROWS + 1
                    session.execute(statement, [number])
                while written(self._source) - shipped(self._source) > AHEAD and not self._stop.wait(0.05):
                    pass

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)


def written(source: Database) -> int:
    return int(source.value("SELECT last_value FROM dbsync.change_seq_seq"))


def shipped(source: Database) -> int:
    return int(source.value("SELECT coalesce(max(last_seq), 0) FROM dbsync.sent WHERE acknowledged_at IS NOT NULL"))


def on_disk(source: Database) -> int:
    return int(source.value("SELECT pg_total_relation_size('dbsync.change')"))


@ONE_MIXTURE
def test_the_log_stays_small_at_full_rate(pair: Pair, tmp_path: Path) -> None:
    for database in (pair.source, pair.upstream):
        database.script(SCHEMA)
    config = CONFIG.format(source=pair.source.dsn, upstream=pair.upstream.dsn)
    (tmp_path / "dbsync.toml").write_text(config, encoding="utf-8")
    for command in ("install-upstream", "install-triggers"):
        assert dbsync(tmp_path, command).code == 0
    sizes: list[int] = []
    with ServiceProcess(tmp_path) as service:
        pair.source.sql("INSERT INTO reading (code, value) SELECT 'r' || g, 0 FROM generate_series(1, %s) g", [ROWS])
        with Writers(pair.source):
            until(lambda: written(pair.source) > WARM, "hardly anything is written", 120)
            for _ in range(SAMPLES):
                time.sleep(SECONDS / SAMPLES)
                sizes.append(on_disk(pair.source))
                assert service.runs, service.log.read_text()
        changes = written(pair.source)
        until(lambda: shipped(pair.source) == changes, "the service did not catch up", 120)
        until(lambda: pair.source.value("SELECT count(*) FROM dbsync.change") == 0, "acknowledged changes stayed", 120)
        assert service.terminate() == 0
    _report(changes, sizes)
    assert pair.source.sql('SELECT code, value, remark FROM reading ORDER BY code COLLATE "C"') == pair.upstream.sql(
        'SELECT code, value, remark FROM reading ORDER BY code COLLATE "C"'
    )
    assert max(sizes[SAMPLES // 2 :]) <= 1.5 * max(*sizes[: SAMPLES // 2], AHEAD * 700)


def _report(changes: int, sizes: list[int]) -> None:
    quarters = [statistics.median(sizes[i * SAMPLES // 4 : (i + 1) * SAMPLES // 4]) / 1e6 for i in range(4)]
    print(
        f"\n{changes:,} changes in {SECONDS:.0f} s; the log took {min(sizes) / 1e6:.1f} to {max(sizes) / 1e6:.1f} MB,"
        f" median {statistics.median(sizes) / 1e6:.1f} MB; by quarter {', '.join(f'{q:.1f}' for q in quarters)} MB"
    )
