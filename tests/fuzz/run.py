"""One story from a seed: told, and where it ends wrong told again with less and less."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from random import Random
from unittest.mock import patch

from dbsync.apply import writer
from tests.fuzz.drift import Drift
from tests.fuzz.events import (
    TIDY,
    WHENS,
    BackUp,
    Event,
    Meanwhile,
    MeanwhileEnds,
    Migrate,
    Reinstall,
    Restore,
    Transaction,
)
from tests.fuzz.schema import Schema, make
from tests.fuzz.story import Teller
from tests.fuzz.world import World
from tests.support.databases import MIXTURE, Databases
from tests.support.servers import Servers

TOLD = (Transaction, Meanwhile, MeanwhileEnds)
"""What has happened when it is made up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What kind of stories; all else comes from the seed.

    ``tidy``: no statement leaves a reference to nothing behind for a later one to mend. ``refusing``: how often, after a
    transaction, the upstream begins to refuse some rows.
    """

    transactions: int = 25
    tiers: int = 1
    laptops: int = 1
    tidy: bool = True
    refusing: float = 0.0
    triggers: bool = False
    """Whether the application has triggers."""
    drifting: bool = False
    """Whether columns are added, renamed, dropped and widened, at one end after the other."""
    restoring: bool = False
    """Whether the server is restored from backups."""
    beside: bool = False
    """Whether another session's transactions are open while others begin and end; there are no generic references then, for nothing
    keeps a row that such a transaction points to."""
    trying: bool = False
    """Whether two changes of a table are many, which are tried as what they seem: new rows, or edits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a story ended: ``wrong`` is empty where it ended well."""

    seed: int
    schema: Schema
    events: Sequence[Event]
    wrong: Sequence[str]

    @property
    def lines(self) -> list[str]:
        """Say it so that somebody can tell it again."""
        return [self.schema.ddl, self.schema.triggers, self.schema.config, *map(repr, self.events), *self.wrong]


def tell(servers: Servers, seed: int, wish: Wish) -> Outcome:
    """Make a story up from a seed, and let it happen."""
    schema, events = make(seed), list[Event]()
    schema = schema if wish.triggers else replace(schema, triggers="")
    schema = schema.without_pointers() if wish.beside else schema

    def told(world: World) -> Iterator[Event]:
        pick = Random(seed)
        tellers = [
            Teller(
                schema=schema,
                pick=pick,
                session=laptop.session,
                beside=laptop.beside if wish.beside else None,
                whens=TIDY if wish.tidy else WHENS,
                refusing=wish.refusing,
                laptop=number,
                laptops=wish.laptops,
            )
            for number, laptop in enumerate(world.laptops)
        ]
        drift = Drift(schema=schema, pick=pick, ends=wish.laptops + wish.tiers)
        for _ in range(wish.transactions):
            for event in pick.choice(tellers).tell():
                events.append(event)
                if not isinstance(event, TOLD):
                    yield event
            for event in (
                *(_drifts(drift, tellers) if wish.drifting else ()),
                *(_restores(pick) if wish.restoring else ()),
            ):
                events.append(event)
                yield event

    wrong = _happen(servers, seed, schema, wish, told)
    return Outcome(seed=seed, schema=schema, events=events, wrong=wrong)


def _drifts(drift: Drift, tellers: Sequence[Teller]) -> Iterator[Event]:
    """Migrate one of the ends now and then; triggers are installed again later, or not at all."""
    chance = drift.pick.random()
    if chance < 0.15:
        step, end = drift.next()
        yield Migrate(step, end)
        if end < len(tellers):
            tellers[end].schema = step.to(tellers[end].schema)
    elif chance < 0.2:
        yield Reinstall()


def _restores(pick: Random) -> Iterator[Event]:
    """Back the server up now and then, and restore it."""
    chance = pick.random()
    if chance < 0.1:
        yield BackUp()
    elif chance < 0.16:
        yield Restore()


def shorten(servers: Servers, found: Outcome, wish: Wish, tries: int = 100) -> Outcome:
    """Leave out of a story what it can do without and still end wrong in the same way.

    Delta debugging (A. Zeller and R. Hildebrandt, Simplifying and isolating failure-inducing input, 2002): parts of half the
    length, then of a quarter, down to one event; then single statements.
    """
    wanted, left = _kinds(found.wrong), tries

    def again(events: Sequence[Event]) -> Outcome | None:
        nonlocal left
        left -= 1
        wrong = _happen(servers, found.seed, found.schema, wish, lambda _: iter(events))
        return replace(found, events=events, wrong=wrong) if _kinds(wrong) == wanted else None

    size = len(found.events) // 2
    while size and left > 0:
        place = 0
        while place < len(found.events) and left > 0:
            shorter = again([*found.events[:place], *found.events[place + size :]])
            found, place = (shorter, place) if shorter else (found, place + size)
        size //= 2
    for place, event in enumerate(found.events):
        for statement in event.statements if isinstance(event, Transaction) else ():
            here = found.events[place]
            assert isinstance(here, Transaction)
            fewer = replace(here, statements=[one for one in here.statements if one is not statement])
            found = (left > 0 and again([*found.events[:place], fewer, *found.events[place + 1 :]])) or found
    return found


def _happen(
    servers: Servers, seed: int, schema: Schema, wish: Wish, told: Callable[[World], Iterator[Event]]
) -> list[str]:
    databases = Databases(servers)
    try:
        with ExitStack() as stack:
            if wish.trying:
                stack.enter_context(patch.multiple(writer, MANY=2, DOUBT=0))
            world = stack.enter_context(
                World(
                    databases,
                    schema,
                    MIXTURE if seed % 2 else MIXTURE[::-1],
                    tiers=wish.tiers,
                    laptops=wish.laptops,
                    restoring=wish.restoring,
                )
            )
            for event in told(world):
                world.happen(event)
            return world.end()
    finally:
        databases.drop_all()


def _kinds(wrong: Sequence[str]) -> set[str]:
    """Say what is wrong without the names and the values."""
    return {re.sub(r'\(.*|"[^"]*"|\b[tkrvw]\d\w*|\d+', ".", line) for line in wrong if "depends on" not in line}
