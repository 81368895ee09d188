"""Whoever carries: in order, resumable, idempotent; what he loses, doubles, keeps back, mixes up or changes does no harm."""

from __future__ import annotations

import shutil

from dbsync.bundle.names import SIGNATURE
from dbsync.config.load import load
from dbsync.service.run import Service
from tests.conformance.carriages import Carriage, carriage
from tests.support.databases import ONE_MIXTURE

pytestmark = ONE_MIXTURE
__all__ = ["carriage"]


def test_changes_arrive_in_order_and_receipts_come_home(carriage: Carriage) -> None:
    carriage.insert("a", "b", "c")
    carriage.leave()
    assert (carriage.waiting(), carriage.sites()) == (3, [])
    carriage.arrive()
    assert (carriage.waiting(), carriage.sites()) == (3, ["a", "b", "c"])
    carriage.home()
    assert (carriage.waiting(), carriage.receipts()) == (0, 3)


def test_what_is_carried_twice_is_applied_once(carriage: Carriage) -> None:
    carriage.insert("a", "b")
    carriage.leave()
    copy = carriage.aside()
    carriage.arrive()
    carriage.back(copy)
    carriage.arrive()
    carriage.home()
    assert (carriage.sites(), carriage.receipts(), carriage.waiting()) == (["a", "b"], 2, 0)


def test_what_is_lost_is_carried_again(carriage: Carriage) -> None:
    carriage.insert("a", "b")
    carriage.leave()
    for parcel in carriage.parcels():
        carriage.remove(parcel)
    carriage.insert("c")
    carriage.round()
    assert (carriage.sites(), carriage.receipts(), carriage.waiting()) == (["a", "b", "c"], 3, 0)


def test_what_comes_weeks_later_than_what_was_sent_after_it_changes_nothing(carriage: Carriage) -> None:
    carriage.insert("a")
    carriage.leave()
    late = carriage.aside()
    carriage.insert("b")
    carriage.round()
    carriage.source.sql("UPDATE site SET code = 'renamed' WHERE code = 'a'")
    carriage.round()
    carriage.back(late)
    carriage.arrive()
    assert (sorted(carriage.sites()), carriage.receipts(), carriage.waiting()) == (["b", "renamed"], 3, 0)


def test_what_was_changed_on_the_way_is_refused_and_carried_again(carriage: Carriage) -> None:
    carriage.insert("a")
    carriage.leave()
    whole = carriage.aside()
    for end in (b"", b"?", b"??"):  # cut, another byte, one too many
        for parcel in carriage.parcels():
            parcel.write_bytes((whole / parcel.name).read_bytes()[:-1] + end)
        carriage.arrive()
        assert carriage.sites() == []
    carriage.back(whole)
    carriage.arrive()
    carriage.home()
    assert (carriage.sites(), carriage.waiting()) == (["a"], 0)


def test_one_put_in_the_place_of_another_is_refused(carriage: Carriage) -> None:
    carriage.insert("a")
    carriage.leave()
    first = carriage.aside()
    carriage.insert("b")
    carriage.round()
    assert carriage.sites() == ["a", "b"]
    carriage.insert("c")
    carriage.leave()
    (old,) = first.glob("*.dbsync")
    for parcel in carriage.parcels():
        shutil.copy(old, parcel)
        shutil.copy(f"{old}{SIGNATURE}", f"{parcel}{SIGNATURE}")
    carriage.arrive()
    assert carriage.sites() == ["a", "b"]
    for parcel in carriage.parcels():
        carriage.remove(parcel)
    carriage.round()
    assert (carriage.sites(), carriage.waiting()) == (["a", "b", "c"], 0)


def test_a_line_that_comes_back_brings_the_same_and_each_change_is_there_once(carriage: Carriage) -> None:
    carriage.insert("a", "b")
    carriage.leave()
    carriage.insert("c")
    carriage.serve()
    assert Service(config=load(carriage.laptop / "dbsync.toml", {})).run_once() == 3
    assert carriage.waiting() == 0
    carriage.arrive()
    carriage.insert("d")
    carriage.round()
    assert (carriage.sites(), carriage.receipts(), carriage.waiting()) == (["a", "b", "c", "d"], 4, 0)
