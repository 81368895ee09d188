"""A pattern that is misspelt takes capture from no table: not by hand, and not by a service that reads the file again."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from dbsync.cli.run import _reload
from dbsync.config.load import load
from dbsync.errors import Refusal
from dbsync.service.care import Care
from dbsync.service.post import Post
from tests.acceptance.places import Place, place
from tests.integration.people import Person
from tests.support.databases import ONE_MIXTURE, Pair
from tests.support.ward import recognises

pytestmark = ONE_MIXTURE

SUBJECT = '[[tables]]\nname = "subject"\n'
VISITS = '[[tables]]\nname = "vis*"\n'
MISSPELT = '[[tables]]\nname = "viz*"\n'


@pytest.fixture
def here(pair: Pair, tmp_path: Path) -> Place:
    """Give a node whose visits are selected by a pattern, installed and captured; then somebody misspells it."""
    found = place(tmp_path, pair.source, pair.upstream, tables=SUBJECT + VISITS)
    keyboard(found).must("install-upstream")
    keyboard(found).must("install-triggers")
    found.configure(SUBJECT + MISSPELT)
    return found


def keyboard(here: Place) -> Person:
    return Person(config=here.folder / "dbsync.toml")


def triggers(here: Place) -> set[str]:
    """Give the tables that have any."""
    rows = here.source.sql("SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE tgname LIKE 'dbsync%'")
    return {row[0] for row in rows}


def test_a_misspelt_pattern_takes_capture_from_no_table(here: Place) -> None:
    for words in ((), ("--sql",), ("--dry-run",)):
        with pytest.raises(Refusal, match=r"viz\* in dbsync.toml selects no table, and 1 table would") as refused:
            keyboard(here).type("install-triggers", *words)
        assert (refused.value.exit_code, refused.value.where) == (1, "visit")
        assert refused.value.hint.endswith("dbsync install-triggers --remove")
    assert triggers(here) == {"subject", "visit"}
    here.configure(SUBJECT + VISITS)
    assert "nothing to do" in keyboard(here).must("install-triggers").out


def test_what_is_to_go_goes_where_somebody_says_so(here: Place) -> None:
    planned = keyboard(here).must("install-triggers", "--remove", "--dry-run").out
    assert planned.splitlines()[-1] == "would remove triggers from visit"
    assert "DROP TRIGGER" in keyboard(here).must("install-triggers", "--remove", "--sql").out
    assert triggers(here) == {"subject", "visit"}
    assert "triggers removed from visit" in keyboard(here).must("install-triggers", "--remove").out
    assert triggers(here) == {"subject"}
    keyboard(here).must("install-triggers")


def test_a_table_that_leaves_the_file_goes_as_before_where_every_pattern_selects_something(here: Place) -> None:
    here.configure(SUBJECT)
    assert "triggers removed from visit" in keyboard(here).must("install-triggers").out


@recognises("pattern_selects_nothing")
def test_check_calls_the_pattern_an_error_while_triggers_are_there_that_nothing_selects(here: Place) -> None:
    done = keyboard(here).type("check", "--json")
    found = {one["code"]: one for one in done.json["findings"]}
    assert (done.code, found["pattern_selects_nothing"]["severity"]) == (1, "error")
    assert "dbsync install-triggers --remove" in found["trigger_orphaned"]["remedy"]
    keyboard(here).must("install-triggers", "--remove")
    found = {one["code"]: one for one in keyboard(here).must("check", "--json").json["findings"]}
    assert found["pattern_selects_nothing"]["severity"] == "warning"


def test_the_service_takes_no_triggers_away_for_a_misspelt_pattern(here: Place) -> None:
    path = here.folder / "dbsync.toml"
    here.configure(SUBJECT + VISITS)
    before = load(path, {})
    here.configure(SUBJECT + MISSPELT)
    post = Post(config=before, reload=lambda: _reload(path))
    post.reread.set()  # as SIGHUP does
    with capture_logs() as logs:
        post.refresh()
    assert [(said["event"], said["hint"]) for said in logs] == [
        ("configuration_refused", "the tables stay as they were")
    ]
    assert post.config is before
    Care(0).take(load(path, {}))  # as after a restart
    assert triggers(here) == {"subject", "visit"}
