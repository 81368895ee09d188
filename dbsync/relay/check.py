"""What can be told of a driver's laptop: the way to the upstream, what it holds and the room it has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from dbsync.check import elsewhere, peer
from dbsync.check.certificates import of_file
from dbsync.check.disk import of_folder
from dbsync.check.finding import error, of_failure, ok, warning
from dbsync.config.models import RelayConfig
from dbsync.errors import DbsyncError
from dbsync.model.findings import Finding
from dbsync.model.words import ago
from dbsync.relay.middleman import Middleman
from dbsync.relay.records import Held
from dbsync.transport.exchange import Exchange
from dbsync.transport.line import Line
from dbsync.transport.trust import Trust

_PATIENCE = 15.0


def of_relay(relay: Middleman) -> Iterator[Finding]:
    """Find what keeps a relay from taking bundles or from bringing them on; nothing is brought and nothing is changed."""
    config = relay.config
    yield from of_folder(Path(config.relay.spool), "relay", config.check.free_bytes)
    yield from of_file(config.serve.certificate, "[serve] certificate", config.check)
    yield from _of_refused(relay)
    yield from _of_waiting(relay.records.held(), config)
    try:
        yield from _of_upstream(relay)
    except DbsyncError as failure:
        yield of_failure(failure, "upstream")


def _of_refused(relay: Middleman) -> Iterator[Finding]:
    """Find bundles and papers that the upstream did not take."""
    troubles = {one.name.file(): one.trouble for one in relay.records.held()}
    troubles |= {one.name.file(): one.trouble for one in relay.records.papers.all()}
    for file, trouble in troubles.items():
        if trouble:
            remedy = f"dbsync relay drop {file}   (its node keeps every change, and hands over again)"
            yield warning("bundle_refused", "relay", f"{file} was not taken: {trouble}", remedy)


def _of_waiting(held: Sequence[Held], config: RelayConfig) -> Iterator[Finding]:
    """Find bundles that nobody brought to the upstream for long."""
    now = datetime.now(UTC)
    waiting = [(now - one.received_at).total_seconds() for one in held if not one.trouble]
    if waiting and max(waiting) > config.check.silent_seconds:
        what = f"{len(waiting):,} bundles are in custody, the oldest since {ago(max(waiting))}"
        yield warning("bundle_waits", "relay", what, "bring this laptop to a network: dbsync relay run --once")


def _of_upstream(relay: Middleman) -> Iterator[Finding]:
    upstream, known = relay.config.upstream, relay.records.upstream()
    if upstream is None or known is None or known.keys is None:
        what = "this relay is enrolled with no upstream: what it takes stays with it"
        yield error("not_enrolled", "upstream", what, "dbsync relay enrol URL CODE")
        return
    yield ok("enrolled", "upstream", f"this relay is enrolled with {known.name}")
    yield from of_file(upstream.ca, "[upstream] ca", relay.config.check)
    answers = list(elsewhere.of_answer(upstream))
    yield from answers
    if any(finding.code != "upstream_answers" for finding in answers):
        return
    with Line(upstream.url, silence=_PATIENCE, trust=Trust(ca=upstream.ca)) as line:
        exchange = Exchange(line=line, keys=relay.keys, theirs=known.keys)
        yield from peer.of_peer(exchange, relay.config.check, name=relay.config.relay.name, lineage=None)
