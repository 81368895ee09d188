"""One node's turn at an upstream's broker: its bundles are brought in, in their order, and it is told what is here."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import structlog

from dbsync.apply.applier import Applier
from dbsync.batch.codec import Limits
from dbsync.bundle.find import Bundle
from dbsync.bundle.letters import Gathering, Stamp, read_stamp
from dbsync.bundle.news import News, write_news
from dbsync.config.models import Config
from dbsync.errors import DbsyncError, FormatError, IdentityConflict
from dbsync.identity.keys import Keys
from dbsync.service.admission import NotYet
from dbsync.service.bundles import Stick
from dbsync.service.certificate import issue_newest
from dbsync.statements import statement
from dbsync.transport.broker import Broker, Message
from dbsync.transport.subjects import Subjects

TURN = 1.0
"""Seconds after which another node's turn comes, though there is more of this one."""
LEASE = 60.0
"""Seconds in which a worker that holds a turn does nothing in the database: then it has lost it."""

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What a turn came to."""

    seen: int = 0
    """Letters that were there to be read."""
    letters: int = 0
    """That left the broker."""
    batches: int = 0
    changes: int = 0
    held: int = 0
    waits: str = ""
    """Why what is there still is not brought in."""
    more: bool = False
    """The turn ended before the node's bundles did."""


@dataclass(kw_only=True)
class Collecting:
    """A worker's hands: a connection to the broker and one to the database."""

    config: Config
    keys: Keys
    broker: Broker
    connection: psycopg.Connection
    applier: Applier
    stop: Callable[[], bool] = bool

    @contextmanager
    def turn(self, node: str) -> Iterator[bool]:
        """Be the only one who brings in what is of a node; say whether nobody else does already."""
        asked = {"node": node, "lease": f"{round(LEASE * 1000)}ms"}
        row = self.connection.execute(statement("receipts", "try_turn"), asked).fetchone()
        taken = row is not None and bool(row[0])
        try:
            yield taken
        finally:
            if taken and not self.connection.broken:
                self.connection.execute(statement("receipts", "end_turn"), {"node": node})

    def collect(self, node: str) -> Outcome:
        """Bring in what lies there of a node, for about a second; a batch that was begun is finished.

        What is committed here is told to the node before it leaves the broker, so that no end of this process loses anything:
        what was brought in already is passed over.
        """
        with tempfile.TemporaryDirectory(prefix="dbsync-") as room:
            return _Turn(self, node, Path(room)).take()

    @property
    def subjects(self) -> Subjects:
        """Give the names at the broker."""
        return Subjects(self.config.node.name)


