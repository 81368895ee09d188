"""Whatever the schema, whatever the statements: upstream ends as the source is, and nothing waits.

``DBSYNC_SEED`` tells other stories. ``make fuzz`` tells hundreds, and the ones that end wrong as short as it can.
"""

from __future__ import annotations

import os

import pytest

from tests.fuzz.__main__ import arguments, wished
from tests.fuzz.run import Wish, tell
from tests.support.servers import Servers

SEED = int(os.environ.get("DBSYNC_SEED", "100"))
WISHES = {
    "directly": Wish(),
    "over two hops": Wish(tiers=2),
    "two laptops": Wish(laptops=2),
    "between migrations": Wish(drifting=True),
    "with triggers": Wish(triggers=True),
    "two at once": Wish(beside=True),
    "refused for a while": Wish(refusing=0.2),
}


@pytest.mark.parametrize("wish", WISHES.values(), ids=WISHES)
@pytest.mark.parametrize("number", range(2))
def test_a_made_up_story_ends_as_it_should(servers: Servers, wish: Wish, number: int) -> None:
    outcome = tell(servers, SEED + number, wish)
    assert not outcome.wrong, "\n".join(outcome.lines)


def test_the_stories_are_of_the_kind_that_was_asked_for() -> None:
    words = ["--transactions=3", "--tiers=2", "--laptops=3", "--untidy", "--refusing=0.2"]
    asked = arguments([*words, "--drifting", "--triggers", "--beside"])
    assert wished(asked) == Wish(
        transactions=3, tiers=2, laptops=3, tidy=False, refusing=0.2, triggers=True, beside=True, drifting=True
    )
    assert wished(arguments([])) == Wish()
