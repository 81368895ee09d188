"""Checked boxes and comparisons of a laptop whose only way is a driver: whether he is met or fetches, and whatever he does to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from dbsync.apply.lists import keep
from dbsync.bundle import sealed
from dbsync.bundle.names import SIGNATURE, Kind, SealedName, read_sealed_name
from dbsync.config.load import load, load_relay
from dbsync.errors import DbsyncError, NotAdmitted
from dbsync.identity.keys import Keys, Signed
from dbsync.identity.lists import write_list
from dbsync.relay.middleman import opened
from dbsync.service import relays
from dbsync.transport.carry import Carry
from dbsync.transport.exchange import Exchange
from dbsync.transport.line import Line
from dbsync.verify.paper import Answer
from tests.acceptance.remote import checked
from tests.support.carried import Field, Laptop
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.fetched import fetched, handing_out
from tests.support.served import answering
from tests.support.tampered import tamper, tampered

pytestmark = ONE_MIXTURE


class Driven:
    """A laptop, a driver, and the server that he is at whenever he ``arrives``."""

    def __init__(self, field: Field, meet: Callable[[], object]) -> None:
        self.field, self.laptop, self.relay = field, field.laptops[0], field.relay
        self.meet = meet

    def arrive(self) -> int:
        """Let the driver be at the server; give how much was not taken."""
        with opened(load_relay(self.relay.folder / "relay.toml")) as driver:
            return driver.visit().troubled

    def round(self) -> None:
        """Let him come, drive there, and come again."""
        self.meet()
        assert self.arrive() == 0
        self.meet()

    def verify(self, *words: str) -> tuple[int, dict[str, Any]]:
        """Type ``verify --relay`` at the laptop; give its exit code and what it says as JSON."""
        done = self.laptop.dbsync("verify", "--relay", *words, "--json")
        assert done.code in (0, 1, 75), done.err
        return done.code, json.loads(done.out)

    def papers(self) -> list[str]:
        """Say what kinds of papers the driver has."""
        found = json.loads(self.relay.must("status", "--json"))["papers"]
        return [one["file"].rsplit(".", 2)[1] for one in found]

    def check_box(self, number: int) -> str:
        """Check a box on the laptop, as its inspector does."""
        found = checked(self.laptop.name, number)
        with self.laptop.source.connect() as connection:
            keep(connection, write_list(found, self.laptop.keys), own=True)
        return str(found.id)

    def arrived(self) -> dict[str, bool]:
        """Say which lists the laptop has, and of which it knows that they arrived."""
        found = json.loads(self.laptop.dbsync("lists", "--json").out)["lists"]
        return {one["id"]: one["sent_at"] is not None for one in found}


@pytest.fixture(params=["he is met", "he fetches"])
def driven(request: pytest.FixtureRequest, pair: Pair, databases: Databases, tmp_path: Path) -> Iterator[Driven]:
    with ExitStack() as stack:
        fetches = request.param == "he fetches"
        field = Field(tmp_path, pair, databases, stack, fetches=fetches)
        laptop = field.laptops[0]
        port = int(field.url.rsplit(":", 1)[1])
        stack.enter_context(answering(field.upstream, keys=field.keys, port=port))
        if fetches:
            url = laptop.opens()
            stack.enter_context(handing_out(laptop.folder))
            yield Driven(field, lambda: fetched(field.relay, url))
        else:
            stack.enter_context(field.relay.within())
            yield Driven(field, lambda: met(laptop))


def met(laptop: Laptop) -> None:
    """Let a laptop meet its driver."""
    (one,) = relays.visit(load(laptop.folder / "dbsync.toml", {}))
    assert one.trouble is None


def test_checked_boxes_and_a_comparison_go_with_a_driver_and_come_home(driven: Driven) -> None:
    laptop, upstream = driven.laptop, driven.field.upstream
    laptop.insert("a", "b")
    first, second = driven.check_box(1), driven.check_box(2)
    driven.meet()
    assert driven.papers() == ["list", "list"]
    assert not any(b"specimen" in path.read_bytes() for path in driven.relay.bundles.iterdir())
    driven.meet()
    assert driven.papers() == ["list", "list"], "each is brought once"
    assert driven.arrive() == 0
    assert {str(one) for (one,) in upstream.sql("SELECT id FROM dbsync.list")} == {first, second}
    assert driven.arrived() == {first: False, second: False}
    driven.meet()
    assert (driven.arrived(), driven.papers()) == ({first: True, second: True}, [])

    upstream.sql("DELETE FROM site WHERE code = 'a'")
    assert driven.verify("--ignore-extra")[0] == 75
    laptop.insert("c")
    driven.meet()
    laptop.insert("d")  # with bundles behind the question, which is answered before they are applied
    driven.meet()
    assert driven.papers() == ["question"]
    assert driven.arrive() == 0
    assert (driven.papers(), driven.field.sites()) == (["answer"], {"b", "c", "d"})
    driven.meet()
    shown = driven.laptop.dbsync("verify", "--relay")
    assert (shown.code, "Try    dbsync verify --relay --repair site" in shown.out) == (1, True), shown.out + shown.err
    code, found = driven.verify("--last")
    assert (code, [(one["key"], one["kind"]) for one in found["differences"]]) == (1, [(["a"], "missing")])
    assert driven.papers() == []

    assert driven.verify("--repair")[0] == 1
    driven.round()
    assert driven.field.sites() == {"a", "b", "c", "d"}
    assert driven.verify()[0] == 75
    driven.round()
    assert driven.verify()[0] == 0


@pytest.mark.parametrize("driven", ["he is met"], indirect=True)
def test_what_a_driver_changed_or_made_up_is_taken_by_nobody(driven: Driven) -> None:
    laptop, relay, spool = driven.laptop, driven.relay, driven.relay.bundles
    laptop.insert("a")
    driven.check_box(1)
    assert driven.verify()[0] == 75
    (listed,), (asked,) = spool.glob("*.list.age"), spool.glob("*.question.age")
    tamper(listed)
    (bundle,) = relay.held()
    relay.must("drop", bundle)
    assert driven.arrive() == 2
    told = {one["file"]: one["trouble"] for one in json.loads(relay.must("status", "--json"))["papers"]}
    assert "it was changed" in told[listed.name]
    assert "has to wait" in told[asked.name]
    assert [one.code for one in relay.wrong()].count("bundle_refused") == 2
    relay.must("drop", listed.name)
    driven.meet()
    assert driven.arrive() == 0

    (answer,) = spool.glob("*.answer.age")
    good = (answer.read_bytes(), answer.with_name(answer.name + SIGNATURE).read_bytes())
    name = read_sealed_name(answer.name)
    assert name is not None
    for forged in (_forged(name, laptop), Signed(data=tampered(good[0]), signature=good[1]), None):
        if forged is None:
            answer.with_name(answer.name + SIGNATURE).unlink()  # his disk does not give it back
        else:
            sealed.write(spool, name, forged)
        driven.meet()
        assert driven.arrived() == {str(UUID(int=1)): True}
        assert (driven.verify()[0], driven.papers()) == (75, ["question"]), "it is asked again"
        assert driven.arrive() == 0
    assert driven.verify()[0] == 0


def _forged(name: SealedName, laptop: Laptop) -> Signed:
    """Answer in the upstream's place."""
    told = Answer(number=99, at=datetime(2026, 11, 28, tzinfo=UTC), tables=())
    return sealed.seal(told.write(), name, keys=Keys.generate(), theirs=laptop.keys.public)


