"""What a driver, or a node that was let in just now, asks of the upstream with keys of its own: it learns and takes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import orjson
import pytest

from dbsync.errors import NotAdmitted
from dbsync.identity.keys import Keys
from dbsync.transport.exchange import Exchange
from dbsync.transport.line import Line
from dbsync.verify.answers import QUESTIONS
from tests.support.carried import Field, Laptop
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.served import admit

pytestmark = ONE_MIXTURE


@pytest.fixture
def field(pair: Pair, databases: Databases, tmp_path: Path) -> Iterator[Field]:
    with ExitStack() as stack:
        yield Field(tmp_path, pair, databases, stack)


@contextmanager
def asking(field: Field, keys: Keys) -> Iterator[Exchange]:
    """Speak to the server with some keys."""
    with field.serving() as url, Line(url, silence=10.0) as line:
        yield Exchange(line=line, keys=keys, theirs=field.theirs)


def driver(field: Field) -> Keys:
    return Keys.load(field.relay.folder / "keys")


def lineage(laptop: Laptop) -> bytes:
    """Write the question what waits of a laptop's database."""
    return orjson.dumps({"lineage": str(laptop.source.value("SELECT lineage FROM dbsync.node"))})


def test_a_driver_cannot_guess_what_is_in_a_row(field: Field) -> None:
    with asking(field, driver(field)) as exchange:
        for asks in QUESTIONS:
            with pytest.raises(NotAdmitted, match="driver is a relay"):
                exchange.ask("POST", f"/v1/verify/{asks}", b"{}")


def test_a_driver_who_names_a_laptops_database_first_keeps_nobody_out(field: Field) -> None:
    laptop = field.laptops[0]
    laptop.insert("a")
    with asking(field, driver(field)) as exchange:
        with pytest.raises(NotAdmitted, match="driver is a relay"):
            exchange.ask("POST", "/v1/tend", lineage(laptop))
        done = laptop.run()
    assert (done.code, field.sites()) == (0, {"a"}), done.err


def test_a_node_that_asks_about_a_database_is_bound_to_none(field: Field) -> None:
    laptop, other = field.laptops
    laptop.insert("a")
    new = Keys.generate()
    admit(field.upstream, "field-03", new)
    with asking(field, new) as exchange:
        for asked in (laptop, other):
            assert exchange.ask("POST", "/v1/tend", lineage(asked)) == {"waiting": {}}
        done = laptop.run()
        assert (done.code, field.sites()) == (0, {"a"}), done.err
        with pytest.raises(NotAdmitted, match="another's database"):
            exchange.ask("POST", "/v1/tend", lineage(laptop))
