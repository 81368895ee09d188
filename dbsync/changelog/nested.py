"""Which changes of a transaction come before others though the log has them later. Pure: it decides, and reads nothing.

Capture runs at a statement's end, and what triggers of the application did has ended by then: so it is in the log first. What a
BEFORE trigger did is in its place there; what an AFTER trigger did belongs behind the statement that fired it. The log does
not say which of the two it was, but a row cannot be changed before it is there, nor be two things at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

State = tuple[int | None, int | None] | None
"""What is in a place: what tells its values, and its references, from others. None is nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one change does to one place: a row's id, or its key."""

    xid: str
    relation: str
    slot: str
    is_key: bool
    seq: int
    depth: int
    """1 for what the application ran itself, one more for each trigger around it."""
    op: str
    run: int
    """The first change of its statement."""
    fired_in: int | None
    """The run of the next statement that was less deep."""
    was: State
    becomes: State

    @property
    def place(self) -> tuple[str, str, bool, str]:
        """Say which place it is."""
        return self.xid, self.relation, self.is_key, self.slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A statement's changes, told by its run, go before a change of another run; or stay, where ``before`` is None."""

    xid: str
    run: int
    behind: int
    """The last change that is known to come before it; 0 for none."""
    before: int | None = None
    before_run: int = 0


Fired = Callable[[Step, Step], bool]
"""Says of an outer step and a nested one whether the former fired the latter, where their values would allow both."""


def moves(steps: Iterable[Step], fired: Fired) -> Iterator[Move]:
    """Decide which statements go before what they fired; the steps come place by place, each in the order of the log."""
    for _, chain in groupby(steps, key=lambda step: step.place):
        yield from _of_place(chain, fired)


def places(moved: Iterable[Move]) -> Mapping[int, tuple[int, ...]]:
    """Give each moved run its place: to be sorted among ``(seq, 0)`` of what stays, followed by its own seq and 0.

    A statement goes before the first of what it fired, and what goes with that. All its BEFORE triggers ran before any of its
    AFTER triggers: what comes before a change that is known to be of the former is of the former.
    """
    wanted: dict[int, list[Move]] = {}
    for move in moved:
        wanted.setdefault(move.run, []).append(move)
    found: dict[int, tuple[int, ...]] = {}
    for run, all_of_it in sorted(wanted.items()):  # what was fired ended before what fired it: its place is known
        behind = max(move.behind for move in all_of_it)
        before = [
            (move.before, move.before_run) for move in all_of_it if move.before is not None and move.before > behind
        ]
        if before:
            first, of_run = min(before)
            found[run] = (*found.get(of_run, ()), first, -run)
    return found


def _of_place(chain: Iterable[Step], fired: Fired) -> Iterator[Move]:
    order: list[Step] = []
    last: dict[int, int] = {}
    for _, of_run in groupby(chain, key=lambda step: step.run):
        step, end = _whole(of_run)
        ended = max((seq for depth, seq in last.items() if depth <= step.depth), default=0)
        begin = len(order)
        while begin and order[begin - 1].depth > step.depth and order[begin - 1].seq > ended:
            begin -= 1
        at, is_sure = _position(order, begin, step, fired)
        if at < len(order) or (is_sure and begin < at):
            yield _move(step, order[at - 1] if is_sure and begin < at else None, order[at] if at < len(order) else None)
        order.insert(at, step)
        last[step.depth] = end


def _whole(steps: Iterable[Step]) -> tuple[Step, int]:
    """Take what one statement did to a place for one step, and say where it ends: a cascade may come back to a row."""
    first, *others = steps
    return (replace(first, becomes=others[-1].becomes), others[-1].seq) if others else (first, first.seq)


def _move(step: Step, behind: Step | None, nested: Step | None) -> Move:
    """Put a statement between two nested ones: updates of one moment are one statement, of others that is not sure."""
    move = Move(xid=step.xid, run=step.run, behind=0 if behind is None else behind.seq)
    if nested is None:
        return move
    return replace(move, before=nested.run if nested.op == "U" else nested.seq, before_run=nested.run)


def _position(order: Sequence[Step], begin: int, step: Step, fired: Fired) -> tuple[int, bool]:
    """Find where a step belongs among those that it may have fired, the last ones, and say whether that is sure.

    Its place in the log is behind them all.
    """
    end = len(order)
    possible = [at for at in range(begin, end + 1) if _fits(order, at, step, exactly=False)]
    is_sure = len(possible) == 1
    if not is_sure:
        possible = [at for at in possible if _fits(order, at, step, exactly=True)] or possible
    if not possible:
        return end, False
    if len(possible) == 1 or possible[-1] != end:
        return possible[0], is_sure
    return (possible[0] if fired(step, order[possible[0]]) else end), False


def _fits(order: Sequence[Step], at: int, step: Step, *, exactly: bool) -> bool:
    return (at == 0 or _same(order[at - 1].becomes, step.was, exactly=exactly)) and (
        at == len(order) or _same(step.becomes, order[at].was, exactly=exactly)
    )


def _same(left: State, right: State, *, exactly: bool) -> bool:
    if left is None or right is None:
        return left is right
    return left == right if exactly else left[0] == right[0]
