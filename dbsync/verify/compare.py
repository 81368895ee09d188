"""Find the rows in which two sides differ, in bounded memory, whatever lies between the sides. Pure.

Each side cuts a table's rows into ``2 ** bits`` buckets by the leading bits of a hash of the natural key, and gives a
digest of each bucket. Only buckets that differ are looked into: a large one is cut finer, of a small one the upstream is
given the source's rows as key and digests, and matches them with its own. What travels is thus in proportion to the
number of buckets and to the number of differences, not to the table; what is held is one bucket of each side. It is a
Merkle tree with a wide root, the way of anti-entropy repair in Cassandra and of pt-table-checksum.

The rows of the upstream stay where they are, for they may be other nodes'.

A *loose* reference is one that nothing in the database holds: soft, or generic. Its target may be gone at the source,
and another row may have its key since; upstream it then names the row that has this key now, and that is no difference.
Where the target is there, both sides must agree. So each loose reference has a digest of its own in a fetched row.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, repeat
from operator import itemgetter
from typing import Protocol

from dbsync.model.names import TableName
from dbsync.verify.report import GONE, ColumnDifference, Difference, Key, Kind, Place

UNKEYED = -1
"""The bucket of the rows whose key cannot be said."""

ROWS_PER_BUCKET = 1_000
MAX_MATCHED = 4 * ROWS_PER_BUCKET
"""A differing bucket of more rows, on either side, is cut rather than matched."""
MAX_BITS = 48
"""Finer than this nobody cuts: what is still together has one key."""

Content = tuple[str | None, ...]
Columns = tuple[ColumnDifference, ...]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Grain:
    """How finely tables are cut, by what it costs to bring rows to where they are matched."""

    matched: int = MAX_MATCHED
    """A differing bucket with more of the source's rows is cut rather than matched."""
    rows: int = ROWS_PER_BUCKET
    """Rows that a bucket which had to be cut should have afterwards."""
    bits: int = 16
    """One question is answered by at most ``2 ** bits`` buckets."""


class Side(Protocol):
    """A table as one of the two databases has it. Both must hash and render alike."""

    def buckets(self, bits: int, within: Cut) -> Iterable[Bucket]:
        """Cut the rows of ``within`` into ``2 ** bits`` and sum up each bucket that has rows; in any order."""

    def rows(self, cut: Cut) -> Iterator[Row]:
        """Give the rows of some buckets, ordered by bucket; an UNKEYED row by its primary key."""

    def contents(self, keys: Sequence[Key]) -> Iterator[tuple[Key, Content]]:
        """Give the compared columns of the rows with these keys, in any order."""

    def digests(self, keys: Sequence[Key]) -> Iterator[tuple[Key, Content]]:
        """Give the same, a digest in each value's place; null stays null, and GONE stays GONE."""


