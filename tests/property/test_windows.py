"""A link's reading of the change log, with anybody doing anything between any two of its steps.

The model of the service takes the steps of :class:`dbsync.service.link.Link` and :class:`dbsync.changelog.reader.Reader`
one at a time: what it keeps in the source survives a crash, everything else is gone. A batch that had left when the
service crashed may still be committed upstream, until somebody else delivers there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.property.source import Snapshot, Source, Transaction, cut, hold_serial

ROWS = 4


@dataclass(frozen=True)
class Cut:
    """What is recorded of a batch before it leaves."""

    number: int
    start: Snapshot | None
    end: Snapshot
    after: int
    last: int
    ends_window: bool
    joint: Snapshot | None = None


@dataclass
class Log:
    """What a link keeps in the source."""

    cursor: Snapshot | None = None
    window_end: Snapshot | None = None
    window_seq: int = 0
    last_number: int = 0
    sent: dict[int, Cut] = field(default_factory=dict)


@dataclass
class Upstream:
    """What the other side keeps: each batch once, and the next one must be the next one."""

    batches: list[tuple[Transaction, ...]] = field(default_factory=list)

    def apply(self, number: int, batch: tuple[Transaction, ...]) -> None:
        """Take a batch, or know it already."""
        if number == len(self.batches):
            assert self.batches[-1] == batch, "the same number with other content"
            return
        assert number == len(self.batches) + 1, "a number was left out"
        self.batches.append(batch)


class LinkMachine(RuleBasedStateMachine):
    """Writers, a service that may crash, and an upstream."""

    def __init__(self) -> None:
        super().__init__()
        self.source = Source()
        self.log = Log()
        self.upstream = Upstream()
        self.under_way: tuple[int, tuple[Transaction, ...]] | None = None
        self.cut: Cut | None = None
        self.recorded = False
        self.applied = False

    # The application.

    @rule()
    def begin(self) -> None:
        if len(self.source.running) < 5:
            self.source.begin()

    @rule(number=st.integers(1, 4))
    def write_quickly(self, number: int) -> None:
        """Several transactions, one after the other, on rows of their own."""
        for place in range(number):
            quick = self.source.begin()
            self.source.write(quick, ROWS + place)
            self.source.end(quick, commit=True)

    @precondition(lambda self: self.source.running)
    @rule(data=st.data(), row=st.integers(0, ROWS - 1))
    def write(self, data: st.DataObject, row: int) -> None:
        writer = data.draw(st.sampled_from(list(self.source.running.values())))
        if self.source.is_free(row, writer):
            self.source.write(writer, row)

    @precondition(lambda self: self.source.running)
    @rule(data=st.data(), commit=st.sampled_from([True, True, True, False]))
    def end(self, data: st.DataObject, commit: bool) -> None:
        self.source.end(data.draw(st.sampled_from(list(self.source.running.values()))), commit=commit)

    # The service.

    @precondition(lambda self: self.cut is None)
    @rule(enough=st.integers(1, 4))
    def look_and_record(self, enough: int) -> None:
        self.look(enough)
        if self.cut is not None:
            self.record()

    @precondition(lambda self: self.cut is None)
    @rule(enough=st.integers(1, 6))
    def look(self, enough: int) -> None:
        """Take up what was recorded, or cut anew."""
        waiting = self.log.sent.get(self.log.last_number + 1)
        self.cut = waiting or self._next_cut(enough)

    @precondition(lambda self: self.cut is not None and not self.recorded)
    @rule()
    def record(self) -> None:
        assert self.cut is not None
        self.log.sent[self.cut.number] = self.cut
        self.log.window_end = self.cut.joint or self.cut.end
        self.recorded = True

    @precondition(lambda self: self.recorded and not self.applied)
    @rule(first=st.booleans())
    def deliver(self, first: bool) -> None:
        """Deliver; what a dead service left on its way is committed before this or never."""
        self._finish_what_is_under_way(commit=first)
        assert self.cut is not None
        self.upstream.apply(self.cut.number, self._content(self.cut))
        self.applied = True

    @precondition(lambda self: self.recorded and not self.applied)
    @rule(enough=st.integers(1, 12), first=st.booleans())
    def is_refused_and_cut_wider(self, enough: int, first: bool) -> None:
        """A row waits for one that a later transaction brings; a batch that is upstream already is not refused."""
        self._finish_what_is_under_way(commit=first)
        assert self.cut is not None
        if len(self.upstream.batches) >= self.cut.number:
            return
        if not self.cut.ends_window:
            wider = self._next_cut(enough)
        elif self.log.window_seq == 0:
            self.log.window_end = None
            wider = self._next_cut(enough)
        else:
            end, joint = self.source.snapshot(), self.log.window_end
            whole = Cut(self.cut.number, self.log.cursor, end, self.log.window_seq, 0, True, joint)
            wider = replace(whole, last=max(t.last_seq for t in self._content(whole)))
        if wider is None or len(self._content(wider)) <= len(self._content(self.cut)):
            self.crash()  # the link is halted, and begins anew
            return
        self.cut, self.recorded = wider, False

    @precondition(lambda self: self.applied)
    @rule()
    def acknowledge(self) -> None:
        assert self.cut is not None
        self.log.last_number = self.cut.number
        if self.cut.ends_window:
            self.log.cursor, self.log.window_end, self.log.window_seq = self.cut.end, None, 0
        else:
            self.log.window_end, self.log.window_seq = self.cut.end, self.cut.last
        self._forget()

    @rule()
    def crash(self) -> None:
        """Only what is in the source remains; a batch that was leaving may arrive yet."""
        if self.cut is not None and self.recorded and not self.applied and self.under_way is None:
            self.under_way = (self.cut.number, self._content(self.cut))
        self._forget()

    @precondition(lambda self: self.cut is None and self.log.last_number > 0)
    @rule(data=st.data())
    def the_upstream_is_restored_to_an_older_backup(self, data: st.DataObject) -> None:
        """What was on its way is gone with it; the link goes back to before the first batch that is missing."""
        kept = data.draw(st.integers(0, self.log.last_number - 1))
        del self.upstream.batches[kept:]
        self.under_way = None
        lost = self.log.sent[kept + 1]
        self.log.cursor, self.log.window_seq = lost.start, lost.after
        self.log.window_end = (lost.joint or lost.end) if lost.after else None
        self.log.last_number = kept
        self.log.sent = {number: sent for number, sent in self.log.sent.items() if number <= kept}

    @precondition(lambda self: self.under_way is not None)
    @rule()
    def what_was_under_way_arrives(self) -> None:
        self._finish_what_is_under_way(commit=True)

    # What must hold.

    @invariant()
    def nothing_is_delivered_twice_or_in_halves(self) -> None:
        delivered = [t for batch in self.upstream.batches for t in batch]
        assert len({t.xid for t in delivered}) == len(delivered)
        assert all(t.committed_after is not None for t in delivered)

    def teardown(self) -> None:
        for transaction in list(self.source.running.values()):
            self.source.end(transaction, commit=True)
        self.crash()
        while True:
            self.look(3)
            if self.cut is None:
                break
            self.record()
            self.deliver(True)
            self.acknowledge()
        delivered = [t for batch in self.upstream.batches for t in batch]
        assert sorted(t.xid for t in delivered) == sorted(t.xid for t in self.source.committed)
        hold_serial(delivered)

    def _next_cut(self, enough: int) -> Cut | None:
        end, after = self.log.window_end, self.log.window_seq
        if end is None:
            end, after = self.source.snapshot(), 0
        window = self.source.window(self.log.cursor, end, after)
        taken = cut(window, enough)
        if not taken:
            assert self.log.window_end is None, "an open window in which nothing is left"
            return None
        return Cut(self.log.last_number + 1, self.log.cursor, end, after, taken[-1].last_seq, taken[-1] is window[-1])

    def _content(self, of: Cut) -> tuple[Transaction, ...]:
        """Read a cut, as often as one likes."""
        window = self.source.window(of.start, of.joint or of.end, of.after)
        if of.joint is not None:
            window = sorted(window + self.source.window(of.joint, of.end, 0), key=lambda t: t.last_seq)
            return tuple(window)
        return tuple(t for t in window if t.last_seq <= of.last)

    def _finish_what_is_under_way(self, *, commit: bool) -> None:
        if self.under_way is not None and commit and self.under_way[0] >= len(self.upstream.batches):
            self.upstream.apply(*self.under_way)
        self.under_way = None

    def _forget(self) -> None:
        self.cut, self.recorded, self.applied = None, False, False


TestEveryChangeIsDeliveredOnceInASerialOrder = LinkMachine.TestCase
TestEveryChangeIsDeliveredOnceInASerialOrder.settings = settings(
    max_examples=250, stateful_step_count=50, deadline=None
)
