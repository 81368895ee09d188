"""All routes. Another one has a driver of its own and a place in this list, and every test of ``test_routes.py`` is for it too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from tests.conformance.brokers import ByNats
from tests.conformance.carriages import ByPull, ByRelay, ByStick
from tests.conformance.lines import ByDirect, ByHttps, OnLine
from tests.conformance.route import NODE, Driver
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.support.databases import Databases, Pair
from tests.support.pipeline import piped

D = TypeVar("D", bound=Driver)
LINES: dict[str, type[OnLine]] = {"direct": ByDirect, "https": ByHttps}
ROUTES: dict[str, type[Driver]] = {**LINES, "stick": ByStick, "relay": ByRelay, "pulling relay": ByPull, "nats": ByNats}


@pytest.fixture(params=ROUTES)
def route(request: pytest.FixtureRequest, databases: Databases, pair: Pair, tmp_path: Path) -> Iterator[Driver]:
    """Give a laptop, its upstream, and each route between them."""
    with _driven(ROUTES[request.param], databases, pair, tmp_path) as driver:
        yield driver


@pytest.fixture(params=LINES)
def line(request: pytest.FixtureRequest, databases: Databases, pair: Pair, tmp_path: Path) -> Iterator[OnLine]:
    """Give each that is a line."""
    with _driven(LINES[request.param], databases, pair, tmp_path) as driver:
        yield driver


@contextmanager
def _driven(made: type[D], databases: Databases, pair: Pair, folder: Path) -> Iterator[D]:
    with piped(databases, pair, SCHEMA, TABLES, node=NODE) as line, ExitStack() as stack:
        yield made(folder, Pair(source=line.source, upstream=line.upstream), stack)
