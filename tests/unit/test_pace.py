"""Batches find their size: any line ends up with batches that take neither minutes nor moments."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dbsync.service.pace import LEAST, TRIPS, WANTED, Pace

MOST = 20_000


@given(round_trip=st.floats(0.0, 2.0), each=st.floats(0.00001, 1.0))
def test_a_batch_takes_about_the_time_that_is_wanted_or_is_as_large_or_small_as_may_be(
    round_trip: float, each: float
) -> None:
    pace = Pace(MOST, round_trip)
    for _ in range(12):
        pace.note(pace.changes, TRIPS * round_trip + each * pace.changes)
    wanted = max(WANTED, TRIPS * round_trip)
    spent = each * pace.changes
    assert pace.changes in {LEAST, MOST} or 0.5 * wanted <= spent <= 1.5 * wanted
    assert pace.changes == LEAST or spent <= 1.5 * wanted
    assert pace.changes == MOST or 2 * each * pace.changes >= wanted


def test_near_upstreams_get_the_largest_batches_at_once() -> None:
    pace = Pace(MOST, round_trip=0.001)
    pace.note(MOST, 0.5)
    assert pace.changes == MOST


def test_a_few_changes_say_nothing_of_the_line() -> None:
    pace = Pace(MOST, round_trip=0.001)
    pace.note(3, 60.0)
    assert pace.changes == MOST


def test_a_line_that_gets_worse_gets_smaller_batches_and_one_that_recovers_larger_ones() -> None:
    pace = Pace(MOST)
    pace.note(MOST, 90.0)
    worse = pace.changes
    assert LEAST < worse < MOST
    pace.note(worse, 0.5)
    assert pace.changes == MOST or pace.changes > worse


def test_a_configured_maximum_below_the_least_is_kept() -> None:
    pace = Pace(20, round_trip=1.0)
    pace.note(20, 500.0)
    assert pace.changes == 20
