"""How everything is, in one sentence: the worst first, and who or what it is about. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum

from dbsync.dashboard.facts import Facts, Sender
from dbsync.model.words import ago
from dbsync.service.link import LinkState
from dbsync.service.status import Custody, Status
from dbsync.verify.words import counted

ABSENT = timedelta(days=1)
"""A node that was not here for so long is named."""
LATE = 15 * 60.0
"""Seconds: a change without a receipt that is older is worth a word, though changes go."""
CLOCK = 60.0
"""Seconds by which a clock may be off before it is worth one."""
CLAUSES = 4
"""So many fit into one sentence."""
_RIGHT = {"installed", "removed"}


class Level(IntEnum):
    """How bad it is."""

    GOOD = 0
    NOTE = 1
    BAD = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The sentence, and how bad it is."""

    level: Level
    text: str


@dataclass(frozen=True, slots=True)
class Clause:
    """A part of the sentence."""

    level: Level
    text: str


_STATES: Mapping[str, tuple[Level, str]] = {
    LinkState.NEW: (Level.NOTE, "nothing was shipped to {name} yet"),
    LinkState.UNREACHABLE: (Level.NOTE, "{name} is out of reach"),
    LinkState.HALTED: (Level.BAD, "the link to {name} is halted"),
    LinkState.PAUSED: (Level.NOTE, "shipping to {name} is paused"),
    LinkState.STOPPED: (Level.NOTE, "the service that ships to {name} is stopped"),
    LinkState.FULL: (Level.BAD, "the stick for {name} is full"),
    LinkState.BROKER_FULL: (Level.NOTE, "the broker before {name} is full"),
}
"""What a link does that does not stream; what is not here is as it should be, on a stick."""
_LASTING = (LinkState.UNREACHABLE, LinkState.HALTED, LinkState.PAUSED, LinkState.STOPPED)


def health(facts: Facts) -> Health:
    """Say how everything is."""
    said = list(_clauses(facts))
    worst = max((clause.level for clause in said), default=Level.GOOD)
    told = sorted(said, key=lambda clause: -clause.level)[:CLAUSES]
    if worst is Level.GOOD:
        told.append(Clause(Level.GOOD, "nothing waits for a person"))
    text = "; ".join(clause.text for clause in told)
    return Health(level=worst, text=f"{_begun(text, facts)}.")


def _begun(text: str, facts: Facts) -> str:
    """Begin a sentence with a capital, unless it begins with a name."""
    names = {facts.upstream, *(sender.name for sender in facts.senders)}
    first = text.split(maxsplit=1)[0].rstrip(":")
    return text if first in names else f"{text[:1].upper()}{text[1:]}"


def _clauses(facts: Facts) -> Iterator[Clause]:
    if facts.own is not None:
        yield from _capture(facts.own)
        yield from _link(facts.own)
    elif facts.upstream is not None:
        yield Clause(Level.BAD, f"no trigger is installed here, and nothing goes to {facts.upstream}")
    if facts.senders or facts.upstream is None:
        yield from _senders(facts.senders, facts.now)
    if facts.cases:
        verb = "waits" if facts.cases == 1 else "wait"
        yield Clause(Level.NOTE, f"{counted(facts.cases, 'change')} {verb} for a person")


def _capture(own: Status) -> Iterator[Clause]:
    off = own.node.capture_off_since
    if off is not None:
        yield Clause(
            Level.BAD, f"capture is off since {_since(off, own.now)}: changes made now never reach {own.link.name}"
        )
    wrong = [table for table in own.tables if table.trigger not in _RIGHT]
    if wrong:
        which = str(wrong[0].table) if len(wrong) == 1 else counted(len(wrong), "table")
        yield Clause(Level.BAD, f"the triggers of {which} need care")


def _link(own: Status) -> Iterator[Clause]:
    link, name = own.link, own.link.name
    if link.state == LinkState.STREAMING:
        yield _streaming(own)
    else:
        level, words = _STATES.get(link.state, (Level.GOOD, f"{{name}}: {link.state}"))
        since = f" since {_since(link.since, own.now)}" if link.since is not None and link.state in _LASTING else ""
        yield Clause(level, f"{words.format(name=name)}{since}{_kept(own)}")
    if own.node.paused_since is not None and link.state != LinkState.PAUSED:
        yield Clause(Level.NOTE, f"shipping to {name} is paused since {_since(own.node.paused_since, own.now)}")
    if own.quarantined:
        verb = "waits" if own.quarantined == 1 else "wait"
        yield Clause(Level.NOTE, f"{counted(own.quarantined, 'change')} {verb} in quarantine at {name}")
    if link.clock_off is not None and abs(link.clock_off) >= CLOCK:
        side = "ahead of" if link.clock_off > 0 else "behind"
        yield Clause(Level.NOTE, f"this clock is {ago(abs(link.clock_off))} {side} that of {name}")


