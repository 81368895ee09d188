"""The benchmark at its smallest: every row is in its report and the data are right. Its times mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dbsync.demo.binaries import embedded, find
from tests.benchmarks import plot

pytestmark = pytest.mark.skipif(not (find(15) or embedded()), reason="no PostgreSQL server")

ROOT = Path(__file__).parents[2]
WORK = ("three", "one", "small", "update", "edits")
ROUTES = ("dbsync", "logical")
ENDS = ("source", "upstream")
SIZES = (1000,)
BYTES = ("raw", "logged", "payload", "compressed", "stream", "by_raw", "by_stream", "direct_by_stream")
FLEET = ("p50", "p99", "beside_p50", "beside_p99", "memory", "deadlocks", "locks", "waiting", "turned_away")
AIMS = {
    *("flat_session", "flat_tables", "flat_log"),
    *("capture_bulk", "capture_single", "capture_single_after_bulk", "capture_update", "capture_small"),
    *(f"drain_{work}_{what}" for work in WORK for what in ("ratio", "memory")),
    *("latency_dbsync_p50", "latency_dbsync_p99"),
}
MAY_BE_ZERO = {"idle_dbsync_process"}
FOR_INFORMATION = {
    *("flat_session_us", "flat_tables_us", "flat_log_us"),
    *(f"growth_{size}_{what}" for size in SIZES for what in ("inserts", "edits")),
    *("bulk_plain_us", "bulk_added_us"),
    *(f"{name}_{side}_us" for name in ("single", "single_after_bulk") for side in ("plain", "captured")),
    *(f"drain_{work}_{route}_rate" for work in WORK for route in ROUTES),
    *(f"resume_{work}_{what}" for work in WORK for what in ("ratio", *(f"{route}_rate" for route in ROUTES))),
    *("latency_logical_p50", "latency_logical_p99"),
    *(f"idle_{route}_{end}" for route in ROUTES for end in ENDS),
    *(f"curve_{route}_{size}" for route in ROUTES for size in ("start", *SIZES)),
    *(f"wire_{work}_{what}" for work in ("inserts", "updates") for what in BYTES),
    *(f"load_{route}_{what}" for route in ROUTES for what in ("p50", "p99", "seconds")),
    *(f"slow_{most}_{what}" for most in (20_000, 500) for what in ("seconds", "batches", "pause", "sent")),
    *("backfill_dbsync_rate", "backfill_log_rate", "backfill_dump_rate", "backfill_ratio"),
    *(f"fleet_{way}_3_{what}" for way in ("https", "nats") for what in ("rate", *FLEET)),
    *(f"backfill_{when}_p{percent}" for when in ("before", "while") for percent in (50, 99)),
}
CHECKS = {
    "checksums_equal": [True] * 2 * len(WORK),
    "ids_differ": [True],
    "resume_checksums_equal": [True] * 2 * len(WORK),
    "latency_all_seen": [True] * 2,
    "curve_checksums_equal": [True] * len(ROUTES) * (1 + len(SIZES)),
    "growth_equal": [True] * len(SIZES),
    "backfill_equal": [True],
    "fleet_equal": [True] * 2,
    "load_all_seen": [True] * 2,
    "slow_checksums_equal": [True] * 2,
}


def test_the_benchmark_reports_every_row_and_the_databases_are_equal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.benchmarks", "--scale", "0.001", "--reps", "1", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    (numbers,) = tmp_path.glob("*.json")
    results = {result["name"]: result for result in json.loads(numbers.read_text())["results"]}
    assert results.keys() == AIMS | MAY_BE_ZERO | FOR_INFORMATION | CHECKS.keys()
    assert {name: results[name]["held"] for name in CHECKS} == CHECKS
    with_aim = {name for name, result in results.items() if result["met"] is not None}
    assert with_aim == AIMS | MAY_BE_ZERO | CHECKS.keys()
    assert all(value > 0 for name in AIMS for value in results[name]["values"])
    assert (f"{numbers.stem}-curve.svg" in {path.name for path in tmp_path.glob("*.svg")}) == plot.available()
    _the_table_is_the_same(numbers.with_suffix(".md").read_text(), done.stdout, len(results))


def _the_table_is_the_same(written: str, printed: str, rows: int) -> None:
    assert printed in written
    assert printed.startswith("| measure | value (median, min-max) | aim | met |\n")
    assert len(printed.splitlines()) == rows + 2
