"""Which transport a configuration asks for, opened and closed again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import psycopg

from dbsync import schema
from dbsync.apply.applier import Applier
from dbsync.config.fields import Route
from dbsync.config.models import Config
from dbsync.errors import NotAdmitted, UsageError
from dbsync.postgres import connect, let_server_notice, translated
from dbsync.service.node import Node, keep_apart
from dbsync.transport.base import Transport
from dbsync.transport.direct import Direct

if TYPE_CHECKING:
    from dbsync.identity.keys import PublicKeys
    from dbsync.transport.exchange import Exchange
    from dbsync.transport.https import Https


@contextmanager
def transport(config: Config, node: Node, source: psycopg.Connection) -> Iterator[Transport]:
    """Open the route to the configured upstream. Raises Unreachable without one, NotAdmitted before it was enrolled with."""
    match config.upstream.route:
        case Route.DIRECT:
            with _direct(config, node, source) as found:
                yield found
        case Route.HTTPS:
            with https(config, source) as (found, _):
                yield found
        case Route.FILE:
            raise UsageError("a stick is no line", where=config.upstream.url, hint="dbsync bundle export DIR")
        case Route.NATS:
            raise UsageError("a broker is no line", where=config.upstream.url, why="it knows nothing of the upstream")
        case never:
            assert_never(never)


@contextmanager
def _direct(config: Config, node: Node, source: psycopg.Connection) -> Iterator[Transport]:
    silence = config.service.silence
    application = f"dbsync {node.name}"
    with connect(
        config.upstream.database, name="upstream", application=application, silence=silence, pooled=True
    ) as upstream:
        schema.require(upstream, "upstream")
        with translated("upstream"):
            keep_apart(source, upstream)
            applier = Applier(upstream, config.policies)
            let_server_notice(upstream, silence)
        yield Direct(applier)


@contextmanager
def https(config: Config, source: psycopg.Connection) -> Iterator[tuple[Https, PublicKeys]]:
    """Open the https route, and give the keys that are pinned for it."""
    from dbsync.transport.https import Https  # noqa: PLC0415 - HTTP takes long to import, and other routes need none

    with exchange(config, source) as found:
        yield Https(found), found.theirs


@contextmanager
def exchange(config: Config, source: psycopg.Connection) -> Iterator[Exchange]:
    """Open a line to the upstream that this node was enrolled with."""
    from dbsync.identity.keys import Keys  # noqa: PLC0415 - see https
    from dbsync.identity.registry import pinned  # noqa: PLC0415
    from dbsync.transport.exchange import Exchange  # noqa: PLC0415
    from dbsync.transport.line import Line  # noqa: PLC0415
    from dbsync.transport.trust import Trust  # noqa: PLC0415

    upstream = config.upstream
    with translated("source"):
        peer = pinned(source, upstream.label)
    if peer is None or peer.keys is None:
        raise NotAdmitted(
            f"this node was never enrolled with {upstream.label}",
            where=upstream.url,
            why="it does not know the upstream's keys, nor the upstream its own",
            hint=f"dbsync enrol {upstream.url} CODE   (the code: dbsync nodes invite {config.node.name}, over there)",
        )
    keys = Keys.load(Path(config.node.keys))
    with Line(upstream.url, silence=config.service.silence, trust=Trust(ca=upstream.ca)) as line:
        yield Exchange(line=line, keys=keys, theirs=peer.keys)
