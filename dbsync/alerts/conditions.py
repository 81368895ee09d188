"""What is worth telling somebody about a node, decided from how it stands now. Pure.

Nothing here holds a row's value or key, nor the reason that ``dbsync status`` gives, which may name a key: what is told may
leave the house.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from dbsync.model.words import ago
from dbsync.verify.words import counted


class Kind(StrEnum):
    """What may be the matter."""

    DATABASE = "database_away"
    CAPTURE = "capture_off"
    TRIGGERS = "triggers"
    HALTED = "halted"
    NO_ROOM = "no_room"
    UNREACHABLE = "unreachable"
    LAG = "lag"
    MARKED = "bundle_marked"
    QUARANTINE = "quarantine"
    CERTIFICATE = "certificate"
    STOPPED = "stopped"
    PAUSED = "paused"
    TEST = "test"


class Severity(StrEnum):
    """How bad it is."""

    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From when on something is worth telling, in seconds; None never."""

    unreachable: float
    lag: float | None
    certificate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """How a node stands, as far as is known."""

    node: str
    now: datetime
    database_away: bool = False
    """Its own database does not answer; then nothing else is known but the certificates."""
    link: str | None = None
    state: str = "new"
    since: datetime | None = None
    """The link's state, and since when it is in it."""
    no_room: bool = False
    """What is in the way is that a disk or stick is full, or that no connection, memory or lock is left."""
    contact: datetime | None = None
    """When the upstream answered last."""
    claimed: bool = True
    """Whether somebody has the link now: who streams does."""
    pending: int = 0
    """Changes without a receipt; many are estimated."""
    lag: float | None = None
    quarantined: int = 0
    """Changes of this node that wait upstream."""
    waiting_here: int = 0
    """Changes of other nodes that wait in this node's database."""
    capture_off_since: datetime | None = None
    blind: int = 0
    """Tables that are to be captured and whose triggers are missing or disabled."""
    paused_since: datetime | None = None
    """Since when shipping is paused, whether or not a service runs that could say so."""
    certificates: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that is the matter."""

    kind: Kind
    subject: str
    """The link, the node or the certificate that it is about."""
    severity: Severity
    what: str
    hint: str
    level: int = 1
    """How much of it there is: more of it is told again."""


def judge(found: Situation, limits: Limits) -> tuple[Condition, ...]:
    """Say what is the matter, the worst first."""
    conditions = (
        *_of_node(found),
        *_of_link(found, limits),
        *of_certificates(found.node, found.certificates, found.now, limits),
    )
    return tuple(sorted(conditions, key=lambda one: one.severity is not Severity.CRITICAL))


def judge_from_outside(found: Situation, limits: Limits) -> tuple[Condition, ...]:
    """Say besides what a program cannot tell of itself, that it does not run; and what nobody is called for: a pause."""
    return (*judge(found, limits), *_of_service(found), *_of_pause(found))


def _of_pause(found: Situation) -> Iterator[Condition]:
    if found.link is None or found.paused_since is None:
        return
    yield Condition(
        kind=Kind.PAUSED,
        subject=found.link,
        severity=Severity.WARNING,
        what=f"shipping from {found.node} to {found.link} is paused since {found.paused_since:%Y-%m-%d %H:%M %Z}",
        hint="dbsync resume",
    )


def _of_service(found: Situation) -> Iterator[Condition]:
    if found.link is None:
        return
    way = f"{found.node} -> {found.link}"
    if found.state in ("stopped", "new") and found.pending:
        what = (
            f"{way} {'is stopped' if found.state == 'stopped' else 'was never started'}, and {_waiting(found.pending)}"
        )
    elif found.state == "streaming" and not found.claimed:
        what = f"{way} does not run: it ended without a word{_heard(found)}"
    else:
        return
    yield Condition(
        kind=Kind.STOPPED,
        subject=found.link,
        severity=Severity.WARNING,
        what=what,
        hint="systemctl status dbsync",
    )


def _heard(found: Situation) -> str:
    return f", {ago((found.now - found.contact).total_seconds())} after its last contact" if found.contact else ""


def _of_node(found: Situation) -> Iterator[Condition]:
    if found.database_away:
        yield Condition(
            kind=Kind.DATABASE,
            subject=found.node,
            severity=Severity.CRITICAL,
            what=f"the database of {found.node} does not answer",
            hint="dbsync check",
        )
    if found.capture_off_since is not None:
        yield Condition(
            kind=Kind.CAPTURE,
            subject=found.node,
            severity=Severity.CRITICAL,
            what=f"capture is off on {found.node} since {found.capture_off_since:%Y-%m-%d %H:%M %Z}: changes made now are lost",
            hint="dbsync capture on",
        )
    if found.blind:
        yield Condition(
            kind=Kind.TRIGGERS,
            subject=found.node,
            severity=Severity.CRITICAL,
            what=f"triggers are missing or disabled on {counted(found.blind, 'table')} of {found.node}: changes made now are lost",
            hint="dbsync status   then: dbsync install-triggers",
            level=found.blind,
        )
    if found.waiting_here:
        yield Condition(
            kind=Kind.QUARANTINE,
            subject=found.node,
            severity=Severity.WARNING,
            what=f"{_waiting(found.waiting_here, ' of nodes')} in quarantine at {found.node}",
            hint="dbsync quarantine list --here",
            level=found.waiting_here,
        )


def _of_link(found: Situation, limits: Limits) -> Iterator[Condition]:
    if found.link is None:
        return
    way = f"{found.node} -> {found.link}"
    if found.state == "halted":
        what = f"{way} is halted: a change cannot be applied, or a right is missing, and nothing behind it goes"
        yield _about(found.link, Kind.HALTED, Severity.CRITICAL, what)
    if found.no_room:
        what = f"{way}: a disk or a stick is full, or no connection, memory or lock is left"
        yield _about(found.link, Kind.NO_ROOM, Severity.CRITICAL, what)
    elif found.state == "unreachable" and _lasts(found, limits.unreachable):
        yield _about(found.link, Kind.UNREACHABLE, Severity.WARNING, f"{way} is out of reach since {_since(found)}")
    if limits.lag is not None and found.lag is not None and found.lag > limits.lag:
        what = f"{way}: the oldest change without a receipt is more than {ago(limits.lag)} old"
        yield _about(found.link, Kind.LAG, Severity.WARNING, what)
    if found.quarantined:
        yield Condition(
            kind=Kind.QUARANTINE,
            subject=found.link,
            severity=Severity.WARNING,
            what=f"{_waiting(found.quarantined, f' of {found.node}')} in quarantine at {found.link}",
            hint="dbsync quarantine list",
            level=found.quarantined,
        )


def of_certificates(
    node: str, certificates: Mapping[str, datetime], now: datetime, limits: Limits
) -> Iterator[Condition]:
    """Say which certificates end soon, of those that a node shows or met."""
    for of, ends in sorted(certificates.items()):
        left = (ends - now).total_seconds()
        if left > limits.certificate:
            continue
        whose = f"the certificate of {node}" if of == "own" else f"the certificate of {of}, as {node} met it,"
        yield Condition(
            kind=Kind.CERTIFICATE,
            subject=of,
            severity=Severity.WARNING if left > 0 else Severity.CRITICAL,
            what=f"{whose} {'ends' if left > 0 else 'ended'} on {ends:%Y-%m-%d}",
            hint="renew it, and start dbsync serve again there",
            level=1 if left > limits.certificate / 10 else 2 if left > 0 else 3,
        )


def _about(link: str, kind: Kind, severity: Severity, what: str) -> Condition:
    return Condition(kind=kind, subject=link, severity=severity, what=what, hint="dbsync status   (says why)")


def _lasts(found: Situation, limit: float) -> bool:
    return found.since is not None and (found.now - found.since).total_seconds() >= limit


def _since(found: Situation) -> str:
    return f"{found.since:%Y-%m-%d %H:%M %Z}" if found.since is not None else "it began"


def _waiting(number: int, of: str = "") -> str:
    """Say how many wait.

    >>> _waiting(1, " of nodes"), _waiting(2)
    ('1 change of nodes waits', '2 changes wait')
    """
    return f"{counted(number, 'change')}{of} {'waits' if number == 1 else 'wait'}"
