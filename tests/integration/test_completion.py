"""Tab offers tables, cases and nodes as a shell asks for them; where something is in the way it offers nothing, and says nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.places import Place, place
from tests.integration.people import Person
from tests.support.databases import ONE_MIXTURE, Pair

PROGRAM = Path(sys.executable).parent / "dbsync"
BASH = shutil.which("bash")

WAITING = "SELECT id::text FROM dbsync.quarantine WHERE state = 'waiting' AND behind IS NULL"

pytestmark = ONE_MIXTURE


@pytest.fixture
def here(pair: Pair, tmp_path: Path) -> Iterator[Place]:
    """Give a node with a pattern in its file, and a case in quarantine."""
    patterns = '[[tables]]\nname = "subject"\n[[tables]]\nname = "vis*"\n'
    found = place(tmp_path, pair.source, pair.upstream, tables=patterns)
    somebody = Person(config=tmp_path / "dbsync.toml")
    somebody.must("install-upstream")
    somebody.must("install-triggers")
    found.source.script(
        "INSERT INTO subject (identifier) VALUES ('$(touch harm)'), ('S-2');"
        "INSERT INTO visit (subject_id, code) SELECT id, 1000 FROM subject"
    )
    somebody.must("run", "--once")
    found.upstream.script("DELETE FROM visit; DELETE FROM subject")
    found.source.script("UPDATE visit SET code = 2000; UPDATE subject SET initials = 'AB' WHERE identifier = 'S-2'")
    found.source.script("INSERT INTO visit (subject_id, code) SELECT id, 3000 FROM subject")
    somebody.must("run", "--once")
    yield found


def offered(where: Path, typed: str, shell: str = "bash") -> list[str]:
    """Ask as a shell asks; the last word is what is being typed."""
    words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split(" ")) - 1), "_TYPER_COMPLETE_ARGS": typed}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DBSYNC", "PG"))}
    environ = {**kept, **words, "_DBSYNC_COMPLETE": f"complete_{shell}"}
    done = subprocess.run([PROGRAM], cwd=where, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


def test_tables_are_offered_by_name_also_those_that_a_pattern_selects(here: Place) -> None:
    assert offered(here.folder, "dbsync verify ") == ["subject", "visit"]
    assert offered(here.folder, "dbsync backfill su") == ["subject"]
    assert offered(here.folder, "dbsync resend v") == ["visit"]
    assert offered(here.folder, "dbsync config edit add-table ") == ["extra"]
    elsewhere = here.folder / "elsewhere"
    elsewhere.mkdir()
    assert offered(elsewhere, "dbsync --config ../dbsync.toml verify s") == ["subject"]
    assert offered(elsewhere, "dbsync verify ") == [], "there is no dbsync.toml"


def test_cases_are_offered_with_what_they_are_about(here: Place) -> None:
    waiting = [number for (number,) in here.upstream.sql(WAITING)]
    assert waiting
    assert sorted(offered(here.folder, "dbsync quarantine show ")) == sorted(waiting)
    assert offered(here.folder, "dbsync quarantine show --here ") == [], "none came to the node itself"
    shown = "\n".join(offered(here.folder, "dbsync quarantine retry ", "zsh"))
    assert "reference_missing" in shown
    assert "touch harm" in shown
    assert "$(" not in shown, "a key is what somebody typed, and no command"


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
def test_bash_itself_completes(here: Place) -> None:
    script = (
        f'export PATH="{PROGRAM.parent}:$PATH"; eval "$(_DBSYNC_COMPLETE=source_bash dbsync)"; '
        'COMP_WORDS=(dbsync quarantine skip ""); COMP_CWORD=3; _dbsync_completion dbsync; echo "${#COMPREPLY[@]}"; '
        'COMP_WORDS=(dbsync veri); COMP_CWORD=1; _dbsync_completion dbsync; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run([str(BASH), "-c", script], cwd=here.folder, capture_output=True, text=True, check=True)
    count, command = done.stdout.splitlines()
    assert int(count) == len(here.upstream.sql(WAITING))
    assert command == "verify"


def test_a_database_that_is_away_offers_what_the_file_says(here: Place) -> None:
    file = here.folder / "dbsync.toml"
    file.write_text(file.read_text().replace(here.source.dsn, "host=/nonexistent dbname=clinic"))
    assert offered(here.folder, "dbsync verify ") == ["subject"]
    assert offered(here.folder, "dbsync config edit add-table ") == []
    file.write_text(file.read_text().replace(here.upstream.dsn, "host=/nonexistent dbname=community"))
    assert offered(here.folder, "dbsync quarantine show ") == []
    file.write_text("node = {")
    assert offered(here.folder, "dbsync verify ") == []
