"""Checking an upstream that is reached by messages, or by stick: its database is not seen, but it tells some things itself."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import orjson

from dbsync.check import elsewhere, peer
from dbsync.check.clock import of_clocks
from dbsync.check.compare import from_afar
from dbsync.check.finding import of_failure
from dbsync.check.log import Known, links, of_last_clock
from dbsync.check.preflight import Seen
from dbsync.check.side import Session
from dbsync.config.fields import Route
from dbsync.config.models import Config
from dbsync.errors import DbsyncError
from dbsync.identity.keys import Keys
from dbsync.model.findings import Finding, is_fine
from dbsync.model.registration import Registry
from dbsync.service.extras import require_nats
from dbsync.service.past import of_past
from dbsync.service.routes import exchange
from dbsync.transport.exchange import Exchange
from dbsync.transport.https import Https
from dbsync.verify.distant import Distant


def of_afar(config: Config, seen: Seen) -> Iterator[Finding]:
    """Find what is wrong with the way to the upstream, and what that says of itself and of this node."""
    source = seen.here.session
    try:
        yield from elsewhere.of_keys(config)
        asking = None
        if source is not None and seen.known is not None:
            enrolled = list(elsewhere.of_enrolment(source, config))
            yield from enrolled
            asking = source if is_fine(enrolled) else None
        if config.upstream.route is Route.FILE:
            yield from elsewhere.of_stick(config)
        elif config.upstream.route is Route.NATS:
            _meet_broker(config)
        else:
            yield from _over_https(config, asking, seen.known, seen.registry)
            return
    except DbsyncError as failure:
        yield of_failure(failure, "upstream")
    if source is not None and seen.known is not None:
        yield from of_last_clock(links(source), config)
    yield elsewhere.unseen_from_here()


def _meet_broker(config: Config) -> None:
    """Find out that a broker lets this node in and tells it of its own. Raises what is in the way."""
    require_nats()
    from dbsync.transport import broker  # noqa: PLC0415 - few nodes have one
    from dbsync.transport.subjects import Subjects  # noqa: PLC0415

    upstream, name = config.upstream, config.node.name
    keys = Keys.load(Path(config.node.keys))
    with broker.opened(upstream.url, keys, node=name, ca=upstream.ca, silence=config.service.silence) as there:
        subjects = Subjects(upstream.label)
        there.last(subjects.papers_stream, subjects.papers(name))


def _over_https(config: Config, source: Session | None, known: Known | None, registry: Registry) -> Iterator[Finding]:
    """Ask the server itself; one that takes nothing of this node is asked no more."""
    answers = list(elsewhere.of_answer(config.upstream))
    yield from answers
    if source is not None and known is not None and is_fine(answers):
        with exchange(config, source) as line:
            about = list(peer.of_peer(line, config.check, name=known.name, lineage=known.lineage))
            yield from about
            if not {"key_revoked", "key_unknown"} & {finding.code for finding in about}:
                yield from of_clocks(source, partial(peer.clock, line), config.service.clock_limit)
                yield from of_past(source, Https(line), config.upstream.label)
                yield from _of_tables(line, registry)
    yield elsewhere.unseen_from_here()


def _of_tables(line: Exchange, registry: Registry) -> Iterator[Finding]:
    """Ask which tables and columns are there."""
    there = Distant(ask=lambda asks, question: line.ask("POST", f"/v1/verify/{asks}", orjson.dumps(question)))
    view, _ = there.look(registry.tables)
    yield from from_afar(registry, view.catalog)
