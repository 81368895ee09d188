"""Files that the pages are shown with: their address has a digest of them in it, so that a browser keeps them until they change."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from starlette.routing import Route

from dbsync.dashboard.gate import Gate
from dbsync.pages.guards import FOR_GOOD, asset

FILES = (
    ("dbsync.pages", "templates/style.css", "text/css"),
    ("dbsync.dashboard", "static/dashboard.css", "text/css"),
    ("dbsync.dashboard", "static/htmx.min.js", "text/javascript"),
    ("dbsync.dashboard", "static/htmx-ext-sse.js", "text/javascript"),
    ("dbsync.dashboard", "static/live.js", "text/javascript"),
)


@cache
def digest() -> str:
    """Give what stands in the address of all of them."""
    found = hashlib.sha256()
    for package, path, _ in FILES:
        found.update(files(package).joinpath(*path.split("/")).read_bytes())
    return found.hexdigest()[:16]


def routes(gate: Gate) -> Iterator[Route]:
    """Give them to anybody: the page for logging in has them too."""
    for package, path, kind in FILES:
        name = path.rpartition("/")[2]
        yield Route(f"/static/{digest()}/{name}", gate.open(asset(package, path, kind, keep=FOR_GOOD)), methods=["GET"])
