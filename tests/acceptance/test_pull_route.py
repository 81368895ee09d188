"""A driver who fetches: the assistant does nothing but have the laptop on, and whatever breaks between them costs nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dbsync.relay.rounds import REFUSED
from tests.support.carried import Field
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.relayed import Relay
from tests.support.served import free_port
from tests.support.service import until

pytestmark = ONE_MIXTURE


@pytest.fixture
def field(pair: Pair, databases: Databases, tmp_path: Path) -> Iterator[Field]:
    with ExitStack() as stack:
        yield Field(tmp_path, pair, databases, stack, fetches=True)


def test_a_driver_fetches_bundles_and_brings_receipts_home(field: Field) -> None:
    first, second = field.laptops
    urls = [laptop.opens('[retention]\nkeep = "0s"') for laptop in field.laptops]
    first.insert("a", "b", "c")
    second.insert("d")
    with first.serving(), second.serving():
        assert field.relay.must("pull", urls[0]) == "taken from field-01: 2 bundles\n"
        assert field.relay.must("pull", urls[1]) == "taken from field-02: 1 bundle\n"
        assert field.relay.must("pull", urls[0]) == "taken from field-01: nothing new\n"
        assert (first.custody(), second.custody()) == ([("driver", 3)], [("driver", 1)])
        first.insert("e")
        with field.serving():
            assert field.relay.must("run", "--once") == "3 bundles delivered\n"
        assert field.sites() == {"a", "b", "c", "d"}
        assert first.waiting() == 2  # the note was no receipt
        said = field.relay.must("pull").splitlines()
        assert said == [
            "taken from field-01: 1 bundle; receipts of 2 batches went home",
            "taken from field-02: nothing new; receipts of 1 batch went home",
        ]
        assert (first.waiting(), second.waiting(), first.custody()) == (1, 0, [("driver", 1)])
    with field.serving():
        assert field.relay.must("run", "--once") == "1 bundle delivered\n"
    assert field.sites() == {"a", "b", "c", "d", "e"}
    with second.serving():  # and nothing else on that laptop
        until(lambda: second.source.value("SELECT count(*) FROM dbsync.change") == 0, "what has its receipt is purged")


def test_the_assistant_does_nothing_the_services_of_both_meet_by_themselves(field: Field) -> None:
    laptop, relay = field.laptops[0], field.relay
    url = laptop.opens()
    laptop.insert("a", "b", "c")
    with laptop.serving("run") as service, relay.open() as driver:
        assert "is gone to by dbsync relay run" in relay.must("pull", url)
        driver.wait_for("laptop_visited")
        until(lambda: laptop.custody() == [("driver", 3)], "no note came")
        (place,) = places(relay)
        assert (place["url"], place["node"], place["trouble"]) == (url, "field-01", None)
        assert "field-01" in relay.must("status")
        with field.serving():
            # Both have a line now: the laptop ships by itself, and the driver brings the same.
            until(lambda: field.sites() == {"a", "b", "c"}, "nothing arrives")
            until(lambda: laptop.waiting() == 0, "no receipt comes home")
            laptop.insert("d")
            until(lambda: "d" in field.sites(), "the service does not ship by itself")
            until(lambda: laptop.waiting() == 0, "its receipt does not come home")  # or it is with the driver still
        laptop.insert("e")
        until(
            lambda: laptop.custody() == [("driver", 1)],
            "the outbox was not held after the service had shipped",
            patience=2 * REFUSED,  # a driver who was not let in comes back after that
        )
        assert service.terminate() == 0
        until(lambda: "refuses the connection" in (places(relay)[0]["trouble"] or ""), "nobody says that it is away")
        assert driver.terminate() == 0
    with field.serving():
        relay.must("run", "--once")
    assert (field.sites(), field.batches()) == (
        {"a", "b", "c", "d", "e"},
        laptop.source.value("SELECT max(number) FROM dbsync.sent"),
    )


def places(relay: Relay) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(relay.must("status", "--json"))["places"]
    return found


def test_a_laptop_or_a_driver_whose_power_fails_in_the_middle_costs_time_only(field: Field) -> None:
    laptop, relay = field.laptops[0], field.relay
    url = laptop.opens()
    laptop.insert(*(f"s{number:02}" for number in range(40)))
    with relay.open() as driver:
        relay.must("pull", url)
        with laptop.serving("run") as service:
            driver.wait_for("custody_taken", 2)
            service.kill()
    with laptop.serving("run"):
        with relay.open() as driver:
            driver.wait_for("custody_taken", 6)
            driver.kill()
        with relay.open():
            until(lambda: laptop.custody() == [("driver", 40)], "not all of it is with the driver")
    assert laptop.waiting() == 20
    with field.serving():
        assert relay.must("run", "--once") == "20 bundles delivered\n"
    assert (len(field.sites()), field.batches()) == (40, 20)


def test_on_the_local_network_the_line_is_tls_and_nobody_made_a_certificate(field: Field) -> None:
    laptop, relay = field.laptops[0], field.relay
    url = laptop.opens(tls=True)
    laptop.insert("a")
    with laptop.serving() as process:
        assert process.said("outbox_served")[0]["tls"]
        assert relay.must("pull", url) == "taken from field-01: 1 bundle\n"
        assert relay.type("pull", url.replace("https", "http")).code in {69, 75}
        assert process.terminate() == 0


def test_who_cannot_be_met_is_told_in_words(field: Field) -> None:
    relay = field.relay
    assert (relay.type("pull").code, relay.type("pull", "http://field-01.local:8444").code) == (1, 2)
    away = relay.type("pull", f"http://127.0.0.1:{free_port()}")
    assert (away.code, "refuses the connection" in away.err) == (69, True)
    assert "never" in relay.must("status")
    missing = field.laptops[0].dbsync("serve", "--outbox")
    assert (missing.code, "[outbox] with listen" in missing.err) == (78, True), missing.err
