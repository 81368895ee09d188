"""On to the upstream: bundles in the order of their numbers, and receipts back for whoever sent them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import structlog

from dbsync.config.models import RelayConfig
from dbsync.errors import DbsyncError, NotAdmitted, Unreachable
from dbsync.identity.keys import Keys, Signed
from dbsync.relay.records import Held, Records
from dbsync.relay.spool import Spool
from dbsync.transport.carry import Carry
from dbsync.transport.exchange import Exchange
from dbsync.transport.line import Line

PATIENCE = 20.0
"""Seconds in which another visit may come to an end."""
SILENCE = 30.0
"""Seconds in which something has to come over a line."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What a visit to the upstream came to."""

    bundles: int
    troubled: int
    """Bundles that the upstream did not take, or the spool did not give back; they stay, with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Brings what is in custody to the upstream."""

    config: RelayConfig
    keys: Keys
    records: Records
    spool: Spool

    def visit(self) -> Delivered:
        """Bring all that is in custody, and fetch everybody's receipts. Raises Unreachable without a route."""
        done = troubled = 0
        with self.records.visit(PATIENCE), self._line() as carry:
            for _, bundles in groupby(self.records.held(), key=lambda held: (held.name.node, held.name.life)):
                for held in bundles:
                    if not self._bring(carry, held):
                        troubled += 1
                        break  # those behind it have to wait for it
                    done += 1
            for node in self.records.nodes():
                self._keep(node.name, carry.receipts(node.name))
        return Delivered(bundles=done, troubled=troubled)

    def _bring(self, carry: Carry, held: Held) -> bool:
        name = held.name
        try:
            with self.spool.reading(name) as (path, signature):
                paper = carry.bring(path, signature)
        except DbsyncError as error:
            if error.try_again:
                raise
            log.warning("bundle_refused", node=name.node, bundle=name.file(), reason=str(error))
            self.records.troubled(name, str(error))
            return False
        self._keep(name.node, paper)
        self.spool.delivered(name)
        log.info("bundle_delivered", node=name.node, bundle=name.file())
        return True

    def _keep(self, node: str, paper: Signed | None) -> None:
        if paper is not None:
            self.records.keep_receipts(node, paper)

    @contextmanager
    def _line(self) -> Iterator[Carry]:
        upstream, known = self.config.upstream, self.records.upstream()
        if upstream is None:
            raise Unreachable("this relay has no upstream yet", where="relay", hint="dbsync relay enrol URL CODE")
        if known is None or known.keys is None:
            raise NotAdmitted(
                "this relay was never enrolled with its upstream",
                where=upstream.url,
                why="neither knows the other's keys",
                hint=f"dbsync relay enrol {upstream.url} CODE   (the code: dbsync nodes invite {self.config.relay.name} --relay)",
            )
        with Line(upstream.url, silence=SILENCE, ca=Path(upstream.ca) if upstream.ca else None) as line:
            yield Carry(exchange=Exchange(line=line, keys=self.keys, theirs=known.keys))
