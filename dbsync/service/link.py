"""Shipping over one link: what is pending goes out batch by batch, and each receipt moves the cursor."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import psycopg
import structlog
from psycopg import errors
from psycopg.types.json import Jsonb

from dbsync import traces
from dbsync.changelog.lives import Kind
from dbsync.changelog.outbox import Outbox
from dbsync.changelog.reader import Reader
from dbsync.errors import DbsyncError, IdentityConflict, LinkHalted, LinkTaken
from dbsync.model.batch import Cut, Receipt
from dbsync.postgres import translated
from dbsync.pulse import PULSE
from dbsync.service.greeter import Greeter
from dbsync.service.lives import Contact, Lives, begin
from dbsync.service.node import Node
from dbsync.service.pace import Pace
from dbsync.statements import statement
from dbsync.tally import Weighed, count_shipped
from dbsync.transport.base import Transport

CONTACTS = 4
"""How often the two ends are brought together before it is given up: restored both, and copied, takes three."""
MOST_REFUSED = 1
"""Batches that are refused in a row after both ends were brought together, before it is given up."""
PATIENCE = 2.0
"""Seconds in which the server notices that the session which had the link is over."""
GROWTH = 8
"""A batch that waits for a row which a later one brings is cut so many times larger."""

log = structlog.get_logger()


class LinkState(StrEnum):
    """What a link is doing, for ``status``."""

    NEW = "new"
    STREAMING = "streaming"
    UNREACHABLE = "unreachable"
    HALTED = "halted"
    PAUSED = "paused"
    STOPPED = "stopped"
    AWAITED = "waits for the stick"
    WRITTEN = "written to the stick"
    FULL = "stick full"
    BROKER_FULL = "broker full"
    UP_TO_DATE = "up to date"


@dataclass(slots=True, kw_only=True)
class Link:
    """One node's route to one upstream: the reader at this end, the transport to the other."""

    node: Node
    name: str
    reader: Reader
    transport: Transport
    max_changes: int
    held: bool = field(default=False, init=False)
    """Whether the last batch left something in quarantine."""
    _pace: Pace = field(init=False)
    _open: Cut | None = field(default=None, init=False)
    """A batch that was recorded and has no receipt. It may be on its way into the upstream even now: nothing else may be
    sent under its number until it was refused."""

    _greeter: Greeter = field(init=False)
    _settled: bool = field(default=False, init=False)
    """Something was shipped since the upstream heard how this node is, and nothing is left."""

    def __post_init__(self) -> None:
        self._pace = Pace(self.max_changes)
        self._greeter = Greeter(
            connection=self.reader.connection, transport=self.transport, node=self.node.name, link=self.name
        )

    def settle(self, found_out: Kind = Kind.RESTORED) -> None:
        """Agree with the upstream on what it has, and finish the batch that a crash or a cut line left open.

        Where the two remember different pasts this source begins a new life, or goes back to what the upstream has.
        """
        for _ in range(CONTACTS):
            if self._contact(found_out):
                return
        raise IdentityConflict(
            f"the upstream and this source of {self.node.name} do not come to one past",
            where=self.name,
            why="others send as the same node at this moment",
            hint="dbsync status   (says what happened); it is tried again",
        )

    def _contact(self, found_out: Kind) -> bool:
        """Compare what both ends remember, and mend it; say whether there was nothing to mend."""
        with translated("source"):
            position = self.reader.position()
            under_way = {recorded.number: recorded.hash for recorded in self.reader.under_way()}
        incarnation, lives = self.node.incarnation, self._lives
        last = lives.last(incarnation)
        contact = lives.contact(incarnation, position, under_way, last)
        if contact is Contact.ARRIVED and last is not None and self._take_out(last):
            return True
        if contact in (Contact.UPSTREAM_BACK, Contact.PARTED):
            self._go_on_as(lives.send_again(incarnation, position, parted=contact is Contact.PARTED))
        elif contact is not Contact.AGREED:
            self._go_on_as(begin(self.reader.connection, self.name, incarnation, found_out))
        else:
            self._open = self._first_under_way()
        return contact is Contact.AGREED

    def _take_out(self, last: Receipt) -> bool:
        """Take the receipt of what arrived without one; False when something else arrived under its number."""
        try:
            with translated("source"):
                Outbox(self.reader).take_out(last)
        except IdentityConflict:
            return False
        self._open = self._first_under_way()
        return True

    def _first_under_way(self) -> Cut | None:
        with translated("source"):
            return self.reader.unfinished()

    def _go_on_as(self, incarnation: UUID) -> None:
        self.node = replace(self.node, incarnation=incarnation)
        self.reader.go_on_as(incarnation)
        self._open = None

    @property
    def _lives(self) -> Lives:
        return Lives(connection=self.reader.connection, upstream=self.transport, node=self.node.name, link=self.name)

    def ship(self, stop: Callable[[], bool]) -> int:
        """Ship everything pending, until ``stop`` says so; give the number of changes shipped."""
        shipped = refused = 0
        wider: Cut | None = None
        while not stop():
            since = traces.now()
            cut = wider or self._open or self._next_cut(self._pace.changes)
            if cut is None:
                self._settled = self._settled or shipped > 0
                break
            try:
                self._deliver(cut, since)
            except LinkHalted as halted:
                wider = self._wider(cut) if halted.waits_for_row else None
                if wider is None:
                    raise
                continue
            except IdentityConflict:
                if refused > MOST_REFUSED:
                    raise
                if refused:
                    self._begin_life()
                else:
                    self.settle(Kind.COPIED)
                wider, refused = None, refused + 1
                continue
            wider, refused = None, 0
            shipped += cut.changes
        return shipped

    def _begin_life(self) -> None:
        """Begin a new life where both remember the same past, and the upstream refuses all the same what follows it.

        Another database that lived this life has said that it is over: one of the two was restored, or is a copy.
        """
        self._go_on_as(begin(self.reader.connection, self.name, self.node.incarnation, Kind.COPIED))

    def tend(self) -> None:
        """Let the upstream try again what waits there, and leave word of what waits still and of what is above."""
        waiting = self.transport.tend(self.node.lineage)
        above = self.transport.above(self.node.name, self.node.incarnation, self.name)
        self._leave_word("note_waiting", quarantined=Jsonb(dict(waiting)), above=Jsonb(dict(above)))
        self._bring_lists()
        self._greeter.greet_again(settled=self._settled)
        self._settled = False

    def _bring_lists(self) -> None:
        """Bring the boxes that were checked here. One that the upstream does not take waits, and keeps no change waiting."""
        with translated("source"):
            if self.reader.connection.execute(statement("lists", "unsent")).fetchone() is None:
                return
        from dbsync.service import lists  # noqa: PLC0415 - it takes long to import, and few nodes check boxes

        with translated("source"):
            waiting = list(lists.unsent(self.reader.connection))
        for identity, signed in waiting:
            try:
                self.transport.bring_list(signed)
            except DbsyncError as error:
                if error.try_again:
                    raise
                log.warning("list_refused", link=self.name, list=str(identity), reason=str(error))
                continue
            with translated("source"):
                lists.sent(self.reader.connection, identity)
            log.info("list_sent", link=self.name, list=str(identity))

    def meet(self) -> None:
        """Compare the clocks of both ends, leave word of the difference, and see how far away the upstream is."""
        begun = time.monotonic()
        off = self.transport.meet(self._now)
        self._pace = Pace(self.max_changes, round_trip=time.monotonic() - begun)
        self._leave_word("note_clock", off=off)
        self._greeter.clock_off = off
        self._greeter.greet()

    def _now(self) -> datetime:
        with translated("source"):
            row = self.reader.connection.execute("SELECT pg_catalog.clock_timestamp()").fetchone()
        assert row is not None
        found: datetime = row[0]
        return found

    def _leave_word(self, name: str, **said: object) -> None:
        with translated("source"):
            self.reader.connection.execute(statement("changelog", name), {"link": self.name, **said})

    def _next_cut(self, max_changes: int) -> Cut | None:
        with translated("source"):
            return self.reader.next_cut(max_changes)

    def _wider(self, cut: Cut) -> Cut | None:
        """Cut a larger batch, one that may bring the missing row along; None when there is nothing more."""
        size = max(self.max_changes, cut.changes) * GROWTH
        with translated("source"):
            self.reader.forget_further(cut)
            return self.reader.wider_cut(cut, size) if cut.ends_window else self.reader.next_cut(size)

    def _deliver(self, cut: Cut, since: int) -> Receipt:
        """Send a batch, and take its receipt; ``since`` is when it was begun to be read."""
        with ExitStack() as around:
            with self.reader.sending(cut) as batch:
                told = around.enter_context(traces.of("ship", batch.header, since=since))
                traces.past("read", since)
                weighed, begun = Weighed(batch.payload), time.monotonic()
                with traces.step("send"):
                    receipt = self.transport.deliver(replace(batch, payload=weighed))
                took = time.monotonic() - begun
                self._pace.note(cut.changes, took)
            told.note(bytes=weighed.size, held=receipt.held)
            with traces.step("receipt"), translated("source"):
                self.reader.acknowledge(cut, receipt)
                self._open = self.reader.unfinished() if self._open is not None else None
        self.held = receipt.held > 0
        PULSE.note_well()
        count_shipped(batch.header, receipt, size=weighed.size, seconds=took)
        log.info("batch_applied", link=self.name, batch=cut.number, changes=cut.changes, transactions=cut.transactions)
        if receipt.held:
            log.warning(
                "changes_held", link=self.name, batch=cut.number, changes=receipt.held, hint="dbsync quarantine list"
            )
        return receipt


def set_state(
    connection: psycopg.Connection, link: str, state: LinkState, reason: str | None = None, *, held: bool
) -> None:
    """Leave word of a link's state in the source, where ``status`` finds it while the service is stopped.

    Raises LinkTaken where the caller has not ``held`` the link meanwhile, and another dbsync has: what is so is its to say.
    """
    with translated("source"):
        connection.execute(statement("changelog", "open_link"), {"link": link})
        with connection.transaction():
            if not held:
                _find_free(connection, link)
            connection.execute(
                statement("changelog", "set_state"), {"link": link, "state": state.value, "reason": reason}
            )


def _find_free(connection: psycopg.Connection, link: str) -> None:
    """Raise LinkTaken unless nobody has the link; a session of our own that has just ended may do so for a moment."""
    try:
        connection.execute(
            statement("changelog", "claim_for_a_word"), {"link": link, "patience": f"{round(PATIENCE * 1000)}ms"}
        )
    except errors.LockNotAvailable as error:
        raise LinkTaken(link) from error
