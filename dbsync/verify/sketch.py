"""Sketches: a table's rows summed up into cells, so that what is left when one is taken from another is the rows that differ. Pure.

An invertible Bloom lookup table (Goodrich and Mitzenmacher, 2011), as it is used to reconcile sets (Eppstein, Goodrich, Uyeda and
Varghese, *What's the difference?*, 2011). Each row goes into three cells, chosen by its digest. A cell has the number of its
rows, and the xor of all they are known by. Rows that both sides have cancel out. Of what is left, a cell with one row gives that
row away; it is taken out of its other cells, which may then have one row too, and so on. With more than about 1.3 cells for each
row that differs this nearly always ends with nothing left, and then every row was found, whatever the size of the tables; if
not, nothing is claimed.
"""

from __future__ import annotations

import hashlib
import heapq
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, repeat
from typing import TypeVar

T = TypeVar("T")
Item = tuple[int, int]
"""A row: 64 bits of a hash of its key, its place among the others', and 64 bits of a digest of all that is compared of it."""

HASHES = 3
POSITION_BITS = 21
MOST = 1 << 19
"""Cells a hash at most: the positions are drawn from ``2 ** 21``."""
LEAST = 300
"""Cells a hash at least: with few of them two rows may meet in all three."""
CELL_BYTES = 24
"""Of a cell as it is packed; its count compresses."""
ITEM_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Sketch:
    """Rows in ``3 * width`` cells; the members have an element for each."""

    width: int
    counts: tuple[int, ...]
    places: tuple[int, ...]
    digests: tuple[int, ...]
    marks: tuple[int, ...]
    """32 bits of a hash of each row: they tell a single row from several that happen to look like one."""

    @classmethod
    def of(cls, width: int, cells: Mapping[int, tuple[int, int, int, int]]) -> Sketch:
        """Take in the cells that have rows: count, place, digest, mark."""
        filled = [cells.get(number, (0, 0, 0, 0)) for number in range(HASHES * width)]
        counts, places, digests, marks = zip(*filled, strict=True)
        return cls(width=width, counts=counts, places=places, digests=digests, marks=marks)

    def pack(self) -> bytes:
        """Write it down."""
        return struct.pack(_shape(self.width), *self.counts, *self.places, *self.digests, *self.marks)

    @classmethod
    def unpack(cls, packed: bytes) -> Sketch:
        """Read what :meth:`pack` wrote. Raises ValueError for anything else."""
        width, rest = divmod(len(packed), HASHES * CELL_BYTES)
        if rest or not 0 < width <= MOST:
            raise ValueError("that is no sketch")
        found = struct.unpack(_shape(width), packed)
        size = HASHES * width
        counts, places, digests, marks = (found[start : start + size] for start in range(0, 4 * size, size))
        return cls(width=width, counts=counts, places=places, digests=digests, marks=marks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """The rows in which two sides differ."""

    different: tuple[Item, ...] = ()
    """Rows of the source whose key the upstream has, with other contents."""
    missing: tuple[Item, ...] = ()
    """Rows of the source whose key the upstream has not."""
    extra: int = 0
    """How many the upstream has beyond all these."""


def taken_apart(source: Sketch, upstream: Sketch) -> Apart | None:
    """Find the rows in which two sides differ, from a sketch of each; None where they are too many for sketches of this size."""
    found = _Left(source, upstream).peel()
    if found is None:
        return None
    return _paired(sorted((item, side) for side, items in enumerate(found) for item in items))


def matched(source: Iterable[Item], upstream: Iterable[Item]) -> Apart:
    """Find the rows in which two sides differ, from all their rows, each side's in order; those that agree are not kept."""
    return _paired(heapq.merge(zip(source, repeat(0)), zip(upstream, repeat(1))))


def plan(rows: Mapping[T, int], size: int, *, everything: bool = False) -> dict[T, int | None]:
    """Say how wide each table's sketch is to be, so that all take about ``size`` bytes; None for one that is cheaper told row by row.

    Small tables cost what they have, the others share the rest alike. ``everything`` tells each row by row.

    >>> plan({"small": 100, "large": 1_000_000}, 100_000)
    {'small': None, 'large': 1366}
    """
    planned: dict[T, int | None] = dict.fromkeys(rows)
    ordered = sorted(rows, key=rows.__getitem__)
    for place, name in enumerate(ordered):
        share = max(LEAST * HASHES * CELL_BYTES, size // (len(ordered) - place))
        cost = rows[name] * ITEM_BYTES
        if cost > share and not everything:
            return planned | dict.fromkeys(ordered[place:], min(MOST, share // (HASHES * CELL_BYTES)))
        size -= cost
    return planned


class _Left:
    """What is left in each cell when one sketch was taken from another."""

    def __init__(self, source: Sketch, upstream: Sketch) -> None:
        if source.width != upstream.width:
            raise ValueError("the sketches are of two sizes")
        self._width = source.width
        self._counts = [here - there for here, there in zip(source.counts, upstream.counts, strict=True)]
        self._places = [here ^ there for here, there in zip(source.places, upstream.places, strict=True)]
        self._digests = [here ^ there for here, there in zip(source.digests, upstream.digests, strict=True)]
        self._marks = [here ^ there for here, there in zip(source.marks, upstream.marks, strict=True)]

    def peel(self) -> tuple[list[Item], list[Item]] | None:
        """Take row by row out, those of the source and those of the upstream; None where some cannot be told apart.

        There are no more rows in it than cells: a sketch that was made up could have one be found for ever.
        """
        found: tuple[list[Item], list[Item]] = ([], [])
        waiting = [cell for cell in range(len(self._counts)) if self._is_single(cell)]
        while waiting and len(found[0]) + len(found[1]) <= len(self._counts):
            cell = waiting.pop()
            if not self._is_single(cell):
                continue
            count, item = self._counts[cell], (self._places[cell], self._digests[cell])
            found[0 if count == 1 else 1].append(item)
            for other in self._take_out(item, count):
                if self._is_single(other):
                    waiting.append(other)
        rest = any(self._counts) or any(self._places) or any(self._digests) or any(self._marks)
        return None if rest else found

    def _is_single(self, cell: int) -> bool:
        """Say whether a cell has one row: then it is known by its mark, and belongs there."""
        if self._counts[cell] not in (1, -1):
            return False
        item = (self._places[cell], self._digests[cell])
        return cell in positions(item[1], self._width) and mark(item) == self._marks[cell]

    def _take_out(self, item: Item, count: int) -> tuple[int, ...]:
        cells = positions(item[1], self._width)
        for cell in cells:
            self._counts[cell] -= count
            self._places[cell] ^= item[0]
            self._digests[cell] ^= item[1]
            self._marks[cell] ^= mark(item)
        return cells


def positions(digest: int, width: int) -> tuple[int, ...]:
    """Name the cells of a row; sql/verify.sql does the same.

    >>> positions(-1, 100)
    (51, 151, 251)
    """
    mask = (1 << POSITION_BITS) - 1
    return tuple(n * width + ((digest >> (n * POSITION_BITS)) & mask) % width for n in range(HASHES))


def mark(item: Item) -> int:
    """Give a row's mark; sql/verify.sql does the same.

    >>> mark((1, -1))
    423283188
    """
    return int.from_bytes(hashlib.sha256(struct.pack(">qq", *item)).digest()[:4], "big")


def pack_items(items: Sequence[Item]) -> bytes:
    """Write rows down: all places, then all digests."""
    return struct.pack(f">{2 * len(items)}q", *(place for place, _ in items), *(digest for _, digest in items))


def unpack_items(packed: bytes) -> list[Item]:
    """Read what :func:`pack_items` wrote. Raises ValueError for anything else."""
    count, rest = divmod(len(packed), ITEM_BYTES)
    if rest:
        raise ValueError("these are no rows")
    found = struct.unpack(f">{2 * count}q", packed)
    return list(zip(found[:count], found[count:], strict=True))


def _paired(tagged: Iterable[tuple[Item, int]]) -> Apart:
    """Pair rows off, which come ordered by their places: one of each side under one key is one row with other contents."""
    different: list[Item] = []
    missing: list[Item] = []
    extra = 0
    for place, group in groupby(tagged, key=lambda one: one[0][0]):
        sides: tuple[list[int], list[int]] = ([], [])
        for (_, digest), side in group:
            sides[side].append(digest)
        if sides[0] == sides[1]:
            continue
        here, there = _unpaired(*sides), _unpaired(sides[1], sides[0])
        both = min(len(here), len(there))
        different += [(place, digest) for digest in here[:both]]
        missing += [(place, digest) for digest in here[both:]]
        extra += len(there) - both
    return Apart(different=tuple(different), missing=tuple(missing), extra=extra)


def _unpaired(here: Sequence[int], there: Sequence[int]) -> list[int]:
    return sorted((Counter(here) - Counter(there)).elements())


def _shape(width: int) -> str:
    cells = HASHES * width
    return f">{cells}i{2 * cells}q{cells}I"
