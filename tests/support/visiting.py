"""Somebody in a browser of his own before the dashboard's pages, without the browser."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from starlette.testclient import TestClient

from dbsync.config.load import load
from dbsync.dashboard import passwords, users
from dbsync.dashboard.app import Dashboard
from dbsync.dashboard.users import Role
from tests.integration.commands import reachable_as
from tests.support.databases import MIXTURE, Databases, EmptyPair
from tests.support.seeded import Seeded, seeded
from tests.support.servers import Servers

HERE = "http://127.0.0.1:8480"
PASSWORD = "correct horse battery"


@contextmanager
def peopled(servers: Servers, folder: Path) -> Iterator[Seeded]:
    """Give a server and a laptop, and two people who may log in to the server's pages: anna may everything, ben looks."""
    databases = Databases(servers)
    cheap = pytest.MonkeyPatch()
    cheap.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    try:
        with seeded(databases, EmptyPair(databases, MIXTURE)) as found:
            found.write(folder)
            config = load(folder / "dbsync.toml", os.environ)
            users.add(config, "anna", PASSWORD, role=Role.OPERATOR, sees_values=True)
            users.add(config, "ben", PASSWORD, role=Role.VIEWER, sees_values=False)
            yield found
    finally:
        cheap.undo()
        databases.drop_all()


@contextmanager
def pages(ground: Seeded, folder: Path, web: str = "", *, role: str | None = None) -> Iterator[TestClient]:
    """Open the server's pages, as a login of the database if that is said; give somebody who is not logged in."""
    ground.write(folder, web)
    config = load(folder / "dbsync.toml", os.environ)
    if role is not None:
        node = config.node.model_copy(update={"source": reachable_as(config.node.source, role)})
        config = config.model_copy(update={"node": node})
    with Dashboard(config=config, listening=config.web).opened() as app:
        yield TestClient(app, base_url=HERE, follow_redirects=False)


def entered(browser: TestClient, name: str = "anna") -> TestClient:
    """Log in."""
    came = post(browser, "/login", name=name, password=PASSWORD)
    assert (came.status_code, came.headers["location"]) == (303, "/")
    return browser


def post(browser: TestClient, path: str, origin: str | None = HERE, **form: str) -> Any:
    """Send a form as a browser does."""
    return browser.post(path, data=form, headers={} if origin is None else {"origin": origin})


def token(browser: TestClient) -> str:
    """Give what this browser's forms carry."""
    found = re.search(r'name="token" value="([0-9a-f]{64})"', browser.get("/about").text)
    assert found is not None
    return found[1]


def words(html: str) -> str:
    """Give what a page says, without its markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))
