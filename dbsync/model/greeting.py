"""What a node tells its upstream of itself when they are in touch: the upstream knows what came, not what is still to come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """Changes without a receipt that a relay has in custody."""

    relay: str
    changes: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """How a node is, as it says."""

    program: str
    """The version of its dbsync."""
    schema: str
    """The revision of dbsync's schema in its database."""
    clock_off: float | None
    """Seconds by which its clock is ahead of the upstream's."""
    pending: int
    """Changes without a receipt."""
    exact: bool
    """They were counted; else it is an estimate."""
    oldest: datetime | None
    """When the oldest of them was captured."""
    carried: tuple[Carried, ...] = ()