@pytest.mark.parametrize("driven", ["he is met"], indirect=True)
def test_a_node_brings_and_takes_its_own_papers_only(driven: Driven, tmp_path: Path) -> None:
    one, other = driven.field.laptops
    theirs = Keys.load(driven.relay.folder / "keys").public
    name = SealedName(node=one.name, id=UUID(int=1), kind=Kind.LIST)

    def bring(name: SealedName, keys: Keys, *, by: Keys) -> None:
        sealed.write(tmp_path, name, sealed.seal(b"x", name, keys=keys, theirs=driven.field.theirs))
        path = tmp_path / name.file()
        with Line(driven.relay.url, silence=5.0) as line:
            carry = Carry(exchange=Exchange(line=line, keys=by, theirs=theirs))
            carry.bring(path, path.with_name(path.name + SIGNATURE).read_bytes())

    answer = replace(name, kind=Kind.ANSWER)
    for wrong, keys, by in ((name, other.keys, other.keys), (name, other.keys, one.keys), (answer, one.keys, one.keys)):
        with pytest.raises(DbsyncError):
            bring(wrong, keys, by=by)
    assert driven.papers() == []
    bring(name, one.keys, by=one.keys)
    with Line(driven.relay.url, silence=5.0) as line:
        strange = Carry(exchange=Exchange(line=line, keys=other.keys, theirs=theirs))
        assert strange.papers() == []
        with pytest.raises(NotAdmitted):
            strange.answer(answer.file())
        with pytest.raises(NotAdmitted):
            strange.answer_taken(answer.file())
    assert driven.arrive() == 1, "nothing that the upstream could read"
    assert driven.papers() == ["list"]
