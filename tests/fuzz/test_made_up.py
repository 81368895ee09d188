"""Whatever the schema, whatever the statements: upstream ends as the source is, and nothing waits.

``DBSYNC_SEED`` tells other stories. ``make fuzz`` tells hundreds, and the ones that end wrong as short as it can.
"""

from __future__ import annotations

import os

import pytest

from tests.fuzz.__main__ import arguments, wished
from tests.fuzz.events import Event, Meanwhile, Migrate, Refuse, Restore, Transaction
from tests.fuzz.run import Wish, tell
from tests.support.servers import Servers

SEED = int(os.environ.get("DBSYNC_SEED", "100"))
STORIES = 2
"""Of each kind."""
WISHES = {
    "directly": Wish(),
    "over two hops": Wish(tiers=2),
    "two laptops": Wish(laptops=2),
    "between migrations": Wish(drifting=True),
    "with triggers": Wish(triggers=True),
    "two at once": Wish(beside=True),
    "refused for a while": Wish(refusing=0.2),
    "restored": Wish(restoring=True, tiers=2),
    "tried as what it seems": Wish(trying=True),
}


HAPPENS: dict[str, type[Event]] = {
    "between migrations": Migrate,
    "two at once": Meanwhile,
    "refused for a while": Refuse,
    "restored": Restore,
}
"""Without it a story is not of its kind."""


@pytest.mark.parametrize("kind", WISHES)
def test_made_up_stories_end_as_they_should(servers: Servers, kind: str) -> None:
    outcomes = [tell(servers, SEED + number, WISHES[kind]) for number in range(STORIES)]
    wrong = [line for outcome in outcomes if outcome.wrong for line in outcome.lines]
    assert not wrong, "\n".join(wrong)
    happened = {(type(event), event.laptop) for outcome in outcomes for event in outcome.events}
    assert (HAPPENS.get(kind, Transaction), WISHES[kind].laptops - 1) in happened
    assert any(outcome.schema.triggers for outcome in outcomes) == WISHES[kind].triggers


def test_the_stories_are_of_the_kind_that_was_asked_for() -> None:
    words = ["--transactions=3", "--tiers=2", "--laptops=3", "--untidy", "--refusing=0.2", "--restoring"]
    asked = arguments([*words, "--drifting", "--triggers", "--beside", "--trying"])
    assert wished(asked) == Wish(
        transactions=3,
        tiers=2,
        laptops=3,
        tidy=False,
        refusing=0.2,
        triggers=True,
        beside=True,
        drifting=True,
        restoring=True,
        trying=True,
    )
    assert wished(arguments([])) == Wish()
