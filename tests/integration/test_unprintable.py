"""What cannot be printed or written is said in words, and is no bug of dbsync."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from dbsync.cli import certificate
from dbsync.errors import UsageError
from dbsync.identity.keys import Signed
from tests.acceptance.places import Place, place
from tests.integration.people import Person
from tests.support.databases import ONE_MIXTURE, Pair
from tests.support.service import PATIENCE, until

pytestmark = [ONE_MIXTURE, pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")]

NAME = "Ñandú"


@pytest.fixture
def here(pair: Pair, tmp_path: Path) -> Place:
    """Give a node that differs from its upstream in one row, whose key no ASCII terminal shows."""
    found = place(tmp_path, pair.source, pair.upstream)
    somebody = Person(config=tmp_path / "dbsync.toml")
    somebody.must("install-upstream")
    somebody.must("install-triggers")
    found.source.sql("INSERT INTO subject (identifier) VALUES (%s)", [NAME])
    return found


def shell(where: Place, typed: str, environ: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
    """Type a line into a shell; ``dbsync`` is this program."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DBSYNC", "PG"))}
    script = f'dbsync() {{ "{sys.executable}" -c "from dbsync.cli.main import run; run()" "$@"; }}; {typed}'
    return subprocess.run(
        ["bash", "-c", script],
        cwd=where.folder,
        env={**kept, "PYTHONPATH": str(Path(__file__).parents[2]), **environ},
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("full", [">/dev/full", ">&-"])
@pytest.mark.parametrize("command", ["status", "status --json", "check", "--version", "quarantine export"])
def test_an_answer_that_cannot_be_printed_is_said_in_words(here: Place, command: str, full: str) -> None:
    done = shell(here, f"dbsync {command} {full}")
    assert (done.returncode, done.stdout) == (75, "")
    told = done.stderr.splitlines()
    assert told[0] == "dbsync: what was to be printed could not be written"
    assert [line.split()[0] for line in told[1:]] == ["where", "why", "try"], done.stderr


def test_a_command_that_prints_nothing_needs_no_stdout(here: Place) -> None:
    assert shell(here, "dbsync pause >&- && dbsync status --json").returncode in (0, 75)
    done = shell(here, "dbsync verify --json >/dev/null 2>&-")
    assert (done.returncode, done.stderr) == (1, "")


def test_a_reader_who_has_gone_is_told_nothing(here: Place) -> None:
    done = shell(here, "dbsync status --json | true; exit ${PIPESTATUS[0]}")
    assert (done.returncode in (0, 1), done.stderr) == (True, "")


def test_a_full_disk_under_stderr_keeps_nothing_from_being_done(here: Place) -> None:
    here.source.script("DROP TABLE extra")
    assert shell(here, "dbsync uninstall-triggers --force 2>/dev/full").returncode == 0
    assert shell(here, "dbsync install-triggers 2>/dev/full").returncode == 0
    assert {table["trigger"] for table in here.status()["tables"]} == {"installed"}
    assert shell(here, "dbsync backfill nothing 2>/dev/full").returncode == 2


def test_a_full_disk_under_its_log_keeps_a_service_from_nothing(here: Place) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DBSYNC", "PG"))}
    command = [sys.executable, "-c", "from dbsync.cli.main import run; run()", "run"]
    root = str(Path(__file__).parents[2])
    with Path("/dev/full").open("w") as full:
        service = subprocess.Popen(
            command,
            cwd=here.folder,
            env={**kept, "PYTHONPATH": root},
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=full,
        )
    try:
        until(
            lambda: service.poll() is not None or here.upstream.value("SELECT count(*) FROM subject") == 1,
            "nothing came",
        )
        service.terminate()
        assert service.wait(PATIENCE) == 0
    finally:
        service.kill()
    assert here.upstream.value("SELECT count(*) FROM subject") == 1


@pytest.mark.parametrize("encoding", ["ascii", "latin2"])
def test_a_key_that_the_terminal_has_no_letters_for_is_shown_all_the_same(here: Place, encoding: str) -> None:
    environ = {"PYTHONIOENCODING": encoding}
    done = shell(here, "dbsync verify", environ)
    assert done.returncode == 1, done.stderr
    assert r"\xd1and" in done.stdout
    found = json.loads(shell(here, "dbsync verify --json", environ).stdout)
    assert [row["key"] for row in found["differences"]] == [[NAME]]


def test_a_certificate_that_cannot_be_written_where_it_was_to_go_is_said(here: Place) -> None:
    signed = Signed(data=b"{}", signature=b"")
    with pytest.raises(UsageError, match="cannot be written to") as refused:
        certificate._write(here.folder / "away" / "field-07.json", signed)
    assert (refused.value.where, refused.value.why) == ("--out", "No such file or directory")
    assert refused.value.hint.startswith("dbsync certificate --out FILE")


def test_completion_that_cannot_be_installed_says_what_prints_it(here: Place) -> None:
    done = shell(here, "dbsync --install-completion bash", {"HOME": "/proc/1"})
    assert done.returncode == 1
    assert "cannot be read or written" in done.stderr
    assert "dbsync --show-completion" in done.stderr
