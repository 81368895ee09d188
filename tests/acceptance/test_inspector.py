"""At a house's door: what the laptop holds is looked through, and the box is checked, in a real browser without a mouse."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from dbsync.config.load import load, load_relay
from dbsync.identity.keys import Keys
from dbsync.identity.registry import Role
from dbsync.inspector.carried import Carried
from dbsync.inspector.changes import Wanted
from dbsync.inspector.here import Here
from dbsync.relay.middleman import opened
from tests.integration.commands import dbsync
from tests.support.browsing import NEEDED, chromium, page_of, press_to
from tests.support.carried import Field
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.relayed import Relay
from tests.support.served import admit

pytestmark = [ONE_MIXTURE, NEEDED]


@pytest.fixture
def field(pair: Pair, databases: Databases, tmp_path: Path) -> Iterator[Field]:
    with ExitStack() as stack:
        yield Field(tmp_path, pair, databases, stack)


@pytest.fixture
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@contextmanager
def inspecting(folder: Path, *words: str) -> Iterator[str]:
    """Type the command that serves the pages; give the address that it prints."""
    command = [sys.executable, "-c", "from dbsync.cli.main import run; run()", *words, "--port", "0"]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in (0, -signal.SIGINT, 130)


def shown_to(browser: Browser, address: str) -> Page:
    """Open the pages."""
    page = page_of(browser)
    page.goto(address)
    return page


def groups(page: Page) -> list[list[str]]:
    """Give what is missing from the data, missing from the box, and in both."""
    found = [section.locator("li:not(.none)").all_inner_texts() for section in page.locator("section").all()]
    return [sorted(one.split()[0] for one in group) for group in found]


def visited(field: Field) -> Relay:
    """Let a driver visit a laptop that trusts him and one that does not."""
    trusted, blind = field.laptops
    driver = Relay(field.folder, "other")
    trusted.goes_to(driver, "trusted = true")
    blind.goes_to(driver)
    trusted.insert("R-1", "R-2", "R-3")
    trusted.source.sql("UPDATE site SET name = 'north' WHERE code = 'R-2'")
    trusted.source.sql("DELETE FROM site WHERE code = 'R-3'")
    blind.insert("R-7")
    with driver.open():
        trusted.run()
        blind.run()
    return driver


def test_a_driver_looks_through_what_he_carries(field: Field, browser: Browser) -> None:
    driver = visited(field)
    with inspecting(driver.folder, "relay", "inspect") as address:
        page = shown_to(browser, address)
        assert page.locator("h1").inner_text() == "Pending changes"
        assert "field-02: 1 bundle not shown, sealed for the upstream alone." in page.inner_text("main")
        assert "R-7" not in page.content()
        assert page.locator("article").count() == 5
        press_to(page, "Search")
        page.keyboard.type("north")
        page.keyboard.press("Enter")
        page.wait_for_url("**text=north**")
        assert page.locator("article h3").all_inner_texts() == ["UPDATE site (R-2)"]


def test_a_driver_checks_the_box_and_the_server_has_the_list(field: Field, browser: Browser) -> None:
    driver = visited(field)
    driver.upstream_is(field.url, field.theirs)
    admit(field.upstream, "other", Keys.load(driver.folder / "keys"), role=Role.RELAY)
    with inspecting(driver.folder, "relay", "inspect") as address:
        page = shown_to(browser, address)
        press_to(page, "Check the box")
        page.keyboard.press("Enter")
        page.wait_for_url("**/reconcile")
        press_to(page, "Choose")
        page.keyboard.press("Enter")
        page.wait_for_selector("#scan:focus")
        for scanned in ("R-2", "R-9", "R-2"):
            page.keyboard.type(scanned)
            page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelector('#result').innerText.includes('more than once')")
        assert groups(page) == [["R-9"], ["R-1"], ["R-2"]]
        assert page.evaluate("() => document.activeElement.id") == "scan"
        press_to(page, "Sign and save")
        page.keyboard.press("Enter")
        page.wait_for_selector("#nameless")
        page.keyboard.press("Shift+Tab")
        page.keyboard.type("Thabo")
        press_to(page, "Sign and save")
        page.keyboard.press("Enter")
        page.wait_for_selector("[role=status]")
        records = [path.read_bytes() for path in driver.folder.rglob("relay.db*")]
        assert records
        assert not any(b"R-9" in data for data in records)
    with field.serving():
        driver.must("run", "--once")
        driver.must("run", "--once")
    (found,) = dbsync(field.folder / "server", "lists", "--json").json["lists"]
    assert (found["by"], found["checked_by"], found["table"], found["column"]) == ("other", "Thabo", "site", "code")
    assert (found["both"], found["missing_from_data"], found["missing_from_box"]) == (["R-2"], ["R-9"], ["R-1"])
    shown = dbsync(field.folder / "server", "lists", found["id"][:8]).out
    assert "1 missing from the data:\n  R-9\n" in shown


def test_a_research_assistant_checks_her_own_laptop(field: Field, browser: Browser) -> None:
    laptop = field.laptops[0]
    laptop.insert("R-1", "R-2")
    subject = "INSERT INTO subject (identifier, site_id) SELECT 'S-1', id FROM site WHERE code = 'R-1'"
    laptop.source.sql(subject)
    with inspecting(laptop.folder, "inspect") as address:
        page = shown_to(browser, address)
        assert page.locator("article").count() == 3
        assert "site_id.code\nR-1" in page.locator("article", has_text="subject").inner_text()
        page.goto(address.partition("?")[0] + "?table=subject&text=s-1")
        assert page.locator("article").count() == 1
        page.goto(address.partition("?")[0] + "reconcile?table=site&column=code")
        page.wait_for_selector("#scan:focus")
        page.keyboard.type("R-1")
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelector('.sum').innerText.startsWith('1 in both')")
        assert groups(page) == [[], ["R-2"], ["R-1"]]
        press_to(page, "Checked by")
        page.keyboard.type("Naledi")
        press_to(page, "Sign and save")
        page.keyboard.press("Enter")
        page.wait_for_selector("[role=status]")
        assert "waits" in dbsync(laptop.folder, "lists").out
        scriptless = browser.new_context(java_script_enabled=False, storage_state=page.context.storage_state())
        plain = scriptless.new_page()
        plain.goto(address.partition("?")[0] + "reconcile?table=site&column=code")
        plain.wait_for_selector("#scan:focus")
        plain.keyboard.type("R-2")
        plain.keyboard.press("Enter")
        plain.wait_for_url("**/reconcile")
        assert groups(plain) == [[], ["R-1"], ["R-2"]]
    with field.serving():
        assert laptop.run().code == 0
    assert "sent" in dbsync(laptop.folder, "lists").out
    there = dbsync(field.folder / "server", "lists")
    assert ("Naledi" in there.out, "came here" in there.out) == (True, True), there.err


def test_the_driver_sees_what_the_laptop_shows(field: Field) -> None:
    laptop = field.laptops[0]
    driver = Relay(field.folder, "other")
    laptop.goes_to(driver, "trusted = true")
    laptop.source.script(
        """
        INSERT INTO site (code, name) VALUES ('a', ''), ('{"b",NULL}', NULL), (E'c\\n\\\\', 'é\U0001f600');
        INSERT INTO subject (identifier, site_id) SELECT 'S-1', id FROM site WHERE code = 'a';
        INSERT INTO visit (subject_id, code, note) SELECT id, '1000', repeat('x', 5000) FROM subject;
        INSERT INTO crf (visit_id, answer) SELECT id, 'yes' FROM visit;
        INSERT INTO note (text, subject_id) SELECT 'seen', id FROM subject;
        INSERT INTO remark (note_id, line, text) SELECT id, 1, 'so' FROM note;
        INSERT INTO country VALUES ('NL', 'Netherlands');
        """
    )
    laptop.source.sql("UPDATE subject SET initials = 'AB', site_id = NULL")
    laptop.source.sql("DELETE FROM crf")
    here = Here(config=load(laptop.folder / "dbsync.toml", os.environ))
    shown = list(here.changes(Wanted()))
    assert {"insert", "update", "delete"} == {change.kind for change in shown}
    assert [len(list(here.changes(Wanted(text=text)))) for text in ("s-1", "no such", "Netherl")] == [6, 0, 1]
    assert list(here.changes(Wanted(since=shown[-1].at))) == shown[-1:]
    assert list(here.changes(Wanted(node="field-02"))) == []
    assert list(here.changes(Wanted(page=1))) == []
    with driver.open():
        laptop.run()
    with opened(load_relay(driver.folder / "relay.toml")) as relay:
        carried = Carried(relay=relay)
        assert list(carried.changes(Wanted())) == shown
        assert carried.heap().piles == here.heap().piles


def test_a_bundle_that_was_changed_is_told_from_one_that_is_sealed(field: Field) -> None:
    driver = visited(field)
    with opened(load_relay(driver.folder / "relay.toml")) as relay:
        carried = Carried(relay=relay)
        assert [sealed.why for sealed in carried.heap().sealed] == ["sealed for the upstream alone"]
        path = relay.spool.path(relay.records.held("field-01")[0].name)
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        changed, sealed = carried.heap().sealed
        assert (changed.node, "it was changed" in changed.why) == ("field-01", True)
        assert (sealed.node, sealed.why) == ("field-02", "sealed for the upstream alone")


def test_what_has_its_receipt_is_not_pending(field: Field) -> None:
    laptop = field.laptops[0]
    here = Here(config=load(laptop.folder / "dbsync.toml", os.environ))
    laptop.insert("a", "b")
    with field.serving():
        laptop.run()
    laptop.insert("c")
    assert [leaf.value for change in here.changes(Wanted()) for leaf in change.key] == ["c"]
    assert [pile.changes for pile in here.heap().piles] == [1]
