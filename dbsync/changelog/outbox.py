"""Batches that leave before the receipts of those before them are back: on a stick, with a middleman.

The outbox of a link is what it has on record without a receipt, in the order of the numbers, and behind that whatever is
pending. Each batch can be read again byte for byte. So a lost stick costs nothing but time, the same batch may meanwhile
go by any other route, and receipts take batches out of it from wherever they come.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from dbsync.changelog.payload import close
from dbsync.changelog.position import Recorded
from dbsync.changelog.reader import Reader
from dbsync.errors import IdentityConflict
from dbsync.model.batch import Batch, Cut, Receipt, Window


class Outbox:
    """What one link has for its upstream. Its reader must hold the link's claim."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @contextmanager
    def batches(
        self, max_changes: int, *, beside: Collection[int] = (), until: str | None = None
    ) -> Iterator[Iterator[Batch]]:
        """Give all batches without a receipt: first those on record, then what is pending now, cut anew.

        Afterwards the connection is free again, wherever inside it ended: a batch that was read half is still under way on
        it, and whoever asked for anything else would wait for ever.

        Each payload must be read to its end before the next batch is asked for: that one tells its hash. What the
        application commits meanwhile is not waited for. Batches ``beside`` these, by number, are somewhere already. Whoever
        has enough may leave off behind any payload: the batch is remembered as it was read. With ``until``, a snapshot, the
        last of them ends with what is visible in that: whoever has it has all of it, and nothing else.
        """
        with closing(self._read_out(self._cuts(max_changes, until), beside)) as batches:
            yield batches

    def take_out(self, receipt: Receipt) -> int:
        """Acknowledge the batches up to the one that a receipt is for; give how many that were.

        A receipt that came before, or by another route, takes nothing out. Raises IdentityConflict for one that speaks of
        a batch which this database has not sent, or sent with other content.
        """
        if receipt.number <= self._reader.position().last_number:
            return 0
        hashes = self._hashes(receipt.number)
        if hashes.get(receipt.number) != receipt.hash:
            raise IdentityConflict(
                f"the upstream has a batch {receipt.number} that is not the one on record here",
                where="source",
                why="this database was restored or copied, or another one sends as this node",
                hint="dbsync status   (says what became of it)",
            )
        taken = 0
        while (cut := self._reader.unfinished()) is not None and cut.number <= receipt.number:
            self._reader.acknowledge(cut, replace(receipt, number=cut.number, hash=hashes[cut.number]))
            taken += 1
        return taken

    def _hashes(self, last: int) -> dict[int, bytes]:
        """Say what the batches on record are, up to a number.

        Where nobody remembers, they are read once more: who sent one may not have lived to its end.
        """
        recorded = [one for one in self._reader.under_way() if one.number <= last]
        if not all(one.hash for one in recorded):
            for batch in self._read_out(self._on_record(recorded)):
                for _ in batch.payload:
                    close(batch.payload)
            recorded = [one for one in self._reader.under_way() if one.number <= last]
        return {one.number: one.hash for one in recorded}

    def _read_out(self, cuts: Iterable[Cut], beside: Collection[int] = ()) -> Generator[Batch]:
        previous: bytes | None = None
        known = {one.number: one.hash for one in self._reader.under_way() if one.number in beside and one.hash}
        try:
            for cut in cuts:
                if cut.number in known:
                    previous = known[cut.number]
                    continue
                batch = self._reader.batch(cut, previous_hash=previous)
                payload = _Read(batch.payload, partial(self._reader.note_hash, cut))
                try:
                    yield replace(batch, payload=payload)
                finally:
                    close(batch.payload)
                previous = payload.hash()
        finally:
            self._reader.filled.window = None

    def _cuts(self, max_changes: int, until: str | None) -> Iterator[Cut]:
        last: Cut | None = None
        on_record = self._reader.under_way()
        for last in self._on_record(on_record) if on_record else self._first_pending(max_changes, until):
            yield last
        if last is None:
            return
        place = _Place.behind(last)
        if place.end is not None:
            place = yield from self._cut_window(place, max_changes)
        end = until or self._reader.filled.snapshot()
        yield from self._cut_window(replace(place, end=end), max_changes, anew=True)

    def _on_record(self, recorded: Sequence[Recorded]) -> Iterator[Cut]:
        """Give batches on record to be read again, the first of the link among them."""
        first = self._reader.unfinished()
        if first is not None:
            yield first
        for one in recorded[1:]:
            yield self._reader.again(one)

    def _first_pending(self, max_changes: int, until: str | None) -> Iterator[Cut]:
        first = self._reader.next_cut(max_changes, until)
        return iter(() if first is None else (first,))

    def _cut_window(self, place: _Place, max_changes: int, *, anew: bool = False) -> Generator[Cut, None, _Place]:
        """Cut what is left of a window; give the place behind it."""
        assert place.end is not None
        filled = self._reader.filled
        window = filled.fill(Window(start=place.start, end=place.end), place.after)
        if anew:
            self._reader.stitch()
        while (cut := filled.cut(window, place.number + 1, place.after, max_changes)) is not None:
            yield self._reader.in_order(cut)
            place = replace(place, number=cut.number, after=cut.last_seq)
        return _Place(number=place.number, start=place.end if place.after else place.start)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where in the log the next batch begins: in a window from ``start`` to ``end`` after a seq; end None: none is open."""

    number: int
    start: str | None
    end: str | None = None
    after: int = 0

    @classmethod
    def behind(cls, cut: Cut) -> _Place:
        if cut.joint is not None:
            return cls(number=cut.number, start=cut.window.end)
        return cls(number=cut.number, start=cut.window.start, end=cut.window.end, after=cut.last_seq)


class _Read:
    """A payload on its way to somebody, and what it was when it had gone by: ``then`` is told."""

    def __init__(self, chunks: Iterable[bytes], then: Callable[[bytes], None]) -> None:
        self._chunks = chunks
        self._then = then
        self._digest = hashlib.sha256()
        self._ended = False

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._digest.update(chunk)
            yield chunk
        self._ended = True
        self._then(self._digest.digest())

    def hash(self) -> bytes:
        if not self._ended:
            raise ValueError("a payload must be read to its end before the next batch is asked for")
        return self._digest.digest()
