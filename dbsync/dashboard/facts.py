"""What the pages tell, as frozen values: gathered in one look at the database, shared by everybody who looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dbsync.changelog.lives import Event
from dbsync.identity.registry import Role
from dbsync.model.greeting import Greeting
from dbsync.model.names import TableName
from dbsync.service.nodes import State
from dbsync.service.status import Status
from dbsync.service.tables import Listed


@dataclass(frozen=True, slots=True, kw_only=True)
class LastBatch:
    """The newest batch of a node that was applied here."""

    number: int
    changes: int
    at: datetime
    lag: float
    """Seconds from the oldest of its changes to its being here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a node said of itself, and when."""

    at: datetime
    greeting: Greeting


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """A node that brings its changes here, or a relay that carries those of others."""

    name: str
    role: Role
    state: State | None
    """None for a node that writes here directly, and was never let in by a key."""
    seen_at: datetime | None
    last: LastBatch | None = None
    today: int = 0
    """Changes applied since midnight, UTC."""
    cases: int = 0
    """Its changes in quarantine here that need a person ..."""
    behind: int = 0
    """... and those that wait behind them."""

    told: Told | None = None
    """What it said of itself at its last contact; nothing came of a node of an older version, or by stick alone."""

    @property
    def pending(self) -> int | None:
        """Give the changes without a receipt that it had at its last contact; None where nothing is known."""
        return self.told.greeting.pending if self.told else None

    @property
    def expected(self) -> bool:
        """Say whether it should come: it is a node, was here before, and was not thrown out."""
        return self.role is Role.NODE and self.state in (None, State.ENROLLED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Changes of one node's table in quarantine here."""

    node: str
    relation: str
    cases: int
    behind: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What came, or went, in one step of time."""

    begin: datetime
    changes: int
    lag: float | None
    """Seconds, of the oldest change; None where none came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What came, or went, step by step, without gaps."""

    step: timedelta
    moments: Sequence[Moment]

    @property
    def changes(self) -> int:
        """Count all of it."""
        return sum(one.changes for one in self.moments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that is shown of how things are."""

    place: str
    """The node's name."""
    now: datetime
    revision: str
    """Of dbsync's schema, that this program needs."""
    upstream: str | None
    """What this node ships to; None for the topmost."""
    own: Status | None
    """How its shipping stands; None where it ships nothing, or its triggers were never installed."""
    senders: tuple[Sender, ...]
    waiting: tuple[Waiting, ...]
    tables: tuple[Listed, ...]
    triggers: Mapping[TableName, str] = field(default_factory=dict)
    """State by table."""
    events: tuple[Event, ...] = ()
    came: History | None = None
    """What nodes brought here."""
    went: History | None = None
    """What this node has receipts for."""

    @property
    def cases(self) -> int:
        """Count what needs a person here."""
        return sum(one.cases for one in self.waiting)

    @property
    def serves(self) -> bool:
        """Say whether others bring their changes here."""
        return bool(self.senders)
