"""What can be told of the https route before it is used: keys, enrolment, and whether a dbsync answers there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg

from dbsync.check.finding import error, of_failure, ok, warning
from dbsync.config.models import Config
from dbsync.errors import DbsyncError
from dbsync.identity.keys import Keys
from dbsync.identity.messages import Request
from dbsync.identity.registry import pinned
from dbsync.model.findings import Finding
from dbsync.postgres import translated
from dbsync.transport.answers import members
from dbsync.transport.line import Line

_PATIENCE = 15.0


def of_https(config: Config, source: psycopg.Connection | DbsyncError) -> Iterator[Finding]:
    """Look at this node's keys, at whom it is enrolled with, and at the server."""
    try:
        Keys.load(Path(config.node.keys))
        yield from _enrolled(config, source)
        yield from _answering(config)
    except DbsyncError as failure:
        yield of_failure(failure, "upstream")
    yield warning(
        "upstream_elsewhere",
        "upstream",
        "its tables, keys and rights cannot be seen from here",
        "dbsync check, on the upstream's server",
    )


def _enrolled(config: Config, source: psycopg.Connection | DbsyncError) -> Iterator[Finding]:
    if isinstance(source, DbsyncError):
        return
    label = config.upstream.label
    with translated("source"):
        known = pinned(source, label)
    if known is None:
        yield error("not_enrolled", "upstream", f"this node is not enrolled with {label}", "dbsync enrol URL CODE")
    else:
        yield ok("enrolled", "upstream", f"this node is enrolled with {label}")


def _answering(config: Config) -> Iterator[Finding]:
    upstream = config.upstream
    with Line(upstream.url, silence=_PATIENCE, ca=Path(upstream.ca) if upstream.ca else None) as line:
        came = line.send(Request(method="GET", url=f"{line.url}/v1/health"), b"")
    if members(came.body).get("version") == 1:
        yield ok("upstream_answers", "upstream", "a dbsync answers there")
    else:
        yield error(
            "upstream_other",
            "upstream",
            f"no dbsync of this version answers there (status {came.answer.status_code})",
            "look at upstream.url; is this a network with a login page? open a browser and log in to it",
        )