def _streaming(own: Status) -> Clause:
    name = own.link.name
    if not own.pending:
        return Clause(Level.GOOD, f"everything captured here is at {name}")
    late = own.lag is not None and own.lag >= LATE
    age = f", the oldest for {ago(own.lag)}" if late and own.lag is not None else ""
    verb = "is" if own.pending == 1 else "are"
    return Clause(Level.NOTE if late else Level.GOOD, f"{_pending(own)} {verb} on the way to {name}{age}")


def _kept(own: Status) -> str:
    """Say where what has no receipt is."""
    if not own.pending:
        return ", nothing is pending"
    verb = "waits" if own.pending == 1 else "wait"
    here = f", {_pending(own)} {verb} safely here"
    return f"{here}, {_with_drivers(own.link.custody, own.now)}" if own.link.custody else here


def _with_drivers(custody: Sequence[Custody], now: datetime) -> str:
    return " and ".join(
        f"{one.changes:,} of them {'is' if one.changes == 1 else 'are'} with {one.relay} since {_since(one.since, now)}"
        for one in custody
    )


def _pending(own: Status) -> str:
    return f"{'' if own.exact else 'about '}{counted(own.pending, 'change')}"


def _senders(senders: Sequence[Sender], now: datetime) -> Iterator[Clause]:
    expected = [one for one in senders if one.expected]
    absent = [one for one in expected if one.seen_at is None or now - one.seen_at > ABSENT]
    yield from _clocks(expected)
    if not expected:
        yield Clause(Level.GOOD, "no node brings its changes here yet")
    elif not absent:
        yield Clause(Level.GOOD, _all_here(expected, now))
    else:
        longest = min(absent, key=lambda one: (one.seen_at or datetime.min.replace(tzinfo=now.tzinfo), one.name))
        if len(absent) == 1:
            yield Clause(Level.NOTE, f"{longest.name} {_not_here(longest, now)}")
        else:
            yield Clause(
                Level.NOTE,
                f"{len(absent):,} of {len(expected):,} nodes were not here within a day:"
                f" {longest.name} {_not_here(longest, now)}",
            )


def _clocks(expected: Sequence[Sender]) -> Iterator[Clause]:
    for one in expected:
        off = one.told.greeting.clock_off if one.told is not None else None
        if off is not None and abs(off) >= CLOCK:
            yield Clause(Level.NOTE, f"the clock of {one.name} is {ago(abs(off))} {'ahead' if off > 0 else 'behind'}")


def _all_here(expected: Sequence[Sender], now: datetime) -> str:
    if len(expected) == 1 and expected[0].seen_at is not None:
        return f"{expected[0].name} was here {_how_long(now - expected[0].seen_at)}"
    every = "both nodes were" if len(expected) == 2 else f"all {len(expected):,} nodes were"  # noqa: PLR2004 - two is both
    return f"{every} here within a day"


def _not_here(one: Sender, now: datetime) -> str:
    if one.seen_at is None:
        return "was never here"
    return f"was not here for {ago((now - one.seen_at).total_seconds())}{_left(one, now)}"


def _left(one: Sender, now: datetime) -> str:
    """Say what a node still had when it was here last."""
    if one.told is None or not one.pending:
        return ""
    carried = " and ".join(
        f"{carried.changes:,} {'is' if carried.changes == 1 else 'are'} with {carried.relay} since {_since(carried.since, now)}"
        for carried in one.told.greeting.carried
    )
    return f", and had {counted(one.pending, 'change')} then{f', of which {carried}' if carried else ''}"


def _how_long(passed: timedelta) -> str:
    seconds = passed.total_seconds()
    return "just now" if seconds < 60 else f"{ago(max(seconds, 120.0))} ago"  # noqa: PLR2004 - a minute


def _since(at: datetime, now: datetime) -> str:
    """Say a time as people do: by the hour today, by the day this week, else by the date; UTC, as everywhere.

    >>> from datetime import UTC
    >>> noon = datetime(2026, 11, 26, 12, tzinfo=UTC)
    >>> [_since(noon - timedelta(hours=hours), noon) for hours in (1, 30, 300)]
    ['11:00 UTC', 'Wednesday', '2026-11-14']
    """
    if at.date() == now.date():
        return f"{at:%H:%M} UTC"
    return f"{at:%A}" if now - at < timedelta(days=6) else f"{at:%Y-%m-%d}"
