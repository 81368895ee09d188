"""What can be told of an upstream whose database is not seen from here: what it says of itself, and what is in between."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

from dbsync.bundle.files import refuse_link
from dbsync.check.certificates import of_file
from dbsync.check.finding import error, ok
from dbsync.check.side import Session
from dbsync.config.models import Config, UpstreamConfig
from dbsync.identity.keys import Keys
from dbsync.identity.messages import Request
from dbsync.identity.registry import ever_pinned
from dbsync.model.findings import Finding
from dbsync.postgres import translated
from dbsync.transport.answers import members
from dbsync.transport.line import Line
from dbsync.transport.trust import Trust

_PATIENCE = 15.0


def of_keys(config: Config) -> Iterator[Finding]:
    """Look at this node's own keys, and at the authorities it believes. Raises ConfigError where they cannot be used."""
    Keys.load(Path(config.node.keys))
    yield from of_file(config.upstream.ca, "[upstream] ca", config.check)


def of_enrolment(source: Session, config: Config) -> Iterator[Finding]:
    """Say whether this node knows its upstream's keys."""
    label = config.upstream.label
    with translated("source"):
        known = ever_pinned(source, label)
    if known is None or known.revoked_at is not None:
        remedy = f"dbsync enrol URL CODE   (the code, at the upstream: dbsync nodes invite {config.node.name})"
        what = f"this node is not enrolled with {label}" if known is None else f"{label} was revoked here"
        yield error("not_enrolled", "upstream", what, remedy)
    else:
        yield ok("enrolled", "upstream", f"this node is enrolled with {label}")


def of_answer(upstream: UpstreamConfig) -> Iterator[Finding]:
    """Ask whether a dbsync answers at the upstream's address, as anybody may. Raises Unreachable."""
    with Line(upstream.url, silence=_PATIENCE, trust=Trust(ca=upstream.ca)) as line:
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


def of_stick(config: Config) -> Iterator[Finding]:
    """Say whether the stick is in, and whether there is room on it; that it is not in is no fault."""
    folder = config.upstream.folder
    if _leads_elsewhere(folder):
        yield error(
            "stick_link", "upstream", f"{folder} is behind a symbolic link", "name the folder on the stick itself"
        )
    elif folder.is_dir():
        yield ok("stick_in", "upstream", f"the stick is in: {folder}")
    else:
        yield ok("stick_away", "upstream", f"no stick is in: {folder} is not there")


def _leads_elsewhere(folder: Path) -> bool:
    try:
        refuse_link(folder)
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def unseen_from_here() -> Finding:
    """Say what only a check on the upstream's own server can see."""
    return ok(
        "upstream_elsewhere",
        "upstream",
        "not looked at: its keys, rights, lookups, quarantine and server   (there: dbsync check --here)",
    )
