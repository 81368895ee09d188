"""Find the rows in which two sides differ, in bounded memory, whatever lies between the sides. Pure.

Each side cuts a table's rows into ``2 ** bits`` buckets by the leading bits of a hash of the natural key, and gives a
digest of each bucket. Only buckets that differ are looked into: a large one is cut finer, the rows of a small one are
fetched as key and digests and matched here. What travels is thus in proportion to the number of buckets and to the
number of differences, not to the table; what is held here is one bucket of each side. It is a Merkle tree with a wide
root, the way of anti-entropy repair in Cassandra and of pt-table-checksum.

A *loose* reference is one that nothing in the database holds: soft, or generic. Its target may be gone at the source,
and another row may have its key since; upstream it then names the row that has this key now, and that is no difference.
Where the target is there, both sides must agree. So each loose reference has a digest of its own in a fetched row.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, repeat
from operator import itemgetter
from typing import Protocol

from dbsync.model.names import TableName
from dbsync.verify.report import GONE, ColumnDifference, Difference, Key, Kind, Place

UNKEYED = -1
"""The bucket of the rows whose key cannot be said."""

ROWS_PER_BUCKET = 1_000
MAX_FETCHED = 4 * ROWS_PER_BUCKET
"""A differing bucket of at most so many rows is fetched, a larger one is cut."""
MAX_BUCKET_BITS = 16
"""One question is answered by at most about 65,000 buckets."""
MAX_BITS = 48
"""Finer than this nobody cuts: what is still together has one key."""

Content = tuple[str | None, ...]
_Seen = tuple[str, tuple[str | None, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """The rows of a table whose keys hash alike, summed up."""

    number: int
    rows: int
    digest: str
    """Independent of the rows' order; compared, never interpreted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row by its natural key; ``digest`` stands for key and contents but for the loose references."""

    bucket: int
    key: Key
    digest: str
    loose: tuple[str | None, ...] = ()
    """A digest of each loose reference, GONE where its target is."""
    place: Place = ()
    """Where the row is, on the side that says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Some buckets of a table: those with these numbers when its rows are cut into ``2 ** bits``.

    Bucket ``n`` is cut into ``2n`` and ``2n + 1`` by the next bit. UNKEYED is never cut.
    """

    bits: int
    numbers: tuple[int, ...]


EVERYTHING = Cut(bits=0, numbers=(UNKEYED, 0))


