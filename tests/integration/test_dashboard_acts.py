"""What operators do on the pages: by whom it may be done, what it does, and that it is written down first."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from dbsync.config.load import load
from dbsync.dashboard import users
from dbsync.dashboard.app import Dashboard
from dbsync.dashboard.users import Role
from tests.integration.people import Person
from tests.integration.test_least_rights import login
from tests.support.seeded import SECRET, Seeded
from tests.support.servers import Servers
from tests.support.visiting import HERE, PASSWORD, entered, pages, peopled, post, token, words

ALLOWED = "allow_actions = true"


@pytest.fixture(scope="module")
def ground(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    """Give a server and a laptop, the same for all deeds here: each has a row of its own."""
    with peopled(servers, tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture
def anna(ground: Seeded, tmp_path: Path) -> Iterator[TestClient]:
    """Give an operator where something may be done."""
    with pages(ground, tmp_path, ALLOWED) as browser:
        yield entered(browser)


def case(ground: Seeded, conflict: str) -> int:
    """Give the case of a kind."""
    return int(
        ground.server.value("SELECT min(id) FROM dbsync.quarantine WHERE conflict = %s AND behind IS NULL", [conflict])
    )


def last_deed(ground: Seeded) -> tuple[Any, ...]:
    """Give what was written down last: who, what, the command, the result."""
    (found,) = ground.server.sql("SELECT who, what, command, result FROM dbsync.audit ORDER BY id DESC LIMIT 1")
    return found


def do(browser: TestClient, path: str, **form: str) -> str:
    """Press a button; give what the page says after it."""
    came = post(browser, path, token=token(browser), **form)
    assert came.status_code == 303, came.text
    return words(browser.get(came.headers["location"]).text)


def test_only_operators_act_and_only_where_it_is_allowed(ground: Seeded, tmp_path: Path) -> None:
    number = case(ground, "check_violation")
    paths = (
        f"/quarantine/{number}/retry", f"/quarantine/{number}/skip", "/quarantine/retry", "/conflicts/1/undo",
        "/nodes/field-04/revoke", "/pause", "/resume",
    )  # fmt: skip
    before = ground.server.value("SELECT count(*) FROM dbsync.audit WHERE command <> ''")
    for who, web in (("ben", ALLOWED), ("anna", "")):
        with pages(ground, tmp_path, web) as browser:
            entered(browser, who)
            form = {"token": token(browser), "reason": "because"}
            for path in paths:
                refused = post(browser, path, **form)
                assert (refused.status_code, "that is for operators" in refused.text.lower()) == (403, True), path
            assert "<button>" not in browser.get(f"/quarantine/{number}").text
    with pages(ground, tmp_path, ALLOWED) as browser:
        for path in paths:
            assert post(browser, path, token="0" * 64).status_code == 403, "nobody is logged in"
        good = token(entered(browser))
        for path in paths:
            assert post(browser, path, token="0" * 64, reason="because").status_code == 403
            assert post(browser, path, "http://evil.example", token=good, reason="because").status_code == 403
            assert browser.get(path).status_code in (400, 405)
    assert ground.server.value("SELECT count(*) FROM dbsync.audit WHERE command <> ''") == before
    assert ground.server.value("SELECT count(*) FROM dbsync.peer WHERE revoked_at IS NOT NULL") == 1


def test_a_case_is_tried_again(ground: Seeded, anna: TestClient, tmp_path: Path) -> None:
    number = case(ground, "check_violation")
    said = do(anna, f"/quarantine/{number}/retry")
    assert (
        f"Try row {number} again: 0 changes applied, 3 changes still waiting; row {number} still waits: check_violation"
        in said
    )
    ground.server.sql("ALTER TABLE clinic_subject DROP CONSTRAINT grown_up")
    said = do(anna, f"/quarantine/{number}/retry")
    assert f"Try row {number} again: 3 changes applied, 0 changes still waiting." in said
    assert f"The same on a terminal: dbsync quarantine retry {number} --here" in said
    assert last_deed(ground) == (
        "anna", f"try row {number} again", f"dbsync quarantine retry {number} --here", "3 changes applied, 0 changes still waiting",
    )  # fmt: skip
    assert (
        ground.server.value("SELECT initials FROM clinic_subject WHERE subject_identifier = '092-40990141-5'") == SECRET
    )
    shown = Person(config=tmp_path / "dbsync.toml").must("quarantine", "show", str(number), "--here").out
    assert "released by" in shown
    again = post(anna, f"/quarantine/{number}/retry", token=token(anna))
    assert (again.status_code, "does not wait any more" in again.text) == (409, True)
    assert last_deed(ground)[3].startswith("not done: source: row")


def test_what_somebody_did_is_shown_to_nobody_else(ground: Seeded, anna: TestClient) -> None:
    do(anna, "/quarantine/retry", node="field-01")
    assert last_deed(ground)[2:] == (
        "dbsync quarantine retry --all --here --node field-01", "0 changes applied, 0 changes still waiting",
    )  # fmt: skip
    number = ground.server.value("SELECT max(id) FROM dbsync.audit")
    assert "The same on a terminal" in anna.get(f"/log?done={number}").text
    ben = entered(TestClient(anna.app, base_url=HERE, follow_redirects=False), "ben")
    assert "The same on a terminal" not in ben.get(f"/log?done={number}").text


def test_a_case_is_left_out_with_a_reason(ground: Seeded, anna: TestClient) -> None:
    number = case(ground, "reference_missing")
    for nothing in ("", "   "):
        assert post(anna, f"/quarantine/{number}/skip", token=token(anna), reason=nothing).status_code == 400
    said = do(anna, f"/quarantine/{number}/skip", reason="entered twice; don't ask")
    assert f"Leave row {number} out: row {number} is skipped, and stays in the ledger." in said
    assert "State skipped by anna" in said
    assert "Decided entered twice; don&#39;t ask" in said
    same = f"dbsync quarantine skip {number} --here --reason 'entered twice; don'\"'\"'t ask' --by anna"
    assert last_deed(ground)[2] == same


def test_a_conflict_is_undone_and_can_be_looked_at_first(ground: Seeded, anna: TestClient) -> None:
    number = int(re.findall(r'href="/conflicts/(\d+)"', anna.get("/conflicts").text)[0])
    initials = "SELECT initials FROM clinic_subject WHERE subject_identifier = %s"
    (key,) = ground.server.value("SELECT key FROM dbsync.conflict WHERE id = %s", [number])
    said = do(anna, f"/conflicts/{number}/undo", dry_run="1")
    assert f"clinic_subject ({key}): initials would be given back what the loser wanted." in said
    assert last_deed(ground)[2] == f"dbsync conflicts undo {number} --dry-run --here --by anna"
    assert ground.server.value(initials, [key]) == "XX"
    said = do(anna, f"/conflicts/{number}/undo")
    assert f"clinic_subject ({key}): initials was given back what the loser wanted." in said
    assert ground.server.value(initials, [key]) == SECRET
    assert SECRET not in said
    again = post(anna, f"/conflicts/{number}/undo", token=token(anna))
    assert (again.status_code, "was undone before, by anna" in again.text) == (409, True)


def test_a_node_is_thrown_out(ground: Seeded, anna: TestClient) -> None:
    said = do(anna, "/nodes/field-03/revoke", reason="the laptop was lost")
    assert "field-03 is revoked: nothing more of it is taken." in said
    assert "Throw it out" not in said
    assert last_deed(ground)[2] == "dbsync nodes revoke field-03 --reason 'the laptop was lost'"
    assert ground.server.value("SELECT revoked_why FROM dbsync.peer WHERE name = 'field-03'") == "the laptop was lost"


def test_a_link_is_paused_and_goes_on(ground: Seeded, tmp_path: Path) -> None:
    ground.write_laptop(tmp_path, ALLOWED)
    config = load(tmp_path / "dbsync.toml", os.environ)
    users.add(config, "anna", PASSWORD, role=Role.OPERATOR, sees_values=False)
    with Dashboard(config=config, listening=config.web).opened() as app:
        browser = entered(TestClient(app, base_url=HERE, follow_redirects=False))
        assert "Pause shipping: shipping is paused since" in do(browser, "/pause")
        assert ground.laptop.value("SELECT paused_since IS NOT NULL FROM dbsync.node") is True
        assert "Go on shipping" in browser.get("/nodes").text
        assert "Resume shipping: shipping goes on." in do(browser, "/resume")
    assert ground.laptop.sql("SELECT command, result FROM dbsync.audit WHERE command <> '' ORDER BY id")[-1] == (
        "dbsync resume", "shipping goes on",
    )  # fmt: skip


def test_what_cannot_be_written_down_is_not_done(ground: Seeded, anna: TestClient) -> None:
    ground.server.sql("ALTER TABLE dbsync.audit ADD CONSTRAINT full_up CHECK (what NOT LIKE 'revoke field-02%')")
    assert post(anna, "/nodes/field-02/revoke", token=token(anna), reason="lost").status_code == 500
    assert ground.server.value("SELECT revoked_at IS NULL FROM dbsync.peer WHERE name = 'field-02'") is True
    ground.server.sql("ALTER TABLE dbsync.audit DROP CONSTRAINT full_up")


def test_a_login_that_may_only_look_says_what_it_lacks(ground: Seeded, tmp_path: Path) -> None:
    with (
        login(ground.server, "looker", "dbsync_web") as role,
        pages(ground, tmp_path, ALLOWED, role=role) as browser,
    ):
        entered(browser)
        refused = post(browser, "/nodes/field-02/revoke", token=token(browser), reason="lost")
        assert (refused.status_code, f"GRANT dbsync_replicator TO &#34;{role}&#34;;" in refused.text) == (500, True)
        post(browser, "/logout", token=token(browser))
    with (
        login(ground.server, "doer", "dbsync_web", "dbsync_replicator") as role,
        pages(ground, tmp_path, ALLOWED, role=role) as browser,
    ):
        assert "field-04 is revoked" in do(entered(browser), "/nodes/field-04/revoke", reason="lost")
        post(browser, "/logout", token=token(browser))
