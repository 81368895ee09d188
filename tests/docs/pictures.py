"""The pictures of the dashboard in the manual: ``make pictures`` takes them anew, of real pages in chromium."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Page

from dbsync.config.load import load
from dbsync.dashboard import users
from dbsync.dashboard.users import Role
from tests.support.browsing import chromium
from tests.support.databases import MIXTURE, Databases, EmptyPair
from tests.support.seeded import Seeded, seeded
from tests.support.served import free_port
from tests.support.servers import Servers
from tests.support.service import ServiceProcess

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
DESK, PHONE = (1200, 760), (390, 780)
PASSWORD = "correct horse battery"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One of them."""

    name: str
    path: str
    laptop: bool = False
    """Of the laptop's pages; else of the server's."""
    dark: bool = False
    phone: bool = False

    @property
    def file(self) -> str:
        """Give the file's name."""
        return f"dashboard-{self.name}.png"


PICTURES = (
    Picture(name="overview", path="/"),
    Picture(name="overview-dark", path="/", dark=True),
    Picture(name="nodes", path="/nodes"),
    Picture(name="case", path="/quarantine/2"),
    Picture(name="conflict", path="/conflicts/1?values=1"),
    Picture(name="laptop", path="/", laptop=True),
    Picture(name="phone", path="/quarantine", phone=True),
    Picture(name="phone-dark", path="/", phone=True, dark=True, laptop=True),
)


@contextmanager
def serving(found: Seeded, folder: Path, *, laptop: bool) -> Iterator[str]:
    """Serve the pages of the server, or of the laptop, to one operator who sees values."""
    port = free_port()
    web = f'listen = "127.0.0.1:{port}"\nallow_actions = true\nshow_values = true'
    (found.write_laptop if laptop else found.write)(folder, web)
    users.add(load(folder / "dbsync.toml", os.environ), "anna", PASSWORD, role=Role.OPERATOR, sees_values=True)
    with ServiceProcess(folder, command=("web",)) as process:
        process.wait_for("serving")
        yield f"http://127.0.0.1:{port}"


@contextmanager
def entered(browser: Browser, url: str) -> Iterator[Page]:
    """Log in; give the page that all pictures of a place are taken of."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{url}/login")
    page.get_by_label("Name").fill("anna")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{url}/")
    yield page
    context.close()


def take(page: Page, url: str, picture: Picture, folder: Path) -> None:
    """Take one, as it is on such a screen."""
    width, height = PHONE if picture.phone else DESK
    page.set_viewport_size({"width": width, "height": height})
    page.emulate_media(color_scheme="dark" if picture.dark else "light")
    answered = page.goto(f"{url}{picture.path}")
    assert answered is not None, picture.path
    assert answered.ok, f"{picture.path}: {answered.status}"
    page.screenshot(path=folder / picture.file, full_page=True)


def take_all(browser: Browser, server: str, laptop: str, folder: Path) -> None:
    """Take those of the server and those of the laptop."""
    for url in (server, laptop):
        with entered(browser, url) as page:
            for picture in PICTURES:
                if picture.laptop == (url == laptop):
                    take(page, url, picture, folder)


def main() -> None:
    """Take all of them."""
    FOLDER.mkdir(exist_ok=True)
    with TemporaryDirectory() as temporary, Servers() as servers, chromium() as browser:
        databases = Databases(servers)
        with (
            seeded(databases, EmptyPair(databases, MIXTURE), value="CD") as found,
            serving(found, Path(temporary) / "server", laptop=False) as server,
            serving(found, Path(temporary) / "laptop", laptop=True) as laptop,
        ):
            take_all(browser, server, laptop, FOLDER)
        databases.drop_all()


if __name__ == "__main__":
    main()
