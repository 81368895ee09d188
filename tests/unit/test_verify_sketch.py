"""Two sketches of any size give away the rows in which their tables differ, or say that these are too many."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbsync.verify.sketch import (
    ITEM_BYTES,
    LEAST,
    MOST,
    Apart,
    Item,
    Sketch,
    mark,
    matched,
    pack_items,
    plan,
    positions,
    taken_apart,
    unpack_items,
)

keys = st.integers(0, 30)
tables = st.lists(st.tuples(keys, st.integers(0, 3)), max_size=40)


def row(key: int, content: int) -> Item:
    """Make a row as a database would say it."""
    found = hashlib.blake2b(f"{key}/{content}".encode(), digest_size=8).digest()
    place = hashlib.blake2b(f"{key}".encode(), digest_size=8).digest()
    return int.from_bytes(place, signed=True), int.from_bytes(found, signed=True)


def rows(pairs: Iterable[tuple[int, int]]) -> list[Item]:
    return sorted(row(*pair) for pair in pairs)


def sketch(items: Sequence[Item], width: int = LEAST) -> Sketch:
    """Sum rows up as sql/verify.sql does."""
    cells: dict[int, tuple[int, int, int, int]] = {}
    for item in items:
        for cell in positions(item[1], width):
            count, place, digest, marked = cells.get(cell, (0, 0, 0, 0))
            cells[cell] = (count + 1, place ^ item[0], digest ^ item[1], marked ^ mark(item))
    return Sketch.of(width, cells)


def naive(source: Sequence[Item], upstream: Sequence[Item]) -> tuple[Counter[int], Counter[int], int]:
    """Count what differs by key: different, missing, and the extra ones altogether."""
    here, there = Counter(source) - Counter(upstream), Counter(upstream) - Counter(source)
    places = {place for place, _ in here | there}
    ours = {p: sum(n for (place, _), n in here.items() if place == p) for p in places}
    theirs = {p: sum(n for (place, _), n in there.items() if place == p) for p in places}
    different = Counter({p: min(ours[p], theirs[p]) for p in places})
    missing = Counter({p: max(0, ours[p] - theirs[p]) for p in places})
    return +different, +missing, sum(max(0, theirs[p] - ours[p]) for p in places)


def counted(apart: Apart) -> tuple[Counter[int], Counter[int], int]:
    different, missing = (Counter(place for place, _ in items) for items in (apart.different, apart.missing))
    return different, missing, apart.extra


@given(tables, tables)
def test_all_rows_tell_exactly_what_differs_whatever_is_there_twice(
    source: list[tuple[int, int]], upstream: list[tuple[int, int]]
) -> None:
    here, there = rows(source), rows(upstream)
    apart = matched(here, there)
    assert counted(apart) == naive(here, there)
    assert {*apart.different, *apart.missing} <= set(here)


@given(st.dictionaries(keys, st.integers(0, 3)), st.dictionaries(keys, st.integers(0, 3)), st.integers(1, 1000))
def test_sketches_tell_the_same_or_nothing(source: dict[int, int], upstream: dict[int, int], width: int) -> None:
    here, there = rows(source.items()), rows(upstream.items())
    apart = taken_apart(sketch(here, width), sketch(there, width))
    if apart is not None:
        assert counted(apart) == naive(here, there)
    assert width < LEAST or apart is not None


def test_three_quarters_as_many_differences_as_cells_are_told_and_more_than_that_are_not_claimed() -> None:
    numbers = random.Random(7)
    common = rows((n, 0) for n in range(5_000))
    for differing, told in ((600, True), (3_000, False)):
        changed = rows((-n, numbers.randrange(1_000)) for n in range(1, differing + 1))
        apart = taken_apart(sketch(sorted(common + changed)), sketch(common))
        assert (apart is not None) == told
        if apart is not None:
            assert sorted(apart.missing) == changed


def test_rows_that_are_there_twice_are_told_or_not_claimed() -> None:
    twice = [row(1, 0), row(1, 0)]
    assert taken_apart(sketch(twice), sketch([])) is None
    assert taken_apart(sketch(twice), sketch(twice)) == Apart()
    assert matched(twice, [row(1, 0)]) == Apart(missing=(row(1, 0),))


@given(tables, st.integers(1, 40))
def test_what_was_packed_is_read(table: list[tuple[int, int]], width: int) -> None:
    items = rows(table)
    assert unpack_items(pack_items(items)) == items
    found = sketch(items, width)
    assert Sketch.unpack(found.pack()) == found


@pytest.mark.parametrize("bad", [b"", b"x", bytes(71), bytes(73), bytes(72 * (MOST + 1))])
def test_what_is_no_sketch_is_refused(bad: bytes) -> None:
    with pytest.raises(ValueError, match="no sketch"):
        Sketch.unpack(bad)


def test_a_row_that_is_in_one_of_its_cells_only_is_not_found_for_ever() -> None:
    item = row(1, 0)
    cell = positions(item[1], 50)[0]
    assert taken_apart(Sketch.of(50, {cell: (1, *item, mark(item))}), sketch([], 50)) is None


def test_a_sketch_that_was_made_up_ends_and_claims_nothing() -> None:
    numbers = random.Random(7)

    def some(low: int, high: int) -> tuple[int, ...]:
        return tuple(numbers.randint(low, high) for _ in range(3 * 50))

    made_up = Sketch(width=50, counts=some(-1, 1), places=some(-99, 99), digests=some(-99, 99), marks=some(0, 9))
    assert taken_apart(made_up, sketch([], 50)) is None
    with pytest.raises(ValueError, match="two sizes"):
        taken_apart(made_up, sketch([], 51))


@given(st.dictionaries(st.integers(0, 50), st.integers(0, 10**7)), st.integers(1, 10**7))
def test_a_plan_keeps_to_its_size_as_far_as_a_sketch_of_use_allows(counts: dict[int, int], size: int) -> None:
    planned = plan(counts, size)
    listed = sum(counts[name] * ITEM_BYTES for name, width in planned.items() if width is None)
    widths = {width for width in planned.values() if width is not None}
    least = LEAST * 3 * 24
    assert len(widths) <= 1
    assert listed + sum(3 * 24 * width for width in planned.values() if width) <= max(size, least * len(counts))
    assert all(width is None for width in plan(counts, size, everything=True).values())
    if sum(counts.values()) * ITEM_BYTES <= size:
        assert all(width is None for width in planned.values())
