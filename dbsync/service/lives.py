"""At each contact: do the two ends remember the same past? If not, who is found out begins a new life and goes on.

Nothing is decided by a person and nothing is lost or doubled: the upstream knows every transaction it has of a lineage,
whatever life it came from, and drops what comes again. The person is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from uuid import UUID

import psycopg
import structlog

from dbsync.changelog import lives
from dbsync.changelog.lives import Event, Kind, WayBack
from dbsync.changelog.position import Position
from dbsync.model.batch import Receipt
from dbsync.postgres import translated
from dbsync.service import node as nodes
from dbsync.service.node import Node
from dbsync.transport.base import Memory

log = structlog.get_logger()


class Contact(StrEnum):
    """What the two ends' memories make of each other."""

    AGREED = "agreed"
    ARRIVED = "arrived"
    """The batch whose receipt is missing is there."""
    SOURCE_BACK = "source_back"
    """The upstream has what this source has not sent: the source was restored, or a copy of it sends."""
    UPSTREAM_BACK = "upstream_back"
    """This source has receipts for what the upstream has not."""
    PARTED = "parted"
    """Both: they share no past from some batch on."""


def compare(
    position: Position, under_way: Mapping[int, bytes], last: Receipt | None, remembered: bytes | None
) -> Contact:
    """Judge the upstream's last receipt of this incarnation; ``remembered`` is the hash this source has for its number.

    ``under_way`` are the batches without a receipt, each with its hash, empty where nobody remembers it.

    >>> from datetime import UTC, datetime
    >>> at = Position(cursor=None, window_end=None, window_seq=0, last_number=2, last_hash=b"two")
    >>> def receipt(number: int, hash: bytes) -> Receipt:
    ...     return Receipt(node="n", incarnation=UUID(int=1), number=number, hash=hash, applied_at=datetime.now(UTC))
    >>> [
    ...     compare(at, {}, receipt(2, b"two"), b"two").value,
    ...     compare(at, {3: b"", 4: b""}, receipt(3, b"three"), None).value,
    ...     compare(at, {3: b"three", 4: b"four"}, receipt(4, b"four"), None).value,
    ...     compare(at, {3: b"three"}, receipt(3, b"another"), None).value,
    ...     compare(at, {}, receipt(3, b"three"), None).value,
    ...     compare(at, {}, receipt(1, b"one"), b"one").value,
    ...     compare(at, {}, receipt(1, b"another"), b"one").value,
    ...     compare(at, {}, None, None).value,
    ... ]
    ['agreed', 'arrived', 'arrived', 'source_back', 'source_back', 'upstream_back', 'parted', 'upstream_back']
    """
    reached = last.number if last else 0
    if last is not None and under_way.get(reached) in (b"", last.hash):
        return Contact.ARRIVED
    if reached > position.last_number:
        return Contact.SOURCE_BACK
    if reached == position.last_number:
        return Contact.AGREED if last is None or last.hash == position.last_hash else Contact.SOURCE_BACK
    if last is None or remembered is None or remembered == last.hash:
        return Contact.UPSTREAM_BACK
    return Contact.PARTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The first batch, of some incarnation, that the upstream had and has no more."""

    incarnation: UUID
    number: int
    last: Receipt | None
    """What the upstream has of that incarnation."""
    on_record: bool = True
    """Whether anything of that incarnation is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lives:
    """The lives of the source behind one link."""

    connection: psycopg.Connection
    upstream: Memory
    node: str
    link: str

    def contact(
        self, incarnation: UUID, position: Position, under_way: Mapping[int, bytes], last: Receipt | None
    ) -> Contact:
        """Compare what the upstream has of this life with what this source remembers."""
        with translated("source"):
            remembered = lives.sent_hash(self.connection, self.link, incarnation, last.number if last else 0)
        found = compare(position, under_way, last, remembered)
        if found in (Contact.AGREED, Contact.ARRIVED) and self._lost(incarnation, among_older=True) is not None:
            return Contact.UPSTREAM_BACK
        return found

    def send_again(self, incarnation: UUID, position: Position, *, parted: bool) -> UUID:
        """Go back to what the upstream has, as far as it is on record; give the incarnation to go on under.

        That is another one when something is no longer held, or when the two share no past.
        """
        lost = self._lost(incarnation, among_older=False)
        with translated("source"), self.connection.transaction():
            lives.hold_link(self.connection, self.link)
            way = self._way(lost, parted=parted)
            first = lost.number if lost is not None and lost.on_record else 0
            whole = way is not None and way.is_whole and way.number == first
            stays = whole and not parted and lost is not None and lost.incarnation == incarnation
            last = lost.last if stays and lost else None
            begun = incarnation if stays else lives.begin_life(self.connection, incarnation)
            if not whole:
                lives.tell_of_lives(self.connection, self.link)
            if way is not None:
                number, last_hash = (last.number, last.hash) if last else (0, b"")
                lives.go_back(self.connection, self.link, way, number=number, last_hash=last_hash)
            event = _sent_again(way, lost, position, whole=whole)
            lives.record(self.connection, replace(event, link=self.link))
        _say(event, self.link)
        return begun

    def last(self, incarnation: UUID) -> Receipt | None:
        """Ask the upstream for the newest receipt of a life."""
        return self.upstream.last_receipt(self.node, incarnation, self.link)

    def _lost(self, incarnation: UUID, *, among_older: bool) -> Lost | None:
        """Find the first acknowledged batch that the upstream has not."""
        with translated("source"):
            forgotten = lives.forgotten_lives(self.connection, self.link)
            on_record = lives.sent_lives(self.connection, self.link)
        for before, number in forgotten:
            last = self.last(before)
            if (last.number if last else 0) < number:
                return Lost(incarnation=before, number=(last.number if last else 0) + 1, last=last, on_record=False)
        for life in on_record:
            if among_older and life.incarnation == incarnation:
                continue
            last = self.last(life.incarnation)
            if (last.number if last else 0) < life.last:
                return Lost(incarnation=life.incarnation, number=(last.number if last else 0) + 1, last=last)
        return None

    def _way(self, lost: Lost | None, *, parted: bool) -> WayBack | None:
        incarnation, first = (lost.incarnation, lost.number) if lost else (None, 0)
        if parted or (lost and not lost.on_record):
            oldest = next(iter(lives.sent_lives(self.connection, self.link)), None)
            incarnation, first = (oldest.incarnation, oldest.first) if oldest else (None, 0)
        return lives.way_back(self.connection, self.link, incarnation, first) if incarnation else None


