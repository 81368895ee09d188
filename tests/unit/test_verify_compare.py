"""The comparison by buckets finds what a comparison of everything would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbsync.model.names import TableName
from dbsync.verify import compare as module
from dbsync.verify.compare import (
    MAX_MATCHED,
    ROWS_PER_BUCKET,
    UNKEYED,
    Bucket,
    Columns,
    Content,
    Cut,
    Grain,
    Row,
    Side,
    compare,
    explain,
    match,
    named,
    survey,
)
from dbsync.verify.report import GONE, Difference, Key, Kind

TABLE = TableName("public", "t")
Pairs = Sequence[tuple[Key | None, Content]]


def place(key: Key) -> int:
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest())


@dataclass
class Memory:
    """A side that holds its rows in a list and answers as a database would; it counts what it hands out."""

    pairs: Pairs
    loose: int = 0
    """So many of the last columns are references that nothing holds."""
    columns: Sequence[str] = ()
    grain: Grain = field(default_factory=Grain)
    fetched: int = 0
    asked: list[Cut] = field(default_factory=list)

    def buckets(self, bits: int, within: Cut) -> Iterable[Bucket]:
        self.asked.append(within)
        gathered: dict[int, list[str]] = {}
        for key, content in self.pairs:
            if self.number(key, within.bits) in within.numbers:
                firm, loose = self.split(content)
                settled = (*firm, *(None if e == GONE else e for e in loose))
                gathered.setdefault(self.number(key, bits), []).append(repr((key, settled)))
        return [Bucket(number=number, rows=len(rows), digest=repr(sorted(rows))) for number, rows in gathered.items()]

    def rows(self, cut: Cut) -> Iterator[Row]:
        wanted = [
            Row(bucket=self.number(key, cut.bits), key=key or ("local",), digest=repr(firm), loose=loose)
            for key, (firm, loose) in ((key, self.split(content)) for key, content in self.pairs)
            if self.number(key, cut.bits) in cut.numbers
        ]
        self.fetched += len(wanted)
        yield from sorted(wanted, key=lambda row: row.bucket)

    def contents(self, keys: Sequence[Key]) -> Iterator[tuple[Key, Content]]:
        yield from ((key, content) for key, content in self.pairs if key is not None and key in keys)

    def digests(self, keys: Sequence[Key]) -> Iterator[tuple[Key, Content]]:
        for key, content in self.contents(keys):
            yield key, tuple(value and (value if value == GONE else repr(hash(value))) for value in content)

    def matched(self, table: TableName, cut: Cut, rows: Iterator[Row]) -> Iterator[Difference]:
        return match(table, rows, self.rows(cut))

    def differing(self, source: Side, keys: Sequence[Key]) -> Mapping[Key, Columns]:
        names, here, there = self.columns, source.contents(keys), self.contents(keys)
        return named(here, there, names[: len(names) - self.loose], names[len(names) - self.loose :])

    def split(self, content: Content) -> tuple[Content, Content]:
        return content[: len(content) - self.loose], content[len(content) - self.loose :]

    @staticmethod
    def number(key: Key | None, bits: int) -> int:
        return UNKEYED if key is None else place(key) >> (64 - bits)


def naive(source: Pairs, upstream: Pairs) -> Counter[tuple[Kind, Key]]:
    """Compare everything with everything, in all memory there is."""
    found: Counter[tuple[Kind, Key]] = Counter()
    here = Counter(pair for pair in source if pair[0] is not None)
    there = Counter(pair for pair in upstream if pair[0] is not None)
    for key in {key for key, _ in here | there if key is not None}:
        missing = sum(n for (k, _), n in (here - there).items() if k == key)
        extra = sum(n for (k, _), n in (there - here).items() if k == key)
        found[Kind.DIFFERENT, key] = min(missing, extra)
        found[Kind.MISSING, key] = max(0, missing - extra)
        found[Kind.EXTRA, key] = max(0, extra - missing)
    found[Kind.MISSING, ("local",)] += sum(key is None for key, _ in source)
    return +found


leaves = st.none() | st.sampled_from(["", "a", "b", "NULL", "a,b"])
keys = st.none() | st.tuples(leaves, st.integers(0, 30).map(str))
tables = st.lists(st.tuples(keys, st.tuples(leaves)), max_size=60)


@given(common=tables, source=tables, upstream=tables, estimate=st.sampled_from([0, 10, 5_000, 10**9]))
def test_finds_exactly_the_rows_that_differ(common: Pairs, source: Pairs, upstream: Pairs, estimate: int) -> None:
    here, there = [*common, *source], [*upstream, *common]
    found = compare(Memory(here), Memory(there), TABLE, estimate=estimate)
    assert Counter((d.kind, d.key) for d in found) == naive(here, there)


@given(common=tables, source=tables, upstream=tables)
def test_finds_the_same_when_it_has_to_cut_again_and_again(common: Pairs, source: Pairs, upstream: Pairs) -> None:
    here, there = [*common, *source], [*upstream, *common]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_MATCHED", 2)
        found = compare(Memory(here), Memory(there, grain=Grain(matched=2, rows=1, bits=2)), TABLE)
        assert Counter((d.kind, d.key) for d in found) == naive(here, there)


def rows(number: int) -> list[tuple[Key | None, Content]]:
    return [((str(n),), (str(n % 7),)) for n in range(number)]


@pytest.mark.parametrize("estimate", [0, 60_000])
def test_fetches_in_proportion_to_the_differences_not_to_the_table(estimate: int) -> None:
    here, there = rows(60_000), rows(60_000)
    there[777] = (("777",), ("x",))
    source, upstream = Memory(here), Memory(there)
    assert [d.key for d in compare(source, upstream, TABLE, estimate=estimate)] == [("777",)]
    assert 0 < source.fetched <= 2 * ROWS_PER_BUCKET
    assert len(source.asked) == (1 if estimate else 2)


def test_fetches_nothing_when_both_sides_agree() -> None:
    source, upstream = Memory(rows(5_000)), Memory(list(reversed(rows(5_000))))
    assert list(compare(source, upstream, TABLE)) == []
    assert source.fetched == upstream.fetched == 0


def test_one_key_on_very_many_rows_comes_to_an_end() -> None:
    same: Pairs = [(("k",), (str(n),)) for n in range(MAX_MATCHED + 10)]
    found = list(compare(Memory(same), Memory(same[:-3]), TABLE))
    assert [(d.kind, d.key) for d in found] == [(Kind.MISSING, ("k",))] * 3


def test_survey_counts_uncaptured_rows_here_and_foreign_rows_there() -> None:
    keyed: Pairs = [(("a",), ("1",))]
    found = survey(Memory([*keyed, (None, ("2",))]), Memory([*keyed, (None, ("3",)), (None, ("4",))]), TABLE)
    assert (found.source_rows, found.upstream_rows, found.not_captured, found.other_origin) == (2, 1, 1, 2)
    assert found.differing == ()


def test_explain_names_the_columns_and_leaves_other_kinds_alone() -> None:
    source = Memory([(("a",), ("1", None, "x")), (("b",), ("1", "2", "3"))])
    upstream = Memory([(("a",), ("1", "", "y"))], columns=["one", "two", "three"])
    found = list(compare(source, upstream, TABLE))
    explained = {d.kind: d for d in explain(source, upstream, found)}
    assert explained[Kind.MISSING] == Difference(table=TABLE, kind=Kind.MISSING, key=("b",))
    columns = [(c.column, c.source, c.upstream) for c in explained[Kind.DIFFERENT].columns]
    assert columns == [("two", None, ""), ("three", "x", "y")]


GONE_AT_THE_SOURCE: Pairs = [(("a",), ("x", GONE, "1")), (("b",), ("x", "1", GONE)), (("c",), ("x", None, GONE))]


def test_reference_whose_target_is_gone_at_the_source_is_not_compared() -> None:
    upstream: Pairs = [(("a",), ("x", "9", "1")), (("b",), ("x", "1", None)), (("c",), ("x", GONE, "7"))]
    assert list(compare(Memory(GONE_AT_THE_SOURCE, loose=2), Memory(upstream, loose=2), TABLE)) == []


@pytest.mark.parametrize(
    ("upstream", "wrong"),
    [
        (("x", "9", "2"), ["second"]),
        (("y", "9", "1"), ["value"]),
        (("x", "9", None), ["second"]),
        (("x", "9", GONE), ["second"]),
    ],
)
def test_what_else_differs_in_such_a_row_is_found_and_named(upstream: Content, wrong: list[str]) -> None:
    here, there = Memory(GONE_AT_THE_SOURCE[:1], loose=2), Memory([(("a",), upstream)], loose=2)
    there.columns = ["value", "first", "second"]
    found = list(compare(here, there, TABLE))
    assert [(d.kind, d.key) for d in found] == [(Kind.DIFFERENT, ("a",))]
    (explained,) = explain(here, there, found)
    assert [column.column for column in explained.columns] == wrong


def test_reference_that_is_null_at_the_source_must_be_null_upstream() -> None:
    here, there = Memory([(("a",), (None,))], loose=1), Memory([(("a",), ("1",))], loose=1)
    assert [d.kind for d in compare(here, there, TABLE)] == [Kind.DIFFERENT]


def test_rows_of_one_key_pair_off_though_targets_are_gone() -> None:
    here: Pairs = [(("k",), ("x", GONE)), (("k",), ("x", "1")), (("k",), ("y", GONE))]
    there: Pairs = [(("k",), ("x", "1")), (("k",), ("x", "2")), (("k",), ("z", "1"))]
    found = compare(Memory(here, loose=1), Memory(there, loose=1), TABLE)
    assert [(d.kind, d.key) for d in found] == [(Kind.DIFFERENT, ("k",))]
