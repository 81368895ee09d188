"""What is worth telling somebody about a relay, decided from how it stands now. Pure.

A driver's laptop is offline most of the time, and that is no news. It is when bundles wait in it all the while.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from dbsync.alerts.conditions import Condition, Kind, Limits, Severity, of_certificates
from dbsync.model.words import ago, size
from dbsync.verify.words import counted

LAST = 5
"""Of the room that the spool's disk should have, this part is the last: less is critical."""
_LOOK = "dbsync relay status   (says why)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Custody:
    """How a relay stands, as far as is known."""

    relay: str
    now: datetime
    records_away: bool = False
    """What it knows cannot be read; then nothing else is known but the room and the certificates."""
    upstream: str | None = None
    """None: it was never enrolled."""
    refused: bool = False
    """The upstream lets it in no more, or something else is in the way that no waiting mends."""
    visited: datetime | None = None
    """When it was at the upstream last, and nothing was in the way."""
    waiting: int = 0
    oldest: datetime | None = None
    """Bundles that are to go on, and since when the first is here."""
    marked: Mapping[str, int] = field(default_factory=dict)
    """By node, bundles that the upstream did not take, or the spool does not give back."""
    free: int | None = None
    """Bytes on the spool's disk; None where that cannot be told."""
    certificates: Mapping[str, datetime] = field(default_factory=dict)


def judge_custody(found: Custody, limits: Limits, *, room: int) -> tuple[Condition, ...]:
    """Say what is the matter, the worst first. ``room`` is how many bytes the spool's disk should have."""
    conditions = (
        *_of_records(found),
        *_of_room(found, room),
        *_of_way(found, limits),
        *_of_marked(found),
        *of_certificates(found.relay, found.certificates, found.now, limits),
    )
    return tuple(sorted(conditions, key=lambda one: one.severity is not Severity.CRITICAL))


def _of_records(found: Custody) -> Iterator[Condition]:
    if found.records_away:
        yield Condition(
            kind=Kind.DATABASE,
            subject=found.relay,
            severity=Severity.CRITICAL,
            what=f"what {found.relay} knows cannot be read: its file or its disk is damaged or full",
            hint="dbsync relay check",
        )


def _of_room(found: Custody, room: int) -> Iterator[Condition]:
    if found.free is None or found.free >= room:
        return
    last = found.free < room / LAST
    yield Condition(
        kind=Kind.NO_ROOM,
        subject=found.relay,
        severity=Severity.CRITICAL if last else Severity.WARNING,
        what=f"the spool of {found.relay} is getting full: {size(found.free)} are free on its disk",
        hint="dbsync relay run --once   (brings on what it holds), or make room",
        level=2 if last else 1,
    )


def _of_way(found: Custody, limits: Limits) -> Iterator[Condition]:
    way = f"{found.relay} -> {found.upstream or 'its upstream'}"
    subject = found.upstream or found.relay
    held = f"{counted(found.waiting, 'bundle')} wait"
    if found.refused:
        what = f"{way}: it is not let in, and {held}"
        yield Condition(
            kind=Kind.HALTED, subject=subject, severity=Severity.CRITICAL, what=what, hint="dbsync relay check"
        )
    if found.oldest is None:
        return
    begun = max(found.oldest, found.visited) if found.visited is not None else found.oldest
    if not found.refused and (found.now - begun).total_seconds() >= limits.unreachable:
        what = f"{way} is out of reach since {begun:%Y-%m-%d %H:%M}, and {held}"
        yield Condition(
            kind=Kind.UNREACHABLE, subject=subject, severity=Severity.WARNING, what=what, hint="dbsync relay check"
        )
    if limits.lag is not None and (found.now - found.oldest).total_seconds() > limits.lag:
        what = f"{way}: the first bundle is in custody for more than {ago(limits.lag)}"
        yield Condition(kind=Kind.LAG, subject=subject, severity=Severity.WARNING, what=what, hint=_LOOK)


def _of_marked(found: Custody) -> Iterator[Condition]:
    for node, bundles in sorted(found.marked.items()):
        yield Condition(
            kind=Kind.MARKED,
            subject=node,
            severity=Severity.WARNING,
            what=f"{counted(bundles, 'bundle')} of {node} stay with {found.relay}, with a reason; those behind wait",
            hint=_LOOK,
            level=bundles,
        )
