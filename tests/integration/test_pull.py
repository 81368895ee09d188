"""A laptop's outbox and a driver who fetches from it: what breaks, who is refused, and what lies."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyrage
import pytest

from dbsync.bundle import files
from dbsync.bundle.custody import Note, write_note
from dbsync.bundle.names import SIGNATURE, BundleName, read_name
from dbsync.bundle.receipts import Carried, sign_receipts
from dbsync.config.load import load
from dbsync.errors import DbsyncError, FormatError, Interrupted, LinkHalted, NotAdmitted, Unreachable
from dbsync.identity import registry, rotation
from dbsync.identity.keys import Keys
from dbsync.model.batch import Receipt
from dbsync.service import rotate
from dbsync.service.held import held_link
from dbsync.service.offers import Laid, Offers
from dbsync.service.shelves import Offer
from dbsync.transport.exchange import Exchange
from dbsync.transport.line import Line
from dbsync.transport.pull import Offered, Pull
from dbsync.web import hatch
from tests.support.carried import Field, Laptop
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.fetched import fetched, handing_out
from tests.support.relayed import Relay
from tests.support.service import until

pytestmark = ONE_MIXTURE


@pytest.fixture
def field(pair: Pair, databases: Databases, tmp_path: Path) -> Iterator[Field]:
    with ExitStack() as stack:
        yield Field(tmp_path, pair, databases, stack, fetches=True)


@contextmanager
def asking(laptop: Laptop, url: str, keys: Keys) -> Iterator[Pull]:
    """Ask a laptop by hand, as whoever has these keys."""
    with Line(url, silence=5.0) as line:
        yield Pull(exchange=Exchange(line=line, keys=keys, theirs=laptop.keys.public))


def of(relay: Relay) -> Keys:
    return Keys.load(relay.folder / "keys")


def named(file: str) -> BundleName:
    found = read_name(file)
    assert found is not None
    return found[0]


def named_like(file: str, first: int, last: int | None = None) -> str:
    """Name another bundle of the same life."""
    return replace(named(file), first=first, last=last or first).file()


def life(laptop: Laptop) -> str:
    """Give the first digits of the laptop's incarnation."""
    return str(laptop.source.value("SELECT incarnation FROM dbsync.node"))[:8]


def noted(laptop: Laptop) -> set[int]:
    """Give the numbers of the batches that the laptop has notes for."""
    return {number for (number,) in laptop.source.sql("SELECT number FROM dbsync.custody")}


def numbers(relay: Relay) -> set[int]:
    """Give the numbers of what is whole on the driver's disk."""
    return {named(name).first for name in whole(relay)}


def whole(relay: Relay) -> list[str]:
    """List the bundles that are on the driver's disk with their signatures."""
    names = {path.name for path in relay.bundles.iterdir()}
    return sorted(name for name in names if name.endswith(".dbsync") and name + SIGNATURE in names)


