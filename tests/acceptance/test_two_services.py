"""A second ``dbsync run`` beside the first: it ships nothing, and says nothing of a link that is not its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.places import Place, parts, place
from tests.support.databases import Databases
from tests.support.service import ServiceProcess, until


@pytest.fixture
def here(databases: Databases, tmp_path: Path) -> Place:
    """Give a laptop and its server, dbsync installed on both."""
    found = place(tmp_path, databases.create(15, name="source"), databases.create(18, name="upstream"))
    found.install()
    return found


@pytest.fixture
def beside(here: Place, tmp_path: Path) -> Path:
    """Give another folder with the same dbsync.toml, for logs of its own."""
    folder = tmp_path / "beside"
    folder.mkdir()
    shutil.copy(here.folder / "dbsync.toml", folder)
    return folder


@contextmanager
def begun(here: Place) -> Iterator[ServiceProcess]:
    """Run the service, and wait until it has the link."""
    with here.service() as service:
        until(lambda: state(here) == ("streaming", None), "not streaming")
        yield service


def state(here: Place) -> tuple[str, str | None]:
    """Say how the link is."""
    link = here.status()["link"]
    return link["state"], link["reason"]


def test_a_second_service_waits_says_so_in_its_log_and_leaves_the_state_to_the_first(here: Place, beside: Path) -> None:
    with begun(here) as first, ServiceProcess(beside) as second:
        second.wait_for("link_taken")
        assert state(here) == ("streaming", None)
        assert [(one["level"], "another dbsync ships" in one["reason"]) for one in second.said("link_taken")] == [
            ("warning", True)
        ]
        assert second.terminate() == 0
        assert state(here) == ("streaming", None)
        here.source.sql("INSERT INTO subject (identifier) VALUES ('S-1')")
        here.see("subject", 1)
        assert first.terminate() == 0
    assert state(here) == ("stopped", None)


def test_a_second_service_that_is_stopped_before_it_knows_leaves_the_state_to_the_first(
    here: Place, beside: Path
) -> None:
    with begun(here) as first:
        with ServiceProcess(beside) as second:
            waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            until(lambda: here.source.value(waits) == 1, "it does not wait for the link")
            assert second.terminate() == 0
        assert state(here) == ("streaming", None)
        assert first.terminate() == 0


def test_a_second_service_takes_over_when_the_first_has_ended(here: Place, beside: Path) -> None:
    with begun(here) as first, ServiceProcess(beside) as second:
        second.wait_for("link_taken")
        first.kill()
        second.wait_for("link_connected")
        until(lambda: state(here) == ("streaming", None), "not streaming")
        assert second.terminate() == 0
    assert state(here) == ("stopped", None)


def test_run_once_beside_a_service_exits_75_and_leaves_the_state_to_it(here: Place) -> None:
    with begun(here) as first:
        done = here.run("run", "--once")
        assert (done.code, "another dbsync ships the link community now" in parts(done)["what"]) == (75, True), done.err
        assert state(here) == ("streaming", None)
        assert first.terminate() == 0