class Side(Protocol):
    """One of the two databases, however it is reached. Both must hash and render alike."""

    def buckets(self, table: TableName, bits: int, within: Cut) -> Iterable[Bucket]:
        """Cut the rows of ``within`` into ``2 ** bits`` and sum up each bucket that has rows; in any order."""

    def rows(self, table: TableName, cut: Cut) -> Iterator[Row]:
        """Give the rows of some buckets, ordered by bucket; an UNKEYED row by its primary key."""

    def contents(self, table: TableName, keys: Sequence[Key]) -> Iterator[tuple[Key, Content]]:
        """Give the compared columns of the rows with these keys, in any order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """A table seen from above: how many rows each side has, and which buckets differ."""

    table: TableName
    bits: int
    source_rows: int
    upstream_rows: int
    not_captured: int
    other_origin: int
    differing: tuple[tuple[int, int], ...]
    """Number of the bucket, and its rows on the side that has more."""


def compare(source: Side, upstream: Side, table: TableName, *, estimate: int = 0) -> Iterator[Difference]:
    """Give every row in which the sides differ, in no particular order.

    A key that stands for several rows is compared as a multiset: equal rows cancel, the rest pairs off as DIFFERENT,
    what then remains is MISSING or EXTRA.
    """
    return differences(source, upstream, survey(source, upstream, table, estimate=estimate))


def survey(source: Side, upstream: Side, table: TableName, *, estimate: int = 0) -> Survey:
    """Look at every row once, on either side. A wrong estimate costs another look, never the answer.

    Upstream rows whose key cannot be said are of other origin: no batch brought them, so they answer to no row of the
    source. Rows of the source whose key cannot be said were not captured yet.
    """
    bits = bits_for(estimate)
    here = _by_number(source.buckets(table, bits, EVERYTHING))
    there = _by_number(upstream.buckets(table, bits, EVERYTHING))
    unkeyed, foreign = here.pop(UNKEYED, None), there.pop(UNKEYED, None)
    not_captured = unkeyed.rows if unkeyed else 0
    return Survey(
        table=table,
        bits=bits,
        source_rows=sum(bucket.rows for bucket in here.values()) + not_captured,
        upstream_rows=sum(bucket.rows for bucket in there.values()),
        not_captured=not_captured,
        other_origin=foreign.rows if foreign else 0,
        differing=_differing(here, there),
    )


def differences(source: Side, upstream: Side, found: Survey) -> Iterator[Difference]:
    """Descend into the buckets that differ and give each row in which they do."""
    if found.not_captured:
        for row in source.rows(found.table, Cut(bits=0, numbers=(UNKEYED,))):
            yield Difference(table=found.table, kind=Kind.MISSING, key=row.key, captured=False, places=_places([row]))
    yield from _Descent(source=source, upstream=upstream, table=found.table).into(found.bits, found.differing)


def explain(
    source: Side, upstream: Side, found: Sequence[Difference], columns: Sequence[str], loose: Sequence[str] = ()
) -> list[Difference]:
    """Name the columns, with both values, in which DIFFERENT rows of one table differ; leave the others as they are.

    ``loose`` names the loose references, which come behind the columns. It asks each side once, whatever the number of
    rows; so it is meant for those that are shown.
    """
    keys = list(dict.fromkeys(d.key for d in found if d.kind is Kind.DIFFERENT))
    if not keys:
        return list(found)
    table = found[0].table
    here, there = _by_key(source.contents(table, keys)), _by_key(upstream.contents(table, keys))
    return [
        replace(d, columns=tuple(_named(here.get(d.key, []), there.get(d.key, []), columns, loose)))
        if d.kind is Kind.DIFFERENT
        else d
        for d in found
    ]


def bits_for(rows: int) -> int:
    """Say how finely to cut so that a bucket has about ROWS_PER_BUCKET rows.

    >>> [bits_for(n) for n in (0, 1_000, 1_001, 100_000, 10**12)]
    [0, 0, 1, 7, 16]
    """
    return min(MAX_BUCKET_BITS, (max(1, -(-rows // ROWS_PER_BUCKET)) - 1).bit_length())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Descent:
    """The way down into the differing buckets of one table."""

    source: Side
    upstream: Side
    table: TableName

    def into(self, bits: int, differing: Sequence[tuple[int, int]]) -> Iterator[Difference]:
        """Fetch the small buckets, cut the large ones."""
        small = [number for number, rows in differing if rows <= MAX_FETCHED or bits >= MAX_BITS]
        if small:
            cut = Cut(bits=bits, numbers=tuple(sorted(small)))
            yield from match(self.table, self.source.rows(self.table, cut), self.upstream.rows(self.table, cut))
        fetched = set(small)
        large = [(number, rows) for number, rows in differing if number not in fetched]
        if large:
            yield from self._deeper(bits, large)

    def _deeper(self, bits: int, large: Sequence[tuple[int, int]]) -> Iterator[Difference]:
        """Cut large buckets, so many at a time that one answer stays small."""
        deeper = min(MAX_BITS, bits + bits_for(max(rows for _, rows in large)))
        step = max(1, 2 ** (MAX_BUCKET_BITS - (deeper - bits)))
        for start in range(0, len(large), step):
            within = Cut(bits=bits, numbers=tuple(sorted(number for number, _ in large[start : start + step])))
            here = _by_number(self.source.buckets(self.table, deeper, within))
            there = _by_number(self.upstream.buckets(self.table, deeper, within))
            yield from self.into(deeper, _differing(here, there))


def match(table: TableName, source: Iterable[Row], upstream: Iterable[Row]) -> Iterator[Difference]:
    """Match two streams of rows, both ordered by bucket, holding one bucket at a time."""
    tagged = heapq.merge(zip(source, repeat(0)), zip(upstream, repeat(1)), key=_bucket)
    for _, rows in groupby(tagged, key=_bucket):
        found: dict[Key, tuple[list[Row], list[Row]]] = {}
        for row, side in rows:
            found.setdefault(row.key, ([], []))[side].append(row)
        for key, (here, there) in found.items():
            if _seen(here) != _seen(there):
                yield from _settle(table, key, here, there)


def agree(source: Iterable[str | None], upstream: Iterable[str | None]) -> bool:
    """Say whether a row's loose references agree: each whose target is not gone at the source.

    >>> agree(("a", "gone", None), ("a", "b", "gone")), agree(("a",), ("gone",)), agree((None,), ("b",))
    (True, False, False)
    """
    return all(here in (GONE, None if there == GONE else there) for here, there in zip(source, upstream, strict=True))


def _settle(table: TableName, key: Key, here: Sequence[Row], there: Sequence[Row]) -> Iterator[Difference]:
    ours, theirs = Counter(_seen(here)), Counter(_seen(there))
    missing, extra = _unpaired(ours - theirs, theirs - ours)
    both = min(missing, extra)
    for kind, times in ((Kind.DIFFERENT, both), (Kind.MISSING, missing - both), (Kind.EXTRA, extra - both)):
        yield from repeat(Difference(table=table, kind=kind, key=key, places=_places(here)), times)


def _seen(rows: Iterable[Row]) -> list[_Seen]:
    return [(row.digest, row.loose) for row in rows]


def _places(rows: Iterable[Row]) -> tuple[Place, ...]:
    return tuple(row.place for row in rows if row.place)


def _unpaired(here: Counter[_Seen], there: Counter[_Seen]) -> tuple[int, int]:
    """Pair off rows that agree though a target is gone; count those that remain on either side."""
    waiting: dict[str, list[tuple[str | None, ...]]] = {}
    for digest, loose in there.elements():
        waiting.setdefault(digest, []).append(loose)
    missing = 0
    for digest, loose in here.elements():
        candidates = waiting.get(digest, [])
        partner = next((position for position, other in enumerate(candidates) if agree(loose, other)), None)
        if partner is None:
            missing += 1
        else:
            del candidates[partner]
    return missing, sum(map(len, waiting.values()))


def _bucket(tagged: tuple[Row, int]) -> int:
    return tagged[0].bucket


def _by_number(buckets: Iterable[Bucket]) -> dict[int, Bucket]:
    return {bucket.number: bucket for bucket in buckets}


def _differing(here: dict[int, Bucket], there: dict[int, Bucket]) -> tuple[tuple[int, int], ...]:
    numbers = sorted(number for number in here.keys() | there.keys() if here.get(number) != there.get(number))
    return tuple((number, max(_rows(here, number), _rows(there, number))) for number in numbers)


def _rows(buckets: dict[int, Bucket], number: int) -> int:
    bucket = buckets.get(number)
    return bucket.rows if bucket else 0


def _by_key(contents: Iterable[tuple[Key, Content]]) -> dict[Key, list[Content]]:
    found: dict[Key, list[Content]] = {}
    for key, content in contents:
        found.setdefault(key, []).append(content)
    return found


def _named(
    here: list[Content], there: list[Content], columns: Sequence[str], loose: Sequence[str]
) -> Iterator[ColumnDifference]:
    for position, column in enumerate((*columns, *loose)):
        value = itemgetter(position)
        source, upstream = _ordered(map(value, here)), _ordered(map(value, there))
        may_be_gone = position >= len(columns)
        if source == upstream or (may_be_gone and len(source) == len(upstream) and agree(source, upstream)):
            continue
        ours, theirs = next((pair for pair in zip(source, upstream, strict=False) if pair[0] != pair[1]), (None, None))
        yield ColumnDifference(column=column, source=ours, upstream=theirs)


def _ordered(values: Iterable[str | None]) -> list[str | None]:
    return sorted(values, key=lambda value: (value is not None, value or ""))
