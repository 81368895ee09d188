"""A batch as bytes: what goes in comes out, and nothing else is accepted."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dbsync.batch.codec import MAGIC, Limits, decode, encode
from dbsync.batch.header import read_header, write_header
from dbsync.errors import FormatError
from dbsync.model.batch import Batch, Count, Ended, Header, Op, Passed
from dbsync.model.layout import Layout, LayoutGeneric
from dbsync.model.names import TableName
from dbsync.model.registration import KeyColumn, KeyReference, KeyTree
from tests.property.layouts import names, references

SITE = KeyTree(table=TableName("public", "site"), parts=(KeyColumn(column="code"),))
SUBJECT = Layout(
    table=TableName("public", "subject"),
    columns=(("identifier", "text"), ("age", "integer")),
    references=(KeyReference(columns=("site_id",), target_columns=("id",), target=SITE),),
    key=KeyTree(table=TableName("public", "subject"), parts=(KeyColumn(column="identifier"),)),
)
HEADER = Header(
    node="field-07",
    lineage=UUID("b1ffcd00-0d1c-4af9-8c7e-7cc0ce491b22"),
    incarnation=UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    link="community",
    number=2,
    first_seq=17,
    last_seq=2**62,
    transactions=3,
    first_captured=datetime(2026, 11, 22, 12, tzinfo=UTC),
    last_captured=datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC),
    counts=(Count(layout=SUBJECT.identity, op=Op.UPDATE, changes=4, renames=1),),
    previous_hash=hashlib.sha256(b"").digest(),
    layouts={SUBJECT.identity: SUBJECT},
    passed=(
        Passed(
            tx=18,
            lineage=UUID("c2aabc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            transactions=((5, datetime(2026, 11, 22, 11, tzinfo=UTC)), (7, datetime(2026, 11, 22, 10, tzinfo=UTC))),
        ),
        Passed(
            tx=19,
            lineage=UUID("d3bbbc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            transactions=((9, datetime(2026, 11, 22, 11, tzinfo=UTC)),),
            whole=UUID("c2aabc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ),
    ),
)
PAYLOAD = b"PGCOPY\n\xff\r\n\0" + bytes(range(256)) * 40

tables = st.builds(TableName, names, names)
columns = st.lists(names, min_size=1, max_size=3).map(tuple)
bare_trees = st.builds(
    KeyTree, table=tables, parts=st.lists(st.builds(KeyColumn, column=names), min_size=1, max_size=2).map(tuple)
) | st.builds(KeyTree, table=tables, row_id=columns)

trees = st.recursive(
    bare_trees,
    lambda inner: st.builds(
        KeyTree,
        table=tables,
        parts=st.lists(
            st.builds(KeyColumn, column=names) | references(inner),
            min_size=1,
            max_size=3,
        ).map(tuple),
    ),
    max_leaves=4,
)
layouts = st.builds(
    Layout,
    table=tables,
    columns=st.lists(st.tuples(names, names), max_size=5).map(tuple),
    insert_only=st.lists(names, max_size=2).map(tuple),
    references=st.lists(references(trees), max_size=2).map(tuple),
    generics=st.lists(
        st.builds(
            LayoutGeneric, type_column=names, id_column=names, targets=st.lists(bare_trees, max_size=2).map(tuple)
        ),
        max_size=2,
    ).map(tuple),
    key=st.none() | trees,
)
moments = st.datetimes(
    min_value=datetime(1900, 1, 2),  # the strategy wants it bare
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))]),
)
seqs = st.integers(0, 2**63 - 1)
transactions = st.lists(st.tuples(seqs, moments), min_size=1, max_size=3, unique=True).map(sorted).map(tuple)


@st.composite
def headers(draw: st.DrawFn) -> Header:
    known = draw(st.dictionaries(st.integers(-(2**63), 2**63 - 1), layouts, min_size=1, max_size=3))
    told = draw(
        st.lists(st.tuples(st.sampled_from(sorted(known)), st.sampled_from(Op)), min_size=1, max_size=5, unique=True)
    )
    number = draw(st.integers(1, 2**63 - 1))
    first, last = sorted(draw(st.lists(seqs, min_size=2, max_size=2, unique=True)))
    told_of = draw(passed(first, last))
    return Header(
        node=draw(names),
        lineage=draw(st.uuids()),
        incarnation=draw(st.uuids()),
        link=draw(names),
        number=number,
        first_seq=first,
        last_seq=last,
        transactions=draw(st.integers(1, 2**53 - 1)),
        first_captured=draw(moments),
        last_captured=draw(moments),
        counts=tuple(
            Count(layout=layout, op=op, changes=draw(st.integers(5, 2**40)), renames=draw(st.integers(0, 5)))
            for layout, op in told
        ),
        previous_hash=b"" if number == 1 else draw(st.binary(min_size=32, max_size=32)),
        layouts=known,
        passed=told_of,
        kept=draw(st.lists(st.integers(0, last), max_size=3, unique=True).map(sorted).map(tuple)) if told_of else (),
        ended=draw(ended),
    )


ended = st.lists(
    st.builds(
        Ended, incarnation=st.uuids(), number=st.integers(1, 2**63 - 1), hash=st.binary(min_size=32, max_size=32)
    ),
    max_size=3,
    unique_by=lambda life: life.incarnation,
).map(lambda lives: tuple(sorted(lives, key=lambda life: life.incarnation.bytes)))
"""Beside a life that is drawn as well, which is another one but once in 2**122."""


def passed(first: int, last: int) -> st.SearchStrategy[tuple[Passed, ...]]:
    entries = st.builds(Passed, tx=st.integers(first + 1, last), lineage=st.uuids(), transactions=transactions)
    several = st.lists(entries, max_size=3, unique_by=_place)
    return several.map(lambda found: tuple(sorted(found, key=_place)))


def _place(entry: Passed) -> tuple[int, bytes]:
    return entry.tx, entry.lineage.bytes


def encoded(header: Header = HEADER, payload: Iterable[bytes] = (PAYLOAD,)) -> bytes:
    return b"".join(encode(Batch(header=header, payload=payload)))


def decoded(data: bytes, limits: Limits | None = None) -> tuple[Header, bytes]:
    batch = decode([data], limits=limits or Limits())
    return batch.header, b"".join(batch.payload)


def cut_up(data: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    for size in sizes:
        yield data[:size]
        data = data[size:]
    yield data


@given(headers(), st.lists(st.binary(max_size=300), max_size=6), st.lists(st.integers(0, 50), max_size=30))
def test_a_batch_comes_out_as_it_went_in(header: Header, payload: list[bytes], sizes: list[int]) -> None:
    data = encoded(header, payload)
    batch = decode(cut_up(data, sizes))
    assert batch.header == header
    assert b"".join(batch.payload) == b"".join(payload)


@given(headers())
def test_a_header_is_written_in_one_way_only(header: Header) -> None:
    data = write_header(header)
    assert write_header(read_header(data)) == data
    shuffled = dict(reversed(orjson.loads(data).items()))
    with pytest.raises(FormatError, match="not written as version 1 writes it"):
        read_header(orjson.dumps(shuffled))


@given(st.integers(0, len(encoded()) - 1), st.integers(1, 255))
def test_a_changed_byte_is_found_out_or_changes_nothing(place: int, change: int) -> None:
    data = bytearray(encoded())
    data[place] ^= change
    try:
        assert decoded(bytes(data)) == (HEADER, PAYLOAD)
    except FormatError:
        return


@given(st.integers(0, len(encoded()) - 1))
def test_a_batch_cut_short_is_refused(length: int) -> None:
    with pytest.raises(FormatError):
        decoded(encoded()[:length])


@given(st.binary(min_size=1, max_size=100))
def test_bytes_behind_the_end_are_refused(more: bytes) -> None:
    with pytest.raises(FormatError, match=r"behind the end|damaged|too early"):
        decoded(encoded() + more)


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(data: bytes) -> None:
    assume(not data.startswith(MAGIC))
    with pytest.raises(FormatError):
        decoded(data)
    with pytest.raises(FormatError):
        decoded(MAGIC + data)


def test_another_version_is_named() -> None:
    with pytest.raises(FormatError, match="not of version 1"):
        decoded(encoded().replace(b"batch 1", b"batch 2", 1))


def resealed(header: bytes) -> bytes:
    """Put another header into a batch, its length and hash as they should be."""
    lead = MAGIC + len(header).to_bytes(4, "big") + header
    old = write_header(HEADER)
    return lead + hashlib.sha256(lead).digest() + encoded()[len(MAGIC) + 4 + len(old) + 32 :]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("surprise", 1), ("node", None), ("node", ""), ("node", 7), ("link", ["community"]), ("number", 2), ("number", "0"),
        ("number", "02"), ("number", "9223372036854775808"), ("number", "2.0"), ("number", " 2"), ("number", "٢"),
        ("incarnation", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"), ("incarnation", "no uuid"), ("lineage", None), ("transactions", 0),
        ("transactions", "3"), ("transactions", True), ("transactions", 3.0), ("first_seq", "-1"),
        ("first_seq", str(2**62)), ("first_captured", "2026-11-22"), ("first_captured", "2026-11-22T12:00:00.000000"),
        ("first_captured", "2026-11-22T14:00:00.000000+02:00"), ("first_captured", 1), ("previous_hash", "abc"),
        ("previous_hash", "ab"), ("previous_hash", ""), ("counts", {}), ("counts", []), ("counts", [{"layout": "1"}]),
        ("counts", [{"layout": "1", "op": "I", "changes": 1, "renames": 0}]), ("layouts", []), ("layouts", {}),
    ],
)  # fmt: skip
def test_a_header_with_anything_unknown_is_refused(member: str, value: object) -> None:
    members = orjson.loads(write_header(HEADER))
    members[member] = value
    with pytest.raises(FormatError):
        decoded(resealed(orjson.dumps(members, option=orjson.OPT_SORT_KEYS)))


@pytest.mark.parametrize("member", sorted(orjson.loads(write_header(HEADER))))
def test_a_header_with_anything_missing_is_refused(member: str) -> None:
    members = orjson.loads(write_header(HEADER))
    del members[member]
    with pytest.raises(FormatError, match=r"missing members \['" + member):
        decoded(resealed(orjson.dumps(members, option=orjson.OPT_SORT_KEYS)))


MOMENT = "2026-11-22T11:00:00.000000+00:00"


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1}, {"tx": 18}, {"tx": "17"}, {"tx": str(2**62 + 1)}, {"lineage": "C2AABC99-9C0B-4EF8-BB6D-6BB9BD380A11"},
        {"transactions": []}, {"transactions": {}}, {"transactions": [["5"]]}, {"transactions": [["5", MOMENT, 1]]},
        {"transactions": [[5, MOMENT]]}, {"transactions": [["-5", MOMENT]]}, {"transactions": [["5", "today"]]},
        {"transactions": [["5", MOMENT], ["5", MOMENT]]}, {"transactions": [["6", MOMENT], ["5", MOMENT]]},
    ],
)  # fmt: skip
def test_what_is_passed_on_with_anything_unknown_is_refused(change: dict[str, object]) -> None:
    members = orjson.loads(write_header(HEADER))
    members["passed"][0] |= change
    with pytest.raises(FormatError):
        decoded(resealed(orjson.dumps(members, option=orjson.OPT_SORT_KEYS)))


def test_what_is_passed_on_stands_once() -> None:
    members = orjson.loads(write_header(HEADER))
    members["passed"] *= 2
    with pytest.raises(FormatError, match="not in order"):
        decoded(resealed(orjson.dumps(members, option=orjson.OPT_SORT_KEYS)))


@pytest.mark.parametrize("kept", [None, [], "17", [17], ["-1"], ["17", "17"], ["18", "17"], [str(2**62 + 1)], [["17"]]])
def test_what_is_kept_stands_in_order_or_not_at_all(kept: object) -> None:
    members = orjson.loads(write_header(HEADER)) | {"kept": kept}
    with pytest.raises(FormatError):
        decoded(resealed(orjson.dumps(members, option=orjson.OPT_SORT_KEYS)))
    members |= {"kept": ["3", "17"]}
    assert decoded(resealed(orjson.dumps(members, option=orjson.OPT_SORT_KEYS)))[0] == replace(HEADER, kept=(3, 17))
    with pytest.raises(FormatError, match="nothing that is passed on"):
        decoded(resealed(orjson.dumps(members | {"passed": []}, option=orjson.OPT_SORT_KEYS)))


OVER = {"incarnation": "b1ffcd00-0d1c-4af9-8c7e-7cc0ce491b22", "number": "7", "hash": "ab" * 32}


@pytest.mark.parametrize(
    "ended",
    [
        None, [], {}, OVER, [OVER, OVER], [OVER | {"number": "0"}], [OVER | {"number": 7}], [OVER | {"hash": "ab"}],
        [OVER | {"more": 0}], [OVER | {"incarnation": str(HEADER.incarnation)}],
        [OVER | {"incarnation": "c1ffcd00-0d1c-4af9-8c7e-7cc0ce491b22"}, OVER],
    ],
)  # fmt: skip
def test_lives_that_are_over_stand_in_order_or_not_at_all(ended: object) -> None:
    members = orjson.loads(write_header(HEADER)) | {"ended": ended}
    with pytest.raises(FormatError):
        decoded(resealed(orjson.dumps(members, option=orjson.OPT_SORT_KEYS)))
    members |= {"ended": [OVER]}
    told = Ended(incarnation=UUID(OVER["incarnation"]), number=7, hash=b"\xab" * 32)
    assert decoded(resealed(orjson.dumps(members, option=orjson.OPT_SORT_KEYS)))[0] == replace(HEADER, ended=(told,))


BARE = {"table": ["public", "site"], "row_id": [], "parts": ["code"]}


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1}, {"key": {"table": ["public", "site"], "row_id": [], "parts": ["code"], "more": 0}},
        {"columns": [["a", "b", "c"]]}, {"columns": "ab"}, {"insert_only": "ab"}, {"table": "ab"}, {"table": ["a", 1]},
        {"references": [{"columns": ["a"], "target_columns": ["id"], "soft": 0, "target": None}]},
        {"references": [{"columns": ["a"], "target_columns": [], "soft": False, "target": BARE}]},
        {"references": [{"columns": [], "target_columns": [], "soft": False, "target": BARE}]},
        {"key": {"table": ["public", "site"], "row_id": [], "parts": []}},
        {"key": {"table": ["public", "site"], "row_id": ["id"], "parts": ["code"]}}, {"table": ["public", "a\0"]},
    ],
)  # fmt: skip
def test_a_layout_with_anything_unknown_or_that_does_not_hang_together_is_refused(change: dict[str, object]) -> None:
    members = orjson.loads(write_header(HEADER))
    members["layouts"][str(SUBJECT.identity)] |= change
    with pytest.raises(FormatError):
        decoded(resealed(orjson.dumps(members, option=orjson.OPT_SORT_KEYS)))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"{}", b"[" * 5000, b'{"a":' * 900 + b"1" + b"}" * 900])
def test_what_is_no_header_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        decoded(resealed(data))


def test_keys_nested_beyond_all_reason_are_refused() -> None:
    members = orjson.loads(write_header(HEADER))
    members["layouts"][str(SUBJECT.identity)]["key"] = "here"
    text = orjson.dumps(members, option=orjson.OPT_SORT_KEYS)
    nested = b"".join(_nested(250))
    with pytest.raises(FormatError):
        decoded(resealed(text.replace(b'"here"', nested)))


def _nested(depth: int) -> Iterator[bytes]:
    for _ in range(depth):
        yield b'{"parts":[{"columns":["x"],"soft":false,"target":'
    yield b'{"parts":["c"],"row_id":[],"table":["a","b"]}'
    for _ in range(depth):
        yield b',"target_columns":["y"]}],"row_id":[],"table":["a","b"]}'


@pytest.mark.parametrize(
    "header",
    [
        replace(HEADER, first_captured=datetime(2026, 1, 1)),  # that is what is wrong with it
        replace(HEADER, number=2**63),
        replace(HEADER, counts=()),
        replace(HEADER, layouts={}),
        replace(HEADER, previous_hash=b""),
        replace(HEADER, node="\ud800"),
    ],
)
def test_a_header_that_nobody_could_read_is_not_written(header: Header) -> None:
    with pytest.raises(ValueError, match="header"):
        write_header(header)


def test_a_header_that_claims_to_be_huge_is_refused_at_once() -> None:
    with pytest.raises(FormatError, match="header is too large"):
        decode([MAGIC + b"\xff\xff\xff\xff"])


def test_a_payload_beyond_the_limit_is_refused() -> None:
    assert decoded(encoded(), Limits(payload=len(PAYLOAD)))[1] == PAYLOAD
    with pytest.raises(FormatError, match="payload is too large"):
        decoded(encoded(), Limits(payload=len(PAYLOAD) - 1))


def test_the_header_is_there_before_the_payload_is_read() -> None:
    chunks = cut_up(encoded(), [100] * 20)
    batch = decode(chunks)
    assert batch.header == HEADER
    assert next(chunks)
    with pytest.raises(FormatError):
        list(batch.payload)


def test_a_payload_of_any_size_takes_little_memory() -> None:
    block = hashlib.sha256(b"x").digest() * 2048
    blocks = 1200
    tracemalloc.start()
    try:
        chunks = encode(Batch(header=HEADER, payload=(block for _ in range(blocks))))
        assert sum(map(len, decode(chunks).payload)) == blocks * len(block)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert blocks * len(block) > 75_000_000
    assert peak < 5_000_000


def test_a_bomb_goes_off_at_the_limit_and_in_little_memory() -> None:
    bomb = b"".join(encode(Batch(header=HEADER, payload=(bytes(1 << 20) for _ in range(300)))))
    assert len(bomb) < 100_000
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="too large"):
            decoded_size(bomb, Limits(payload=50 << 20))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


def decoded_size(data: bytes, limits: Limits) -> int:
    return sum(map(len, decode([data], limits=limits).payload))
