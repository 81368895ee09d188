"""The dashboard in a real browser: by keyboard, on a phone, in the dark, live, and without scripts."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page

from dbsync.config.load import load
from dbsync.dashboard import users
from dbsync.dashboard.users import Role
from tests.docs import pictures
from tests.support.browsing import NEEDED, chromium, page_of, press_to
from tests.support.databases import MIXTURE, Databases, EmptyPair
from tests.support.seeded import Seeded, seeded
from tests.support.served import free_port
from tests.support.servers import Servers
from tests.support.service import ServiceProcess

pytestmark = NEEDED

PASSWORD = "correct horse battery"
PAGES = (
    "/",
    "/nodes",
    "/nodes/field-07",
    "/tables",
    "/batches",
    "/quarantine",
    "/conflicts",
    "/lists",
    "/log",
    "/about",
)
DESK = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A server with its pages."""

    found: Seeded
    process: ServiceProcess
    url: str
    browser: Browser

    @contextmanager
    def context(self, *, phone: bool = False, dark: bool = False, scripts: bool = True) -> Iterator[BrowserContext]:
        """Give somebody's browser."""
        context = self.browser.new_context(
            viewport=PHONE if phone else DESK,  # type: ignore[arg-type]  # a TypedDict of the same form
            color_scheme="dark" if dark else "light",
            java_script_enabled=scripts,
        )
        context.set_default_timeout(20_000)
        yield context
        context.close()

    @contextmanager
    def entered(self, **how: bool) -> Iterator[Page]:
        """Log in."""
        with self.context(**how) as context:
            page = page_of(context)
            page.on("console", lambda said: pytest.fail(said.text) if "Refused" in said.text else None)
            page.goto(f"{self.url}/login")
            page.get_by_label("Name").fill("anna")
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Log in").click()
            page.wait_for_url(f"{self.url}/")
            yield page

    def cases(self, page: Page) -> list[str]:
        """List the addresses of cases, conflicts and lists."""
        found = []
        for path in ("/quarantine", "/conflicts", "/lists"):
            page.goto(f"{self.url}{path}")
            found.append(page.locator("tbody a").first.get_attribute("href") or "")
        return found