def test_a_visit_that_is_cut_anywhere_goes_on_and_nobody_is_told_of_what_is_not_there(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop, relay = field.laptops[0], field.relay
    url = laptop.opens()
    laptop.insert("a", "b", "c", "d", "e")
    monkeypatch.setattr(hatch, "PART", 300)
    answered, calls, cut_at = Exchange._answered, 0, 0

    def breaking(self: Exchange, method: str, address: str, *rest: Any) -> bytes:
        nonlocal calls
        calls += 1
        if calls == cut_at:
            raise Interrupted("the line broke before the request")
        found = answered(self, method, address, *rest)
        if calls == -cut_at:
            raise Interrupted("the line broke before the answer")
        return found

    monkeypatch.setattr(Exchange, "_answered", breaking)
    with handing_out(laptop.folder):
        for turn in range(1, 300):
            calls, cut_at = 0, (turn % 5 + 1) * (-1) ** turn
            with suppress(Interrupted):
                fetched(relay, url)
                break
            assert noted(laptop) <= numbers(relay)
        assert turn > 10, "nothing was cut"
        calls = cut_at = 0
        assert fetched(relay, url).bundles == 0
    assert (noted(laptop), laptop.waiting()) == ({1, 2, 3}, 3)
    with field.serving():
        assert relay.must("run", "--once") == "3 bundles delivered\n"
    assert field.sites() == {"a", "b", "c", "d", "e"}


@pytest.mark.parametrize("step", ["remove", "settle", "finish", "write"])
def test_a_driver_who_dies_while_a_bundle_comes_in_has_said_nothing_of_it(
    field: Field, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    laptop, relay = field.laptops[0], field.relay
    url = laptop.opens()
    laptop.insert("a", "b")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with handing_out(laptop.folder):
        with monkeypatch.context() as patched:
            patched.setattr("dbsync.relay.spool.files", SimpleNamespace(**{**vars(files), step: crash}))
            with pytest.raises(KeyboardInterrupt):
                fetched(relay, url)
        assert (noted(laptop), numbers(relay)) == (set(), set())
        fetched(relay, url)
        assert noted(laptop) == numbers(relay) == {1}


def test_a_note_whose_way_was_cut_comes_with_the_next_visit(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    laptop, relay = field.laptops[0], field.relay
    url = laptop.opens()
    laptop.insert("a", "b", "c")

    def lost(*_: object) -> None:
        raise Interrupted("the line broke")

    with handing_out(laptop.folder):
        with monkeypatch.context() as patched:
            patched.setattr(Pull, "taken", lost)
            for _ in range(2):
                with pytest.raises(Interrupted):
                    fetched(relay, url)
        assert (noted(laptop), numbers(relay)) == (set(), {1})
    with handing_out(laptop.folder):  # which has no bundle made any more
        fetched(relay, url)
        assert noted(laptop) == numbers(relay) == {1, 2}


def test_what_was_fetched_in_part_is_fetched_anew_where_the_laptop_sealed_it_anew(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop, relay = field.laptops[0], field.relay
    url = laptop.opens()
    laptop.insert("a")
    monkeypatch.setattr(hatch, "PART", 500)
    part = Pull.part

    def broken(self: Pull, offered: Offered, place: int) -> bytes:
        if place:
            raise Interrupted("the line broke")
        return part(self, offered, place)

    with monkeypatch.context() as patched:
        patched.setattr(Pull, "part", broken)
        with handing_out(laptop.folder), pytest.raises(Interrupted):
            fetched(relay, url)
    with handing_out(laptop.folder):
        assert fetched(relay, url).bundles == 1
    assert [path.name for path in relay.bundles.iterdir() if path.name.startswith(".")] == []


def test_two_drivers_at_once_each_get_all_of_it(field: Field) -> None:
    laptop, first, second = field.laptops[0], field.relay, field.another("second")
    laptop.knows(second)
    url = laptop.opens()
    laptop.insert(*(f"s{number:02}" for number in range(20)))
    with handing_out(laptop.folder), ThreadPoolExecutor(2) as both:
        found = list(both.map(lambda relay: visited_until_done(relay, url), (first, second)))
    assert found == [10, 10]
    assert laptop.custody() == [("driver", 20), ("second", 20)]
    with field.serving():
        assert first.must("run", "--once") == "10 bundles delivered\n"
        assert second.must("run", "--once") == "10 bundles delivered\n"
    assert (len(field.sites()), field.batches()) == (20, 10)


def visited_until_done(relay: Relay, url: str) -> int:
    """Visit until everything is there, coming again where the laptop is busy; give how many bundles that were."""
    bundles = 0
    for _ in range(100):
        try:
            return bundles + fetched(relay, url).bundles
        except Unreachable as error:
            assert error.after, error
            bundles = len(whole(relay))
    pytest.fail("it is always busy")


def test_blind_drivers_cannot_read_and_trusted_ones_can(field: Field) -> None:
    laptop, blind, trusted = field.laptops[0], field.relay, field.another("second")
    laptop.knows(trusted)
    url = laptop.opens('trusted = ["second"]')
    laptop.insert("a code")
    with handing_out(laptop.folder):
        fetched(blind, url)
        fetched(trusted, url)
    (sealed,), (open_,) = ([relay.bundles / name for name in whole(relay)] for relay in (blind, trusted))
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(sealed.read_bytes(), [of(blind).sealing])
    assert pyrage.decrypt(open_.read_bytes(), [of(trusted).sealing]).startswith(b"dbsync bundle 1\n")


def test_strangers_revoked_relays_and_nodes_are_shown_nothing(field: Field) -> None:
    laptop, other = field.laptops
    url = laptop.opens()
    laptop.insert("a")
    with laptop.source.connect() as connection:
        secret = registry.invite(connection, "field-02", passes_on=False, expires=timedelta(days=1))
        registry.enrol(connection, "field-02", secret, other.keys.public)
    with handing_out(laptop.folder):
        for keys in (Keys.generate(), other.keys, laptop.keys):
            with asking(laptop, url, keys) as pull, pytest.raises(NotAdmitted):
                pull.laid_out([])
        with asking(laptop, url, of(field.relay)) as pull:
            (lies,) = pull.laid_out([]).offered
            with laptop.source.connect() as connection:
                registry.revoke(connection, "driver", "stolen")
            for ask in (lambda: pull.laid_out([]), lambda: pull.part(lies, 0)):
                with pytest.raises(NotAdmitted, match="revoked"):
                    ask()
    assert noted(laptop) == set()


def test_a_driver_fetches_from_nobody_he_does_not_know_or_has_revoked(field: Field) -> None:
    laptop, stranger = field.laptops[0], field.another("second")
    url = laptop.opens()
    with handing_out(laptop.folder):
        with pytest.raises(NotAdmitted, match="not known to this relay"):
            fetched(stranger, url)
        field.relay.must("revoke", "field-01", "--reason", "stolen")
        with pytest.raises(NotAdmitted, match="revoked here"):
            fetched(field.relay, url)
    assert whole(stranger) == whole(field.relay) == []


def test_a_driver_who_lies_gets_nowhere(field: Field) -> None:
    laptop, driver = field.laptops[0], of(field.relay)
    url = laptop.opens()
    laptop.insert("a", "b", "c")
    with handing_out(laptop.folder), asking(laptop, url, driver) as pull:
        everything = [{"life": life(laptop), "first": 0, "last": (1 << 62)}]
        assert pull.laid_out(everything).offered  # what never left he cannot have
        lies = pull.laid_out([]).offered
        file = lies[0].file
        true = Note(relay="driver", name=named(file), bytes=lies[0].size, hash="0" * 64, at=datetime.now(UTC))
        for false in (true, replace(true, name=named(lies[1].file))):
            with pytest.raises(LinkHalted, match="not believed"):
                pull.taken(file, write_note(false, driver))
        with pytest.raises(LinkHalted):
            pull.taken(file, write_note(true, laptop.keys))
        for elsewhere in ("field-02.00000000.000001-000001.dbsync", named_like(file, 9), named_like(file, 1, 2)):
            with suppress(LinkHalted):
                pull.taken(elsewhere, write_note(replace(true, name=named(elsewhere)), driver))
        assert noted(laptop) == set()
        receipt = Receipt(
            node="field-01",
            incarnation=laptop.source.value("SELECT incarnation FROM dbsync.node"),
            number=2,
            hash=laptop.source.value("SELECT hash FROM dbsync.sent WHERE number = 2"),
            applied_at=datetime.now(UTC),
        )
        carried = [Carried(link="community", receipt=receipt)]
        for forger in (driver, laptop.keys):
            with pytest.raises(LinkHalted, match="signature is not the expected one"):
                pull.receipts(sign_receipts(destination="community", node="field-01", receipts=carried, keys=forger))
    assert laptop.waiting() == 2


def test_a_laptop_that_lies_is_believed_nothing(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    laptop, other = field.laptops
    url = laptop.opens()
    laptop.insert("a", "b")
    lay_out, part, offered = Offers.lay_out, Offers.part, list[Laid]()

    def lying(change: Callable[[Offer], Offer]) -> Callable[..., Laid]:
        def lie(self: Offers, *asked: Any) -> Laid:
            laid = lay_out(self, *asked)
            offered.append(laid)
            return replace(laid, offers=tuple(change(offer) for offer in laid.offers))

        return lie

    def another(offer: Offer) -> Offer:
        return replace(offer, name=replace(offer.name, node=other.name))

    lies: list[tuple[str, Callable[[Offer], Offer]]] = [
        ("no bundle of its own", another),
        ("other bytes than it has told of", lambda offer: replace(offer, size=offer.size - 1)),
        ("not what its sender signed", lambda offer: replace(offer, size=offer.size - 700)),
        ("makes no sense", lambda offer: replace(offer, size=offer.size + 1)),
        ("larger than this relay takes", lambda offer: replace(offer, size=1 << 40)),
    ]
    with handing_out(laptop.folder):
        with monkeypatch.context() as patched:
            patched.setattr(Offers, "part", lambda self, *asked: bytes(b ^ 1 for b in part(self, *asked) or b""))
            with pytest.raises(FormatError, match="not what its sender signed"):
                fetched(field.relay, url)
        for told, change in lies:
            with monkeypatch.context() as patched:
                patched.setattr(Offers, "lay_out", lying(change))
                patched.setattr(hatch, "PART", 700)
                with pytest.raises(DbsyncError, match=told):
                    fetched(field.relay, url)
        assert (whole(field.relay), noted(laptop)) == ([], set())
        fetched(field.relay, url)
        with monkeypatch.context() as patched:
            patched.setattr(Offers, "lay_out", lambda *_: offered[0])
            with pytest.raises(Unreachable, match="makes no sense"):
                fetched(field.relay, url)


def test_while_the_service_ships_by_itself_a_driver_is_told_to_come_again(field: Field) -> None:
    laptop = field.laptops[0]
    url = laptop.opens()
    laptop.insert("a")
    with handing_out(laptop.folder) as config:
        with held_link(config), pytest.raises(Unreachable, match="another dbsync ships") as busy:
            fetched(field.relay, url)
        assert busy.value.after
        assert laptop.dbsync("pause").code == 0
        with pytest.raises(Unreachable, match="paused"):
            fetched(field.relay, url)
        assert laptop.dbsync("resume").code == 0
        assert fetched(field.relay, url).bundles == 1


def test_little_lies_ready_at_a_time_and_all_of_it_comes(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    laptop = field.laptops[0]
    url = laptop.opens()
    laptop.insert(*"abcdefgh")
    monkeypatch.setattr("dbsync.service.offers.ROOM", 1)
    with handing_out(laptop.folder):
        with asking(laptop, url, of(field.relay)) as pull:
            assert len(pull.laid_out([]).offered) == len(pull.laid_out([]).offered) == 1
        assert fetched(field.relay, url).bundles == 4
        monkeypatch.setattr("dbsync.service.offers.ROOM", 1 << 20)
        monkeypatch.setattr("dbsync.service.offers.HOLD", 0.0)
        laptop.insert(*"ijkl")
        with asking(laptop, url, of(field.relay)) as pull:
            assert len(pull.laid_out([{"life": life(laptop), "first": 1, "last": 4}]).offered) == 1
        assert fetched(field.relay, url).bundles == 2
    assert numbers(field.relay) == {1, 2, 3, 4, 5, 6}


def test_for_the_fifth_driver_the_first_ones_shelf_is_cleared_and_made_again(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dbsync.service.shelves.MOST", 1)
    laptop, second = field.laptops[0], field.another("second")
    laptop.knows(second)
    url = laptop.opens()
    laptop.insert("a")
    with handing_out(laptop.folder), asking(laptop, url, of(field.relay)) as first:
        (lies,) = first.laid_out([]).offered
        with asking(laptop, url, of(second)) as pull:
            assert len(pull.laid_out([]).offered) == 1
        with pytest.raises(Interrupted, match="lies ready no more"):
            first.part(lies, 0)
        assert fetched(field.relay, url).bundles == 1


@pytest.mark.parametrize("cleared", ["*", "*/*/*", "*/*/*.minisig"], ids=["all", "bundles", "signatures"])
def test_what_the_computer_tidied_away_is_sealed_again(
    field: Field, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cleared: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    laptop = field.laptops[0]
    url = laptop.opens()
    laptop.insert("a")
    with handing_out(laptop.folder), asking(laptop, url, of(field.relay)) as pull:
        assert len(pull.laid_out([]).offered) == 1
        found = list(tmp_path.glob(f"dbsync-outbox-{cleared}"))
        assert found
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert fetched(field.relay, url).bundles == 1


def test_what_has_its_receipt_meanwhile_lies_ready_no_more(field: Field) -> None:
    laptop = field.laptops[0]
    url = laptop.opens()
    laptop.insert("a", "b")
    with handing_out(laptop.folder), asking(laptop, url, of(field.relay)) as pull:
        (lies,) = pull.laid_out([]).offered
        with field.serving():
            assert laptop.run().out == "2 changes shipped to community\n"
        assert pull.laid_out([]).offered == ()
        with pytest.raises(Interrupted, match="lies ready no more"):
            pull.part(lies, 0)


def test_a_laptop_with_new_keys_is_met_again_once_the_driver_has_them(field: Field) -> None:
    laptop = field.laptops[0]
    url = laptop.opens()
    laptop.finds(field.relay)
    laptop.insert("a")
    with handing_out(laptop.folder), field.serving(), field.relay.within():
        rotate.rotate(load(laptop.folder / "dbsync.toml", {}))
        until(lambda: fetched_at_last(field.relay, url), "the outbox goes on with the old keys")
    assert numbers(field.relay) == {1}


def test_a_driver_who_was_away_when_a_laptop_changed_its_keys_knows_it_by_the_old_ones(
    field: Field, tmp_path: Path
) -> None:
    laptop = field.laptops[0]
    url = laptop.opens()
    laptop.insert("a")
    config = load(laptop.folder / "dbsync.toml", {})
    with handing_out(laptop.folder), field.serving():
        assert fetched(field.relay, url).bundles == 1
        for _ in range(2):
            rotate.rotate(config)
        laptop.insert("b")
        until(lambda: fetched_at_last(field.relay, url), "the driver does not know it any more")
        assert numbers(field.relay) == {1, 2}
        assert field.relay.must("run", "--once") == "2 bundles delivered\n"
    stranger = laptop.folder.with_name("stranger")
    for name in ("keys", f"keys.{laptop.keys.public.key_id}"):
        Keys.generate().save(stranger / name)
    (stranger / "dbsync.toml").write_text((laptop.folder / "dbsync.toml").read_text())
    (told,) = rotation.successions(stranger / "keys")
    own = Keys.load(laptop.folder / "keys").public
    with pytest.raises(FormatError):
        rotation.verify_succession(own, Keys.load(stranger / "keys").public, replace(told, old=own.key_id))
    with handing_out(stranger), pytest.raises(NotAdmitted):
        fetched(field.relay, url)


def fetched_at_last(relay: Relay, url: str) -> bool:
    with suppress(DbsyncError):  # until the outbox has noticed
        return fetched(relay, url).bundles == 1
    return False