class Upstream(Protocol):
    """A table as the upstream has it, however that is reached: it answers, and its rows stay with it."""

    @property
    def grain(self) -> Grain:
        """Say how finely its tables are cut."""

    def buckets(self, bits: int, within: Cut) -> Iterable[Bucket]:
        """Cut its rows as :class:`Side` does."""

    def matched(self, table: TableName, cut: Cut, rows: Iterator[Row]) -> Iterator[Difference]:
        """Match the source's rows of some buckets, ordered by bucket, with its own; see :func:`match`."""

    def differing(self, source: Side, keys: Sequence[Key]) -> Mapping[Key, Columns]:
        """Name the columns in which rows with these keys differ; see :func:`named`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """A table seen from above: how many rows each side has, and which buckets differ."""

    table: TableName
    bits: int
    source_rows: int
    upstream_rows: int
    not_captured: int
    other_origin: int
    differing: tuple[Differing, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Differing:
    """A bucket that is not the same on both sides."""

    number: int
    source_rows: int
    upstream_rows: int

    @property
    def rows(self) -> int:
        """Count the rows of the side that has more."""
        return max(self.source_rows, self.upstream_rows)


def compare(source: Side, upstream: Upstream, table: TableName, *, estimate: int = 0) -> Iterator[Difference]:
    """Give every row in which the sides differ, in no particular order.

    A key that stands for several rows is compared as a multiset: equal rows cancel, the rest pairs off as DIFFERENT,
    what then remains is MISSING or EXTRA.
    """
    return differences(source, upstream, survey(source, upstream, table, estimate=estimate))


def survey(source: Side, upstream: Upstream, table: TableName, *, estimate: int = 0) -> Survey:
    """Look at every row once, on either side. A wrong estimate costs another look, never the answer.

    Upstream rows whose key cannot be said are of other origin: no batch brought them, so they answer to no row of the
    source. Rows of the source whose key cannot be said were not captured yet.
    """
    bits = bits_for(estimate, ROWS_PER_BUCKET, upstream.grain.bits)
    here = _by_number(source.buckets(bits, EVERYTHING))
    there = _by_number(upstream.buckets(bits, EVERYTHING))
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


def differences(source: Side, upstream: Upstream, found: Survey) -> Iterator[Difference]:
    """Descend into the buckets that differ and give each row in which they do."""
    if found.not_captured:
        for row in source.rows(Cut(bits=0, numbers=(UNKEYED,))):
            yield Difference(table=found.table, kind=Kind.MISSING, key=row.key, captured=False, places=_places([row]))
    yield from _Descent(source=source, upstream=upstream, table=found.table).into(found.bits, found.differing)


def explain(source: Side, upstream: Upstream, found: Sequence[Difference]) -> list[Difference]:
    """Name the columns, with both values where they may be seen, in which DIFFERENT rows of one table differ.

    It asks each side once, whatever the number of rows; so it is meant for those that are shown.
    """
    keys = list(dict.fromkeys(d.key for d in found if d.kind is Kind.DIFFERENT))
    if not keys:
        return list(found)
    columns = upstream.differing(source, keys)
    return [replace(d, columns=columns.get(d.key, ())) if d.kind is Kind.DIFFERENT else d for d in found]


def named(
    source: Iterable[tuple[Key, Content]],
    upstream: Iterable[tuple[Key, Content]],
    columns: Sequence[str],
    loose: Sequence[str] = (),
) -> dict[Key, Columns]:
    """Name the columns in which rows of one key differ, by their contents or by digests of them.

    ``loose`` names the loose references, which come behind the columns.
    """
    here, there = _by_key(source), _by_key(upstream)
    return {key: tuple(_named(ours, there.get(key, []), columns, loose)) for key, ours in here.items()}


def bits_for(rows: int, size: int, most: int) -> int:
    """Say how finely to cut so that a bucket has about ``size`` rows.

    >>> [bits_for(n, 1_000, 16) for n in (0, 1_000, 1_001, 100_000, 10**12)]
    [0, 0, 1, 7, 16]
    """
    return min(most, (max(1, -(-rows // size)) - 1).bit_length())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Descent:
    """The way down into the differing buckets of one table."""

    source: Side
    upstream: Upstream
    table: TableName

    def into(self, bits: int, differing: Sequence[Differing]) -> Iterator[Difference]:
        """Have the small buckets matched, cut the large ones."""
        small = [bucket.number for bucket in differing if bits >= MAX_BITS or self._is_small(bucket)]
        if small:
            cut = Cut(bits=bits, numbers=tuple(sorted(small)))
            yield from self.upstream.matched(self.table, cut, self.source.rows(cut))
        settled = set(small)
        large = [bucket for bucket in differing if bucket.number not in settled]
        if large:
            yield from self._deeper(bits, large)

    def _is_small(self, bucket: Differing) -> bool:
        return bucket.source_rows <= self.upstream.grain.matched and bucket.upstream_rows <= MAX_MATCHED

    def _deeper(self, bits: int, large: Sequence[Differing]) -> Iterator[Difference]:
        """Cut large buckets, so many at a time that one answer stays small."""
        grain = self.upstream.grain
        deeper = min(MAX_BITS, bits + max(1, bits_for(max(b.rows for b in large), grain.rows, grain.bits)))
        step = max(1, 2 ** (grain.bits - (deeper - bits)))
        for start in range(0, len(large), step):
            within = Cut(bits=bits, numbers=tuple(sorted(bucket.number for bucket in large[start : start + step])))
            here = _by_number(self.source.buckets(deeper, within))
            there = _by_number(self.upstream.buckets(deeper, within))
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


def _differing(here: Mapping[int, Bucket], there: Mapping[int, Bucket]) -> tuple[Differing, ...]:
    numbers = sorted(number for number in here.keys() | there.keys() if here.get(number) != there.get(number))
    return tuple(
        Differing(number=number, source_rows=_rows(here, number), upstream_rows=_rows(there, number))
        for number in numbers
    )


def _rows(buckets: Mapping[int, Bucket], number: int) -> int:
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
