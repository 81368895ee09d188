"""Who was told what: nothing is told before it lasted, twice, or for ever to somebody who does not hear. Pure.

A condition is told when it has stood for ``settle`` seconds, told again when there is more of it, and called off when it has
been gone as long. Each hook that fails is tried again a few times, with growing pauses, and then given up until something
else is to be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from dbsync.alerts.conditions import Condition, Kind

PAUSES = (60.0, 300.0, 1800.0)
"""Seconds before each further try; after them it is given up."""
AGAIN = 900.0
"""Seconds after which more of the same is worth another word."""

Name = tuple[Kind, str]
"""What it is about."""


@dataclass(slots=True, kw_only=True)
class Standing:
    """One condition, from when it was first seen until somebody heard that it is over."""

    condition: Condition
    since: float
    gone: float | None = None
    """When it was seen no more."""
    level: int = 0
    """Of what was told last; 0 before that."""
    told_at: float | None = None
    over: bool = False
    """What is told now is that it is over."""
    waiting: set[str] = field(default_factory=set)
    """Hooks that are to hear of it now ..."""
    tries: int = 0
    next_try: float = 0.0
    """... how often they were tried, and when they are again."""
    trouble: str | None = None
    """Why the last one that failed did."""

    def not_after(self, now: float) -> None:
        """Let nothing of it lie ahead: the clock was put back, and nobody is to wait until it is there again."""
        self.since = min(self.since, now)
        self.gone = None if self.gone is None else min(self.gone, now)
        self.told_at = None if self.told_at is None else min(self.told_at, now)
        self.next_try = min(self.next_try, now + PAUSES[-1])


class Book:
    """Everything that stands, by what it is about. ``now`` is in seconds since the epoch."""

    def __init__(self, hooks: Iterable[str], settle: float, standing: Iterable[Standing] = ()) -> None:
        self._hooks = frozenset(hooks)
        self._settle = settle
        self._standing: dict[Name, Standing] = {_name(one.condition): one for one in standing}

    @property
    def standing(self) -> Mapping[Name, Standing]:
        """Give what stands."""
        return self._standing

    def note(self, conditions: Iterable[Condition], now: float) -> None:
        """Take in how things are now."""
        for standing in self._standing.values():
            standing.not_after(now)
        found = {_name(one): one for one in conditions}
        for name, condition in found.items():
            standing = self._standing.setdefault(name, Standing(condition=condition, since=now))
            if standing.over and standing.gone is not None:
                standing.since = now
            standing.condition, standing.gone = condition, None
            standing.level = min(standing.level, condition.level)
            self._begin(standing, now)
        for name in [name for name in self._standing if name not in found]:
            self._end(name, now)

    def due(self, now: float) -> Iterator[tuple[Standing, str]]:
        """Give what is to be told now, and to which hook; say of each how it went by :meth:`heard` or :meth:`failed`."""
        for name, standing in list(self._standing.items()):
            if not standing.waiting or now < standing.next_try:
                continue
            for hook in sorted(standing.waiting):
                yield standing, hook
            self._after(name, standing, now)

    @staticmethod
    def heard(standing: Standing, hook: str, now: float) -> None:
        """Note that a hook was told."""
        standing.waiting.discard(hook)
        standing.told_at = now

    @staticmethod
    def failed(standing: Standing, why: str) -> None:
        """Note that a hook was not."""
        standing.trouble = why

    def _begin(self, standing: Standing, now: float) -> None:
        """Have it told if it is new, there is more of it, or it is there again after it was called off."""
        new = standing.level == 0 or standing.over
        more = standing.condition.level > standing.level and now >= (standing.told_at or standing.since) + AGAIN
        if (new and now >= standing.since + self._settle) or (not new and more):
            self._tell(standing, over=False, now=now)

    def _end(self, name: Name, now: float) -> None:
        """Have it called off if somebody heard of it; else forget it."""
        standing = self._standing[name]
        if standing.over:
            return
        if standing.level == 0:
            del self._standing[name]
            return
        standing.gone = standing.gone or now
        if now < standing.gone + self._settle:
            return
        if standing.told_at is None:
            del self._standing[name]
        else:
            self._tell(standing, over=True, now=now)

    def _tell(self, standing: Standing, *, over: bool, now: float) -> None:
        standing.over = over
        standing.level = standing.condition.level
        standing.waiting = set(self._hooks)
        standing.tries, standing.next_try, standing.trouble = 0, now, None

    def _after(self, name: Name, standing: Standing, now: float) -> None:
        """Have those that failed tried again, or give them up; let go of what is over."""
        if standing.waiting:
            if standing.tries < len(PAUSES):
                standing.next_try = now + PAUSES[standing.tries]
                standing.tries += 1
                return
            standing.waiting.clear()
        else:
            standing.trouble = None
        if standing.over:
            del self._standing[name]


def _name(condition: Condition) -> Name:
    return condition.kind, condition.subject
