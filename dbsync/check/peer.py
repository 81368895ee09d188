"""What an upstream tells a node about itself, over a line: whether it still takes its changes, its version, its clock."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from dbsync import __version__, certificates
from dbsync.check.certificates import of_end
from dbsync.check.finding import error, ok, warning
from dbsync.check.namesake import another_name
from dbsync.config.limits import CheckConfig
from dbsync.errors import Interrupted, NotAdmitted, OtherVersion
from dbsync.identity.registry import readmission
from dbsync.model.findings import Finding
from dbsync.transport.exchange import Exchange, moment

_RELEASE = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


def of_peer(exchange: Exchange, limits: CheckConfig, *, name: str, lineage: UUID | None) -> Iterator[Finding]:
    """Ask the upstream about itself and about this node, which it knows by its key.

    ``lineage`` is the node's own database; None for a relay, which brings none. Raises Unreachable without a route.
    """
    try:
        said = exchange.ask("GET", "/v1/about")
    except NotAdmitted as refused:
        yield _refused(refused, name)
        return
    except OtherVersion:
        what = f"the upstream's dbsync is older than this one ({__version__}), and cannot say of which version it is"
        yield warning("version_old", "upstream", what, "upgrade dbsync on the upstream's server first, then on nodes")
        said = {}
    yield from _of_version(said)
    if lineage is not None and said.get("lineage") not in (None, str(lineage)):
        what = f"the upstream takes changes under the name {name} from another database"
        yield error("node_name_taken", "upstream", what, another_name(name))
    until = certificates.known().get(urlsplit(exchange.line.url).netloc)
    if until is not None:
        yield from of_end(until, "the server's certificate", "upstream", limits)


def clock(exchange: Exchange) -> datetime:
    """Ask the upstream for the time."""
    there = moment(exchange.ask("GET", "/v1/time").get("now"))
    if there is None:
        raise Interrupted("the upstream does not tell the time", where=exchange.line.url)
    return there


def _refused(refused: NotAdmitted, name: str) -> Finding:
    why = f": {refused.why}" if refused.why else ""
    if refused.revoked:
        return error("key_revoked", "upstream", f"the upstream has revoked {name}{why}", readmission(name))
    remedy = f"at the upstream: dbsync nodes invite {name}   then here: dbsync enrol URL CODE"
    return error("key_unknown", "upstream", f"the upstream does not know the key of {name}{why}", remedy)


def _of_version(said: Mapping[str, Any]) -> Iterator[Finding]:
    theirs, ours = _release(said.get("program")), _release(__version__)
    if theirs is None or ours is None:
        return
    if theirs < ours:
        what = f"the upstream's dbsync is older: {_shown(theirs)}, and {_shown(ours)} here"
        yield warning("version_old", "upstream", what, "upgrade dbsync on the upstream's server first, then on nodes")
    elif theirs > ours:
        yield ok(
            "version_newer", "upstream", f"the upstream's dbsync is newer: {_shown(theirs)}, and {_shown(ours)} here"
        )


def _release(version: object) -> tuple[int, ...] | None:
    """Read the release of a version, whatever comes behind it.

    >>> _release("0.2.0.dev3+g1a2b3c"), _release("1.4"), _release(None)
    ((0, 2, 0), (1, 4, 0), None)
    """
    found = _RELEASE.match(version) if isinstance(version, str) else None
    return None if found is None else tuple(int(part or 0) for part in found.groups())


def _shown(release: tuple[int, ...]) -> str:
    return ".".join(map(str, release))