class _Turn:
    """The letters of one node, from the first that lies there on."""

    def __init__(self, hands: Collecting, node: str, room: Path) -> None:
        self._hands, self._node = hands, node
        config = hands.config
        self._gathering = Gathering(folder=room, node=node, most=config.serve.batch_bytes)
        limits = Limits(payload=config.serve.payload_bytes, changes=config.serve.max_changes)
        self._stick = Stick(applier=hands.applier, asking=hands.connection, keys=hands.keys, limits=limits)
        self._outcome = Outcome()
        self._done: set[int] = set()
        """Letters that nobody needs any more."""
        self._kept: set[int] = set()
        """Letters that have to wait."""
        self._missing: tuple[str, int] | None = None

    def take(self) -> Outcome:
        """Bring in what there is."""
        end, seq, stop, seen = time.monotonic() + TURN, 0, self._hands.stop, set[int]()
        while (letter := self._next(seq)) is not None:
            seq = letter.seq + 1
            seen.add(letter.seq)
            if letter.seq not in self._done:
                before = self._outcome.batches
                self._add(letter)
                if self._kept and self._outcome.batches > before:  # what had to wait may have waited for this
                    seq, self._missing = 0, None
                    self._kept.clear()
                    self._outcome.waits = ""
            if stop() or (time.monotonic() >= end and not self._is_in_the_middle()):
                self._outcome.more = True
                break
        self._give_up_what_finds_no_room()
        if self._done or self._missing is not None:
            self._tell()
        self._clear()
        self._outcome.seen, self._outcome.letters = len(seen), len(self._done)
        return self._outcome

    def _is_in_the_middle(self) -> bool:
        """Say whether the next turn would begin with the same again: a bundle is half read, or what others wait for may come yet."""
        return bool(self._gathering.seqs or self._kept)

    def _give_up_what_finds_no_room(self) -> None:
        """Throw away the beginning of a bundle that fills all that its node may have there: its end will never come."""
        if len(self._gathering.seqs) >= self._hands.config.broker.messages:
            self._drop(
                self._gathering.seqs, "a bundle is larger than what may lie there of a node", "[broker] messages"
            )
            self._gathering.end()

    def _next(self, seq: int) -> Message | None:
        subjects = self._hands.subjects
        return self._hands.broker.next(subjects.batches_stream, subjects.batches(self._node), seq)

    def _add(self, letter: Message) -> None:
        gathering, stamp = self._gathering, read_stamp(letter.headers)
        if stamp is None:
            self._drop([letter.seq], "it is no letter of a bundle", "")
            return
        if gathering.follows(stamp):
            gathering.seqs.append(letter.seq)
        else:
            self._done.update(gathering.seqs)  # who began that does not go on with it
            gathering.begin(letter.seq)
        try:
            bundle = gathering.add(stamp, letter.headers, letter.data)
        except FormatError as error:
            self._refuse(stamp, error)
            return
        if bundle is not None:
            self._bring(stamp, bundle)

    def _bring(self, stamp: Stamp, bundle: Bundle) -> None:
        """Bring in one bundle; keep it where it has to wait for another or for a person."""
        try:
            brought = self._stick.bring_one(bundle)
        except FormatError as error:
            self._refuse(stamp, error)
            return
        except IdentityConflict as error:  # the node learns from its receipts what is here instead
            self._drop(self._gathering.seqs, str(error), error.hint)
        except DbsyncError as error:
            if error.try_again:
                raise
            self._keep(stamp, error)
        else:
            self._done.update(self._gathering.seqs)
            self._outcome.batches += len(brought.applied)
            self._outcome.changes += brought.changes
            self._outcome.held += brought.held
        self._gathering.end()

    def _refuse(self, stamp: Stamp, error: FormatError) -> None:
        """Throw away what is not as its node sent it, and have it sent again."""
        self._miss(stamp.name.life, stamp.name.first)
        self._drop(self._gathering.seqs, str(error), error.hint)
        self._gathering.end()

    def _keep(self, stamp: Stamp, error: DbsyncError) -> None:
        self._kept.update(self._gathering.seqs)
        if isinstance(error, NotYet):
            if error.missing is not None:
                self._miss(stamp.name.life, error.missing)
            self._outcome.waits = self._outcome.waits or str(error)
            return
        self._outcome.waits = str(error)
        log.warning("bundle_waits", node=self._node, bundle=stamp.name.file(), reason=str(error), hint=error.hint)

    def _miss(self, life: str, number: int) -> None:
        if self._missing is None or self._missing[0] != life or number < self._missing[1]:
            self._missing = (life, number)

    def _drop(self, seqs: Iterable[int], why: str, hint: str) -> None:
        self._done.update(seqs)
        log.warning("bundle_refused", node=self._node, reason=why, hint=hint)

    def _tell(self) -> None:
        """Tell the node what is here, before anything of it leaves the broker."""
        hands, destination = self._hands, self._hands.config.node.name
        news = News(
            receipts=self._stick.sign_receipts(destination, self._node),
            certificate=issue_newest(hands.connection, destination=destination, node=self._node, keys=hands.keys),
            missing=self._missing,
        )
        hands.broker.publish(hands.subjects.papers(self._node), write_news(news), {})

    def _clear(self) -> None:
        """Let what is done leave the broker: all at once where nothing before it stays."""
        broker, subjects = self._hands.broker, self._hands.subjects
        stays = min([*self._kept, *self._gathering.seqs], default=None)
        at_once = [seq for seq in self._done if stays is None or seq < stays]
        if at_once:
            broker.remove_until(subjects.batches_stream, subjects.batches(self._node), max(at_once))
        for seq in sorted(self._done - set(at_once)):
            broker.remove(subjects.batches_stream, seq)
