"""Which changes of a transaction come before others though the log has them later. Pure: it decides, and reads nothing.

Capture runs at a statement's end, and what triggers of the application did has ended by then: so it is in the log first. What a
BEFORE trigger did is in its place there; what an AFTER trigger did belongs behind the statement that fired it. The log does
not say which of the two it was, but a row cannot be changed before it is there, nor be two things at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby

State = tuple[int | None, int | None] | None
"""What is in a place: what tells its values, and its references, from others. None is nothing."""


Place = tuple[int, ...]
"""Where a change stands in the new order, to be compared with others."""


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
    ends_in: tuple[int | None, ...]
    """The runs of the next statements that were at most 1, 2, 3 ... deep."""
    was: State
    becomes: State

    @property
    def about(self) -> tuple[str, str, bool, str]:
        """Say which place it is."""
        return self.xid, self.relation, self.is_key, self.slot

    def is_within(self, outer: Step) -> bool:
        """Say whether a less deep statement is the first that ended behind this one: it fired it, if it was captured at all."""
        return outer.depth > len(self.ends_in) or self.ends_in[outer.depth - 1] == outer.run


@dataclass(frozen=True, slots=True, kw_only=True)
class _Move:
    """A statement's changes go before one change, or stay where that is None, and behind another that is known to come first."""

    run: int
    before: tuple[int, int] | None
    """Its run and its seq, as of ``behind``."""
    behind: tuple[int, int] | None


Fired = Callable[[Step, Step], bool]
"""Says of a statement whether it fired another one that ended before it, where the values would allow both."""


def places(steps: Iterable[Step], fired: Fired) -> Mapping[int, Place]:
    """Decide which statements go before what they fired; give the place of each, by its run.

    The steps come place by place, the ids before the keys, each in the order of the log. A change that moves is to be sorted
    by its statement's place, its own seq and 0, among ``(seq, 0)`` of those that stay.
    """
    moves: list[_Move] = []
    found: Mapping[int, Place] = {}
    for is_key, of_kind in groupby(steps, key=lambda step: step.is_key):
        comes_before = partial(_is_before, found) if is_key else fired
        for _, chain in groupby(of_kind, key=lambda step: step.about):
            moves += _of_place(chain, comes_before)
        found = _places(moves)
    return found


def _is_before(found: Mapping[int, Place], step: Step, nested: Step) -> bool:
    """Say of a key, where nothing speaks against either, what the row itself says."""
    return _rank(found, (step.run, step.seq)) < _rank(found, (nested.run, nested.seq))


def _places(moves: Iterable[_Move]) -> Mapping[int, Place]:
    """Put each statement before the first of what it fired, and of what goes with that.

    All its BEFORE triggers ran before any of its AFTER triggers: what comes before a change that is known to be of the former is
    of the former.
    """
    wanted: dict[int, list[_Move]] = {}
    for move in moves:
        wanted.setdefault(move.run, []).append(move)
    found: dict[int, Place] = {}
    for run, all_of_it in sorted(wanted.items()):  # what was fired ended before what fired it: its place is known
        behind = max((_rank(found, move.behind) for move in all_of_it if move.behind), default=())
        before = min(
            (at for move in all_of_it if move.before and (at := _rank(found, move.before)) > behind), default=None
        )
        if before is not None:
            found[run] = (*before[:-1], -run)
    return found


def _rank(found: Mapping[int, Place], change: tuple[int, int]) -> Place:
    run, seq = change
    return (*found.get(run, ()), seq, 0)


def _of_place(chain: Iterable[Step], fired: Fired) -> Iterator[_Move]:
    order: list[Step] = []
    ended: dict[int, int] = {}
    for _, of_run in groupby(chain, key=lambda step: step.run):
        step, end = _whole(of_run)
        behind = max((seq for depth, seq in ended.items() if depth <= step.depth), default=0)
        at, is_sure = _position(order, behind, step, fired)
        if at < len(order) or is_sure:
            yield _Move(
                run=step.run,
                before=_before(order[at]) if at < len(order) else None,
                behind=(order[at - 1].run, order[at - 1].seq) if is_sure else None,
            )
        order.insert(at, step)
        ended[step.depth] = end


def _whole(steps: Iterable[Step]) -> tuple[Step, int]:
    """Take what one statement did to a place for one step, and say where it ends: a cascade may come back to a row."""
    first, *others = steps
    return (replace(first, becomes=others[-1].becomes), others[-1].seq) if others else (first, first.seq)


def _before(nested: Step) -> tuple[int, int]:
    """Take a nested statement as a whole: updates of one moment are one statement, of others that is not sure."""
    return nested.run, nested.run if nested.op == "U" else nested.seq


def _position(order: Sequence[Step], behind: int, step: Step, fired: Fired) -> tuple[int, bool]:
    """Find where a step belongs, and whether something is known to come before it that may seem to be fired by it.

    Its place in the log is behind all others. What it fired is among the last ones, deeper than it, and came ``behind`` a seq. If it
    fits nowhere among those, what is in between may be of the same statement: one that merges, or writes several tables.
    """
    end = len(order)
    widest = _back(order, lambda other: other.depth > step.depth and other.seq > behind)
    begin = max(widest, _back(order, lambda other: other.is_within(step)))
    possible = [at for at in range(begin, end + 1) if _fits(order, begin, at, step)]
    if not possible:
        wider = [at for at in range(widest, begin) if _fits(order, widest, at, step)]
        return (wider[-1], False) if wider else (end, False)
    if len(possible) == 1:
        return possible[0], possible[0] > begin
    possible = [at for at in possible if _fits(order, begin, at, step, exactly=True)] or possible
    if len(possible) == 1 or possible[-1] != end:
        return possible[0], False
    return possible[0] if fired(step, order[possible[0]]) else end, False


def _back(order: Sequence[Step], holds: Callable[[Step], bool]) -> int:
    begin = len(order)
    while begin and holds(order[begin - 1]):
        begin -= 1
    return begin


def _fits(order: Sequence[Step], begin: int, at: int, step: Step, *, exactly: bool = False) -> bool:
    """Say whether a step could stand at a place. Before what it fired something less deep may still come in between."""
    is_next = at > begin or (at > 0 and step.depth == 1)
    return (not is_next or _same(order[at - 1].becomes, step.was, exactly=exactly)) and (
        at == len(order) or _same(step.becomes, order[at].was, exactly=exactly)
    )


def _same(left: State, right: State, *, exactly: bool) -> bool:
    if left is None or right is None:
        return left is right
    return left == right if exactly else left[0] == right[0]