def begin(connection: psycopg.Connection, link: str, incarnation: UUID, kind: Kind) -> UUID:
    """Begin a new life where others know more of this one than its database; give its incarnation."""
    event = _FOUND_OUT[kind]
    with translated("source"), connection.transaction():
        begun = lives.begin_life(connection, incarnation)
        lives.record(connection, replace(event, link=link))
    _say(event, link)
    return begun


def at_home(connection: psycopg.Connection, name: str) -> Node:
    """Read this node, which the configuration calls by a name; a log that was made in another cluster is taken over."""
    with translated("source"):
        node = nodes.read(connection)
        nodes.expect(node.name, name)
    if not bring_home(connection, node):
        return node
    with translated("source"):
        return nodes.read(connection)


def bring_home(connection: psycopg.Connection, node: Node) -> bool:
    """Take over a log that was made in another cluster, if this one was; say whether anything was done.

    Needs no route to the upstream. Killed anywhere, it goes on where it was.
    """
    if not node.reloaded:
        return False
    with translated("source"):
        with connection.transaction():
            pending = lives.move_in(connection)
            event = None if pending is None else _reloaded(pending)
            if event is not None:
                lives.record(connection, event)
        if event is not None:
            _say(event, None)
        lives.restamp(connection)
    return True


_FOUND_OUT = {
    Kind.RESTORED: Event(
        kind=Kind.RESTORED,
        what="this database was restored from a backup, or is a copy of one that sends as well: the upstream has batches"
        " of it that it does not know. It goes on as a new incarnation; what is pending is applied once",
        hint="dbsync verify   (shows what the upstream has of the lost time, which stays there)",
    ),
    Kind.COPIED: Event(
        kind=Kind.COPIED,
        what="another database sends as this node: one is a copy of the other, or was restored. This one goes on as a new"
        " incarnation; what both captured before they parted is applied once",
        hint="stop one of them if only one is to be this node; dbsync verify   (shows what differs)",
    ),
}


def _reloaded(pending: int) -> Event:
    return Event(
        kind=Kind.RELOADED,
        what="this database was reloaded from a dump, or went through pg_upgrade: it is in another PostgreSQL cluster now."
        f" It goes on as a new incarnation, with {pending:,} pending changes",
        hint="dbsync install-triggers   (after a reload capture is slower until then); if the database it was taken from"
        " is still in use, only one of them should go on",
    )


def _sent_again(way: WayBack | None, lost: Lost | None, position: Position, *, whole: bool) -> Event:
    reached = lost.last.number if lost and lost.last else 0
    what = f"the upstream went back in time: it has batches up to {reached}, this source had receipts up to "
    what += str(max(position.last_number, way.last_number if way else 0))
    held = f"{way.held:,} changes are sent again" if way else "nothing of what it lost is held any more"
    if whole:
        hint = "nothing is to be decided; dbsync verify   (shows when both agree)"
        return Event(kind=Kind.UPSTREAM_RESTORED, what=f"{what}: {held}", hint=hint)
    return Event(
        kind=Kind.UPSTREAM_RESTORED,
        what=f"{what}: {held}; not all that it lost is still held here",
        hint="dbsync verify --repair   (sends again what differs)",
    )


def _say(event: Event, link: str | None) -> None:
    log.warning(_LOGGED[event.kind], link=link, what=event.what, hint=event.hint)


_LOGGED = {
    Kind.RESTORED: "database_restored",
    Kind.COPIED: "database_copied",
    Kind.RELOADED: "database_reloaded",
    Kind.UPSTREAM_RESTORED: "upstream_restored",
}
