"""``dbsync demo`` as a newcomer runs it: it tells its story, the databases agree, and it leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import pytest

from dbsync.demo.binaries import embedded, installed

PATIENCE = 600.0
"""Seconds for a whole story: half a minute on a quiet machine, three where two slow cores have other work too."""

pytestmark = [
    pytest.mark.skipif(not (embedded() or installed()), reason="no PostgreSQL server"),
    pytest.mark.timeout(2 * PATIENCE),
]

PROGRAM = [sys.executable, "-c", "from dbsync.cli.main import run; run()", "demo"]
PROMISED = [
    "The same numbers, different people",
    "A visit finds its person",
    "Both enter the same household",
    "Joseph goes offline",
    "160 changes wait safely in the source",
    "all 160 changes are on the server",
    "A key is corrected",
    "A delete travels",
    "source and upstream agree",
    "The databases agree.",
    "Nothing is left running.",
]
PROMISED_IN_THE_FIELD = [
    "field-01 is enrolled with community",
    "field-01 is enrolled with the relay driver",
    "handed to driver: 1 batch, 4 changes",
    "4 changes are with driver",
    "Neema is nowhere to be",
    "2 batches acknowledged: the upstream has them for good",
    "1 bundle delivered",
    "receipts of 1 batch came back",
    "community certifies: everything of field-01 up to batch 2",
    "community certifies: everything of field-02 up to batch 3",
    "They agree.",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A temporary directory of a test's own, by which everything that the demo starts is known."""

    base: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "TMPDIR": str(self.base)}

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*PROGRAM, *words], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def left_over(self) -> list[str]:
        """List what is still there: files, and processes that have our directory from the demo."""
        return [str(path) for path in self.base.iterdir()] + [
            " ".join(process.cmdline()) for process in psutil.process_iter() if self._is_ours(process)
        ]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and process.environ().get("TMPDIR") == str(self.base)
        except psutil.Error:
            return False


@pytest.fixture
def ground() -> Iterator[Ground]:
    # Short, for sockets lie in it; open, for a root's PostgreSQL runs as another user.
    base = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    base.chmod(0o755)
    yield Ground(base=base)
    shutil.rmtree(base, ignore_errors=True)


def test_the_demo_tells_its_story_and_leaves_nothing_behind(ground: Ground) -> None:
    process = ground.start()
    story, talk = process.communicate(timeout=PATIENCE)
    assert (process.returncode, talk) == (0, "")
    assert [sentence for sentence in PROMISED if sentence not in story] == []
    assert ground.left_over() == []


def test_the_second_act_is_told_where_there_is_no_network(ground: Ground) -> None:
    process = ground.start("--route", "field")
    story, talk = process.communicate(timeout=PATIENCE)
    assert (process.returncode, talk) == (0, "")
    assert [sentence for sentence in PROMISED_IN_THE_FIELD if sentence not in story] == []
    assert ground.left_over() == []


def test_what_it_says_of_ids_is_what_it_is_about(ground: Ground) -> None:
    """Read the story's tables: other people under the same id, one household from two, one row renamed, one deleted."""
    process = ground.start("--keep")
    story, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert re.search(r"Neema +S-1001 +1 on field-01 +[45]\n +Baraka +S-2001 +1 on field-02 +[45]\n", story)
    assert re.search(r"field-01 +visit 1 +-> subject 1 +Neema\n +community +visit 4 +-> subject [45] +Neema\n", story)
    assert re.search(r"community +household \d+ +HH-40 +Juma and Zawadi\n", story)
    assert re.search(r"before +(subject \d+) +S-1001 +1 +1\n +after +\1 +S-1010 +1 +1\n", story)
    assert re.search(r"before +(subject \d+) +S-2001 +2 +2\n +after +\1 +S-2001 +1 +1\n", story)
    _what_is_kept_can_be_used_and_removed(ground, story)


def _what_is_kept_can_be_used_and_removed(ground: Ground, story: str) -> None:
    laptop, _, server = re.findall(r'psql "(.*)"', story)
    (script,) = re.findall(r"^ +(/.*clean-up)$", story, re.MULTILINE)
    with psycopg.connect(laptop) as connection:
        connection.execute("INSERT INTO clinic_household (code, village) VALUES ('HH-99', 'Ahero')")
    _until_there(server, "SELECT FROM clinic_household WHERE code = 'HH-99'")
    subprocess.run([script], check=True, timeout=60)
    assert ground.left_over() == []


def _until_there(dsn: str, query: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for _ in range(200):
            if connection.execute(query.encode()).rowcount:
                return
            time.sleep(0.1)
    pytest.fail("a change on a kept laptop did not arrive")


@pytest.mark.parametrize(
    ("number", "moment"),
    [(signal.SIGTERM, "5. Joseph goes offline"), (signal.SIGINT, "Three PostgreSQL servers start")],
)
def test_stopping_it_in_the_middle_leaves_nothing_behind(ground: Ground, number: signal.Signals, moment: str) -> None:
    process = ground.start()
    assert process.stdout is not None
    for line in process.stdout:
        if moment in line:
            break
    process.send_signal(number)
    _, talk = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "nothing is left behind" in talk
    assert ground.left_over() == []
