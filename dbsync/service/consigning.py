"""The link of this node over a broker: what has no receipt is left there, sealed, and what the upstream signed is taken home."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeGuard

import structlog

from dbsync import traces
from dbsync.bundle.custody import Note, digest
from dbsync.bundle.letters import LETTER, letters, read_stamp
from dbsync.bundle.names import BundleName
from dbsync.bundle.news import read_news
from dbsync.bundle.receipts import Carried, believed
from dbsync.config.models import Config
from dbsync.errors import FormatError
from dbsync.identity.keys import Keys, Signed
from dbsync.model.batch import Batch
from dbsync.postgres import translated
from dbsync.service import custody
from dbsync.service.held import HeldLink
from dbsync.tally import count_carried
from dbsync.transport.broker import Broker
from dbsync.transport.subjects import Subjects

AGAIN = 60.0
"""Seconds after which the broker is asked once more whether what was left is there still, and after which a batch may be
left again because the upstream misses it."""
BROKER = "the broker"
"""Who has what was left, for people."""
MOST = 64
"""Batches that are left ahead of their receipts: what a broker loses is soon left again."""
_UNSIGNED = Signed(data=b"", signature=b"")
"""A broker signs nothing: that it has a batch is a word between it and us."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What one look came to."""

    batches: int = 0
    changes: int = 0
    acknowledged: int = 0
    """Batches whose receipts were there."""


@dataclass(kw_only=True)
class Consigning:
    """What is done with one connection to the broker while the link is held."""

    config: Config
    keys: Keys
    held: HeldLink
    broker: Broker
    stop: Callable[[], bool] = bool
    _there: set[int] = field(default_factory=set)
    """Batches that are at the broker or further, as far as we know."""
    _ask: float = -math.inf
    """When the broker is asked what is there."""
    _seen: int = 0
    """The newest news that was read."""
    _missing: tuple[str, int] | None = None
    """What the upstream said to miss, and nothing was done about yet."""
    _again: dict[int, float] = field(default_factory=dict)
    """When batches were left once more."""
    _settled: str | None = None
    """The source as it was when all that it had was left."""

    def look(self) -> Left:
        """Take home what is signed, and leave what is not there. Raises Full where there is no room for it."""
        acknowledged = self._take_home() if self._there else 0
        if time.monotonic() >= self._ask:
            acknowledged += self._find_out()
        self._leave_again()
        batches = changes = 0
        with closing(self._to_leave()) as to_leave:
            for batch in to_leave:
                with traces.of("leave", batch.header):
                    self._leave(batch)
                self._there.add(batch.header.number)
                batches += 1
                changes += batch.header.changes
                if self._ahead() >= MOST or self.stop():
                    break
        if batches:
            count_carried(self.held.node.name, self.held.name, "broker", changes)
            log.info("batches_left", link=self.held.name, batches=batches, changes=changes)
        return Left(batches=batches, changes=changes, acknowledged=acknowledged)

    @property
    def _subjects(self) -> Subjects:
        return Subjects(self.held.name)

    def _ahead(self) -> int:
        """Count the batches that are there and have no receipt."""
        reached = self.held.acknowledged()
        self._there = {number for number in self._there if number > reached}
        return len(self._there)

    def _to_leave(self) -> Generator[Batch]:
        """Give what has no receipt and is not there, unless enough is: then again when half of that has its receipts."""
        with translated("source"):
            now = self.held.reader.filled.snapshot()
            if now == self._settled or self._ahead() > MOST // 2:
                return
            with self.held.outbox.batches(self.config.batch.max_changes, beside=self._there) as batches:
                yield from batches
            self._settled = now

    def _leave(self, batch: Batch) -> None:
        """Seal one batch and leave it, letter by letter; note that it is there."""
        header = batch.header
        size = min(LETTER, self.broker.largest)
        with tempfile.TemporaryDirectory(prefix="dbsync-") as room:
            path = custody.seal(self.held, batch, Path(room), config=self.config, keys=self.keys, also=[])
            with path.open("rb") as file:
                sealing, stored = digest(file), file.tell()
            for letter in letters(path, size):
                self.broker.publish(self._subjects.batches(header.node), letter.data, letter.headers)
        name = BundleName.of(header.node, header.incarnation, header.number, header.number)
        note = Note(relay=BROKER, name=name, bytes=stored, hash=sealing, at=datetime.now(UTC))
        with translated("source"):
            custody.keep(
                self.held.reader.connection,
                link=self.held.name,
                incarnation=header.incarnation,
                relay=BROKER,
                note=note,
                signed=_UNSIGNED,
            )

    def _take_home(self) -> int:
        """Read what the upstream signed last; give how many batches have their receipts by it."""
        found = self.broker.last(self._subjects.papers_stream, self._subjects.papers(self.held.node.name))
        if found is None or found.seq == self._seen:
            return 0
        self._seen = found.seq
        try:
            news = read_news(found.data)
            receipts = believed(news.receipts, node=self.held.node.name, keys=self.held.theirs) if news.receipts else ()
            self.held.learn(news.certificate)
        except FormatError as error:
            log.warning("receipts_refused", link=self.held.name, reason=str(error), hint=error.hint)
            return 0
        life = self.held.node.incarnation
        taken = self.held.take_home(receipts)
        if self.held.node.incarnation != life or self._went_back(news.missing, receipts):
            self._there, self._settled = set(), None
        if taken:
            log.info("receipts_taken", link=self.held.name, batches=taken)
            with translated("source"):
                custody.forget(self.held.reader.connection, self.held.name)
        self._missing = news.missing
        return taken

    def _went_back(self, missing: tuple[str, int] | None, receipts: Sequence[Carried]) -> bool:
        """Go back to what the upstream has where it misses what it had: it was restored, or lost its end when it failed over."""
        return self._is_ours(missing) and missing[1] <= self.held.acknowledged() and self.held.go_back(receipts)

    def _is_ours(self, missing: tuple[str, int] | None) -> TypeGuard[tuple[str, int]]:
        return missing is not None and missing[0] == self.held.node.incarnation.hex[:8]

    def _leave_again(self) -> None:
        """Have a batch left again that the upstream misses, unless that was done a moment ago."""
        missing, self._missing = self._missing, None
        if not self._is_ours(missing):
            return
        number = missing[1]
        if number in self._there and time.monotonic() >= self._again.get(number, -math.inf):
            self._there.discard(number)
            self._settled = None
            self._again = {number: time.monotonic() + AGAIN}

    def _find_out(self) -> int:
        """Ask the broker for the last that we left there: what is behind that is not there, and nothing is if that is gone.

        Whoever empties our subject has given his receipts first. So these are read once more before it counts as lost.
        """
        self._ask = time.monotonic() + AGAIN
        found = self.broker.last(self._subjects.batches_stream, self._subjects.batches(self.held.node.name))
        taken = self._take_home()
        stamp = None if found is None else read_stamp(found.headers)
        there: set[int] = set()
        if stamp is not None and stamp.name.life == self.held.node.incarnation.hex[:8]:
            last = stamp.name.last if stamp.is_last else stamp.name.last - 1
            with translated("source"):
                under_way = [one.number for one in self.held.reader.under_way()]
            if under_way and last <= under_way[-1]:
                there = {number for number in under_way if number <= last}
        if there != self._there:
            self._there, self._settled = there, None
        return taken