@pytest.fixture(scope="module")
def ground(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Serve a server's pages, the same for all journeys."""
    databases, folder, port = Databases(servers), tmp_path_factory.mktemp("server"), free_port()
    try:
        with seeded(databases, EmptyPair(databases, MIXTURE)) as found, chromium() as browser:
            found.write(folder, f'listen = "127.0.0.1:{port}"\nallow_actions = true\nshow_values = true')
            users.add(load(folder / "dbsync.toml", os.environ), "anna", PASSWORD, role=Role.OPERATOR, sees_values=True)
            with ServiceProcess(folder, command=("web",)) as process:
                process.wait_for("serving")
                yield Ground(found=found, process=process, url=f"http://127.0.0.1:{port}", browser=browser)
    finally:
        databases.drop_all()


def test_the_pictures_of_the_manual_are_of_the_pages_as_they_are(ground: Ground, tmp_path: Path) -> None:
    """Takes each as ``make pictures`` does, and compares sizes: fonts are others elsewhere, times and ages each day."""
    with pictures.serving(ground.found, tmp_path / "laptop", laptop=True) as laptop:
        pictures.take_all(ground.browser, ground.url, laptop, tmp_path)
    for picture in pictures.PICTURES:
        (width, height), kept = (_size(folder / picture.file) for folder in (tmp_path, pictures.FOLDER))
        assert width == kept[0], picture.file
        assert abs(height - kept[1]) < kept[1] / 8, f"{picture.file}: make pictures"


def _size(picture: Path) -> tuple[int, int]:
    """Give the width and height of a PNG, which stand in its first chunk."""
    width, height = struct.unpack(">II", picture.read_bytes()[16:24])
    return width, height


def test_a_person_without_a_mouse_finds_what_waits(ground: Ground) -> None:
    with ground.context() as context:
        page = page_of(context)
        page.goto(f"{ground.url}/quarantine")
        page.wait_for_url(f"{ground.url}/login?next=/quarantine")
        page.wait_for_function("() => document.activeElement instanceof HTMLInputElement")
        page.keyboard.type("anna")  # the first field has the focus
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{ground.url}/quarantine")
        page.keyboard.press("Tab")
        assert page.evaluate("() => document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        case = page.locator("tbody a").first
        for _ in range(20):
            page.keyboard.press("Tab")
            if case.evaluate("link => link === document.activeElement"):
                break
        page.keyboard.press("Enter")
        page.wait_for_selector("h1:has-text('Row 5')")
        assert "there is no clinic_visit" in page.inner_text("main")
        press_to(page, "Conflicts")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{ground.url}/conflicts")
        press_to(page, "Log out")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{ground.url}/login")
        page.goto(f"{ground.url}/conflicts")
        page.wait_for_url(f"{ground.url}/login?next=/conflicts")


@pytest.mark.parametrize(("phone", "dark"), [(False, False), (True, True)], ids=["desk, light", "phone, dark"])
def test_no_page_keeps_anybody_out(ground: Ground, phone: bool, dark: bool) -> None:
    """What axe-core finds, and whether all of a page fits the screen."""
    with ground.entered(phone=phone, dark=dark) as page:
        for path in (*PAGES, *ground.cases(page), "/quarantine/999999"):
            page.goto(f"{ground.url}{path}")
            for details in page.locator("summary").all():
                details.click()
            found = Axe().run(page)
            assert not found.violations_count, f"{path}: {found.generate_report()}"
            wide = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"{path} is {wide} pixels too wide"
    with ground.context(phone=phone, dark=dark) as context:
        page = page_of(context)
        page.goto(f"{ground.url}/login")
        assert not Axe().run(page).violations_count


def test_a_number_changes_while_somebody_looks_and_the_focus_stays(ground: Ground) -> None:
    server = ground.found.server
    with ground.entered() as page:
        page.evaluate("() => { window.marked = true; }")
        page.wait_for_selector("#stale", state="attached")
        waiting = server.value("SELECT count(*) FROM dbsync.quarantine WHERE state = 'waiting' AND behind IS NULL")
        assert str(waiting) in page.inner_text("#health")
        page.locator("#node-field-07").focus()
        (case,) = server.sql("SELECT min(id) FROM dbsync.quarantine WHERE conflict = 'reference_missing'")
        server.sql("UPDATE dbsync.quarantine SET state = 'released' WHERE id = %s", case)
        try:
            fewer = f"includes('{waiting - 1}')" if waiting > 1 else "includes('nothing waits')"
            page.wait_for_function(f"() => document.querySelector('#health').innerText.{fewer}")
            row = page.locator("tr", has=page.locator("#node-field-07"))
            assert row.locator("td").last.inner_text().split()[0] == str(waiting - 1)
            assert page.evaluate("() => window.marked") is True
            assert page.evaluate("() => document.activeElement.id") == "node-field-07"
        finally:
            server.sql("UPDATE dbsync.quarantine SET state = 'waiting' WHERE id = %s", case)


def test_without_scripts_everything_is_there_as_well(ground: Ground) -> None:
    with ground.entered(scripts=False) as page:
        page.get_by_role("link", name="Quarantine").click()
        page.get_by_label("State").select_option("all")
        page.get_by_label("Conflict").select_option("check_violation")
        page.get_by_role("button", name="Show").click()
        page.wait_for_url("**conflict=check_violation**")
        assert page.locator("tbody tr").count() == 1
        page.locator("tbody a").click()
        page.get_by_role("link", name="Show the values of this row").click()
        assert "hush-hush" in page.inner_text("table.sides")
        page.get_by_role("link", name="Log", exact=True).click()
        assert "--show-values --here" in page.inner_text("tbody tr >> nth=0")


def test_a_case_is_retried_from_its_page_by_keyboard_and_is_in_the_log(ground: Ground) -> None:
    server = ground.found.server
    number = server.value("SELECT id FROM dbsync.quarantine WHERE conflict = 'check_violation' AND behind IS NULL")
    server.sql("ALTER TABLE clinic_subject DROP CONSTRAINT IF EXISTS grown_up")
    with ground.entered() as page:
        page.goto(f"{ground.url}/quarantine/{number}")
        press_to(page, "Try again")
        page.keyboard.press("Enter")
        page.wait_for_url("**?done=*")
        assert "3 changes applied, 0 changes still waiting." in page.inner_text(".done")
        assert "State released" in " ".join(page.inner_text("dl.facts").split())
        press_to(page, "Log")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{ground.url}/log")
        row = page.locator("tbody tr").first.inner_text()
        assert f"dbsync quarantine retry {number} --here" in row
        assert "3 changes applied, 0 changes still waiting" in row
        found = Axe().run(page)
        assert not found.violations_count, found.generate_report()
    assert server.value("SELECT count(*) FROM clinic_visit v JOIN clinic_subject s ON s.id = v.subject_id"
                        " WHERE s.subject_identifier = '092-40990141-5'") == 1  # fmt: skip
