"""What lies ready for a relay: sealed for whom it is to be now, whatever it was made for before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pyrage
import pytest

from dbsync.config.load import load
from dbsync.identity import registry
from dbsync.identity.keys import Keys
from dbsync.service.offers import Offers, Relay
from dbsync.service.shelves import Shelves
from tests.support.carried import Field, Laptop
from tests.support.databases import ONE_MIXTURE, Databases, Pair

pytestmark = ONE_MIXTURE


@pytest.fixture
def laptop(pair: Pair, databases: Databases, tmp_path: Path) -> Iterator[Laptop]:
    with ExitStack() as stack:
        yield Field(tmp_path, pair, databases, stack, fetches=True).laptops[0]


class Outbox:
    """A laptop's outbox that reads its configuration anew whenever it is asked, and a driver who comes for bundles."""

    def __init__(self, laptop: Laptop, folder: Path) -> None:
        self.driver = Keys.generate()
        self._config = laptop.folder / "dbsync.toml"
        self._text = self._config.read_text()
        self._relay = Relay(name="driver", keys=self.driver.public)
        self._offers = Offers(config=lambda: load(self._config, {}), shelves=Shelves(folder=folder))

    def trusts(self, answer: str) -> None:
        """Say in dbsync.toml whether the driver may read."""
        relay = f'[[relays]]\nurl = "https://127.0.0.1:1"\nname = "driver"\ntrusted = {answer}\n'
        self._config.write_text(f"{self._text}\n{relay}")

    def lay_out(self) -> bytes:
        """Have what is pending made ready; give all of the one bundle."""
        (laid,) = self._offers.lay_out(self._relay, []).offers
        data = self._offers.part(self._relay, laid.name, 0, 1 << 20)
        assert data is not None
        return data

    def lies_ready(self) -> bool:
        """Say whether the first bundle can be had without asking what lies ready."""
        shelf = self._offers.shelves.of(self.driver.public.key_id)
        return self._offers.part(self._relay, shelf.names()[0], 0, 1) is not None


@pytest.fixture
def outbox(laptop: Laptop, tmp_path: Path) -> Outbox:
    laptop.insert("a")
    return Outbox(laptop, tmp_path / "shelves")


def test_what_lies_ready_is_closed_to_a_driver_who_is_trusted_no_more(outbox: Outbox) -> None:
    outbox.trusts("true")
    assert pyrage.decrypt(outbox.lay_out(), [outbox.driver.sealing])
    outbox.trusts("false")
    assert not outbox.lies_ready()
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(outbox.lay_out(), [outbox.driver.sealing])
    assert outbox.lies_ready()


def test_what_lies_ready_is_made_anew_for_an_upstream_with_new_keys(outbox: Outbox, laptop: Laptop) -> None:
    outbox.trusts("false")
    first = outbox.lay_out()
    assert outbox.lay_out() == first
    new = Keys.generate()
    with laptop.source.connect() as connection:
        registry.pin(connection, "community", new.public, replace=True)
    assert pyrage.decrypt(outbox.lay_out(), [new.sealing])
