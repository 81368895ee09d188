"""On to the upstream: bundles in the order of their numbers, and receipts back for whoever sent them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby

import structlog

from dbsync.bundle.names import Kind, SealedName
from dbsync.config.models import RelayConfig
from dbsync.errors import DbsyncError, Interrupted, NotAdmitted, OtherVersion, Unreachable
from dbsync.identity.keys import Keys, Signed
from dbsync.relay.records import Held, Paper, Records, now
from dbsync.relay.spool import Spool
from dbsync.tally import count_delivered, note_visit
from dbsync.transport.carry import Carry
from dbsync.transport.exchange import Exchange
from dbsync.transport.https import bring_list
from dbsync.transport.line import Line
from dbsync.transport.trust import Trust

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
    """Bundles and papers that the upstream did not take, or the spool did not give back; they stay, with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Brings what is in custody to the upstream."""

    config: RelayConfig
    keys: Keys
    records: Records
    spool: Spool

    def visit(self) -> Delivered:
        """Bring all that is in custody, and fetch everybody's receipts and certificates. Raises Unreachable without a route."""
        done = troubled = 0
        with self.records.visit(PATIENCE), self._line() as carry:
            for (node, _), bundles in groupby(self.records.held(), key=lambda held: (held.name.node, held.name.life)):
                for held in bundles:
                    self._bring_questions(carry, node, before=held)
                    if not self._bring(carry, held):
                        troubled += 1
                        break  # those behind it have to wait for it
                    done += 1
            for identity, sealed in self.records.lists():
                self._bring_list(carry, identity, sealed)
            for node in self.records.nodes():
                self._keep(node.name, Paper.RECEIPTS, carry.receipts(node.name))
                self._keep(node.name, Paper.CERTIFICATE, carry.certificate(node.name))
            for one in self.records.papers.waiting():
                troubled += not self._bring_paper(carry, one.name)
            self._note_visit()
        return Delivered(bundles=done, troubled=troubled)

    def _note_visit(self) -> None:
        upstream = self.records.upstream()
        if upstream is not None:
            self.records.note_seen(upstream.name)
            note_visit(upstream.name, now())

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
        self._keep(name.node, Paper.RECEIPTS, paper)
        self.spool.delivered(name)
        count_delivered()
        log.info("bundle_delivered", node=name.node, bundle=name.file())
        return True

    def _bring_questions(self, carry: Carry, node: str, *, before: Held) -> None:
        """Bring what a node asked before it handed a bundle over: its answer is not to see what that brings, as the question does not."""
        for one in self.records.papers.of(node):
            if one.name.kind is Kind.QUESTION and one.received_at < before.received_at and one.trouble is None:
                self._bring_paper(carry, one.name)

    def _bring_paper(self, carry: Carry, name: SealedName) -> bool:
        """Bring a list or a question, and keep what is answered; say whether it was taken. One that was not waits, alone."""
        try:
            with self.spool.reading(name) as (path, signature):
                paper = carry.bring(path, signature)
        except DbsyncError as error:
            if error.try_again and not isinstance(error, OtherVersion | Interrupted):
                raise
            log.warning("paper_refused", node=name.node, paper=name.file(), reason=str(error))
            self.records.papers.troubled(name, str(error))
            return False
        if name.kind is Kind.QUESTION and paper is not None:
            self.spool.answer(name, paper)
        else:
            self._keep(name.node, Paper.LISTS, paper)
            self.spool.let_go(name)
        log.info("paper_delivered", node=name.node, paper=name.file())
        return True

    def _bring_list(self, carry: Carry, identity: str, sealed: bytes) -> None:
        """Bring a box that was checked here. One that the upstream does not take waits, and nothing waits for it."""
        try:
            bring_list(carry.exchange, sealed)
        except DbsyncError as error:
            if error.try_again:
                raise
            log.warning("list_refused", list=identity, reason=str(error))
            return
        self.records.list_sent(identity)
        log.info("list_sent", list=identity)

    def _keep(self, node: str, kind: Paper, signed: Signed | None) -> None:
        if signed is not None:
            self.records.keep(node, kind, signed)

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
        with Line(upstream.url, silence=SILENCE, trust=Trust(ca=upstream.ca)) as line:
            yield Carry(exchange=Exchange(line=line, keys=self.keys, theirs=known.keys))
