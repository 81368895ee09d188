"""Every route: in order, resumable, idempotent; it refuses what was tampered with, and survives loss, doubles, delay and disorder."""

from __future__ import annotations

import pytest

from dbsync.errors import Unreachable
from tests.conformance.route import MANY, Driver, Spoiled, gone
from tests.conformance.routes import route
from tests.support.databases import ONE_MIXTURE
from tests.support.proxy import Way

pytestmark = ONE_MIXTURE
__all__ = ["route"]


def test_changes_arrive_in_order_and_count_as_under_way_until_their_receipts_are_home(route: Driver) -> None:
    route.insert("a", "b", "c")
    route.leave()
    assert (route.waiting(), route.sites()) == (3, [])
    route.arrive()
    assert (route.waiting(), route.sites()) == (3, ["a", "b", "c"])
    route.home()
    route.hold_that_all_is_there_once(3)


def test_taken_again_and_again_it_brings_what_is_new_and_nothing_else(route: Driver) -> None:
    route.round()
    assert route.sites() == []
    route.insert("a", "b")
    route.round()
    route.round()
    route.insert("c")
    route.round()
    assert route.sites() == ["a", "b", "c"]
    route.hold_that_all_is_there_once(3)


def test_what_is_brought_twice_is_applied_once(route: Driver) -> None:
    route.insert("a", "b")
    route.leave()
    copies = route.copies()
    route.arrive()
    route.put(copies)
    route.arrive()
    route.home()
    route.put(copies)
    route.arrive()
    route.home()
    assert route.sites() == ["a", "b"]
    route.hold_that_all_is_there_once(2)


def test_what_is_lost_is_brought_again(route: Driver) -> None:
    route.insert("a", "b")
    route.leave()
    for parcel in route.parcels():
        route.lose(parcel)
    route.insert("c")
    route.round()
    assert route.sites() == ["a", "b", "c"]
    route.hold_that_all_is_there_once(3)


def test_what_comes_before_what_was_sent_before_it_waits_for_it(route: Driver) -> None:
    route.insert("a")
    route.leave()
    route.insert("b")
    route.leave()
    first, *_ = route.parcels()
    copies = route.copies()
    route.lose(first)
    route.arrive()
    assert route.sites() == []
    route.put({first: copies[first]})
    route.arrive()
    route.home()
    assert route.sites() == ["a", "b"]
    route.hold_that_all_is_there_once(2)


def test_what_was_lost_in_the_middle_is_brought_again_and_nothing_gets_ahead_of_it(route: Driver) -> None:
    for code in "abc":
        route.insert(code)
        route.leave()
    route.lose(route.parcels()[1])
    route.arrive()
    assert route.sites() == ["a"]
    route.round()
    assert route.sites() == ["a", "b", "c"]
    route.home()
    route.hold_that_all_is_there_once(3)


def test_what_comes_weeks_later_than_what_was_sent_after_it_changes_nothing(route: Driver) -> None:
    route.insert("a")
    route.leave()
    late = route.copies()
    route.insert("b")
    route.round()
    route.source.sql("UPDATE site SET code = 'renamed' WHERE code = 'a'")
    route.round()
    route.put(late)
    route.arrive()
    assert sorted(route.sites()) == ["b", "renamed"]
    route.hold_that_all_is_there_once(3)


@pytest.mark.parametrize("how", list(Spoiled))
def test_what_was_changed_on_its_way_is_refused_and_brought_again(route: Driver, how: Spoiled) -> None:
    route.insert("a")
    route.leave()
    for parcel in route.parcels():
        route.spoil(parcel, how)
    route.arrive()
    assert (route.sites(), route.waiting()) == ([], 1)
    for parcel in route.parcels():
        route.lose(parcel)
    route.round()
    assert route.sites() == ["a"]
    route.hold_that_all_is_there_once(1)


def test_one_put_in_the_place_of_another_brings_nothing(route: Driver) -> None:
    route.insert("a")
    route.leave()
    (old,) = route.copies().values()
    route.round()
    route.insert("b")
    route.leave()
    route.put(dict.fromkeys(route.parcels(), old))
    route.arrive()
    assert (route.sites(), route.waiting()) == (["a"], 1)
    for parcel in route.parcels():
        route.lose(parcel)
    route.round()
    assert route.sites() == ["a", "b"]
    route.hold_that_all_is_there_once(2)


@pytest.mark.parametrize("way", list(Way))
def test_a_route_that_is_cut_in_the_middle_costs_nothing_but_another_round(route: Driver, way: Way) -> None:
    route.insert_many()
    route.leave()
    route.cut(way)
    route.round()
    assert len(route.sites()) == MANY
    route.hold_that_all_is_there_once(1)


def test_receipts_that_are_lost_on_their_way_home_are_given_again(route: Driver) -> None:
    route.insert("a", "b")
    route.leave()
    route.arrive()
    route.lose_receipts()
    assert route.waiting() == 2
    route.insert("c")
    route.round()
    assert route.sites() == ["a", "b", "c"]
    route.hold_that_all_is_there_once(3)


def test_while_the_route_is_away_everything_waits_and_it_says_so(route: Driver) -> None:
    route.insert("a")
    with gone(route):
        with pytest.raises(Unreachable) as away:
            route.round()
        assert away.value.try_again
        assert route.said in {("unreachable", 1), ("waits for the stick", 1)}
    route.round()
    assert route.sites() == ["a"]
    route.hold_that_all_is_there_once(1)


def test_what_goes_another_way_meanwhile_is_there_once(route: Driver) -> None:
    route.insert("a", "b")
    route.leave()
    route.insert("c")
    assert route.another_way() == 3
    assert route.waiting() == 0
    route.arrive()
    route.insert("d")
    route.round()
    assert route.sites() == ["a", "b", "c", "d"]
    route.hold_that_all_is_there_once(4)
