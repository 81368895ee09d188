"""What can be told of the https route before it is used: whether a dbsync answers there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dbsync.check.finding import error, ok
from dbsync.config.models import Config
from dbsync.identity.messages import Request
from dbsync.model.findings import Finding
from dbsync.transport.answers import members
from dbsync.transport.line import Line

_PATIENCE = 15.0


def of_https(config: Config) -> Iterator[Finding]:
    """Ask the server whether it is one."""
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
