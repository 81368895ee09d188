"""A batch survives its way as bytes, and whatever happened to the bytes is noticed."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbsync.batch import header as headers
from dbsync.batch.codec import Limits, decode, encode
from dbsync.errors import FormatError
from dbsync.model.batch import Batch, Count, Header, Op
from dbsync.model.layout import Layout
from dbsync.model.names import TableName
from dbsync.model.registration import KeyColumn, KeyReference, KeyTree

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
NUMBERS = st.integers(0, 2**63 - 1)
MOMENTS = st.datetimes(timezones=st.just(UTC))
TABLES = st.builds(TableName, NAMES, NAMES)
COLUMNS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)


def references(trees: st.SearchStrategy[KeyTree]) -> st.SearchStrategy[KeyReference]:
    return st.builds(KeyReference, columns=COLUMNS, target_columns=COLUMNS, target=trees, soft=st.booleans())


TREES = st.recursive(
    st.builds(KeyTree, table=TABLES, parts=st.lists(st.builds(KeyColumn, column=NAMES), max_size=2).map(tuple)),
    lambda trees: st.builds(KeyTree, table=TABLES, parts=st.lists(references(trees), max_size=2).map(tuple)),
    max_leaves=4,
)
LAYOUTS = st.builds(
    Layout,
    table=TABLES,
    columns=st.lists(st.tuples(NAMES, NAMES), max_size=3).map(tuple),
    references=st.lists(references(TREES), max_size=2).map(tuple),
    key=st.none() | TREES,
)


@st.composite
def header(draw: st.DrawFn) -> Header:
    layouts = {layout.identity: layout for layout in draw(st.lists(LAYOUTS, min_size=1, max_size=3))}
    counts = tuple(
        Count(layout=identity, op=draw(st.sampled_from(Op)), changes=draw(NUMBERS), renames=draw(NUMBERS))
        for identity in layouts
    )
    return Header(
        node=draw(NAMES),
        incarnation=draw(st.uuids()),
        link=draw(NAMES),
        number=draw(NUMBERS),
        first_seq=draw(NUMBERS),
        last_seq=draw(NUMBERS),
        transactions=draw(NUMBERS),
        first_captured=draw(MOMENTS),
        last_captured=draw(MOMENTS),
        counts=counts,
        previous_hash=draw(st.binary(max_size=32)),
        layouts=layouts,
    )


PAYLOADS = st.lists(st.binary(max_size=300), max_size=6)


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


@given(header(), PAYLOADS, st.integers(1, 200))
def test_a_batch_reads_back_however_its_bytes_are_cut(given_header: Header, payload: list[bytes], size: int) -> None:
    data = b"".join(encode(Batch(header=given_header, payload=payload)))
    found = decode(cut(data, size))
    assert found.header == given_header
    assert b"".join(found.payload) == b"".join(payload)


@given(header(), PAYLOADS)
def test_the_same_batch_is_always_the_same_bytes(given_header: Header, payload: list[bytes]) -> None:
    once, again = (b"".join(encode(Batch(header=given_header, payload=iter(payload)))) for _ in range(2))
    assert once == again


@given(header(), st.data())
def test_a_changed_byte_is_refused_or_changes_nothing(given_header: Header, data: st.DataObject) -> None:
    payload = data.draw(PAYLOADS)
    whole = b"".join(encode(Batch(header=given_header, payload=payload)))
    place = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytes([whole[place] ^ data.draw(st.integers(1, 255))])
    try:
        found = decode([whole[:place] + flipped + whole[place + 1 :]])
        content = b"".join(found.payload)
    except FormatError:
        return
    assert (found.header, content) == (given_header, b"".join(payload))


@given(header(), PAYLOADS, st.data())
def test_a_batch_cut_short_or_with_more_behind_it_is_refused(
    given_header: Header, payload: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(encode(Batch(header=given_header, payload=payload)))
    short = whole[: data.draw(st.integers(0, len(whole) - 1))]
    for wrong in (short, whole + data.draw(st.binary(min_size=1, max_size=9))):
        with pytest.raises(FormatError):
            b"".join(decode([wrong]).payload)


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        b"".join(decode([b"dbsync1\n" + data]).payload)
    with pytest.raises(FormatError):
        decode([b"dbsync2\n" + data])


@given(header(), st.data())
def test_a_header_with_a_member_more_or_less_is_refused(given_header: Header, data: st.DataObject) -> None:
    text = headers.write(given_header)
    for wrong in (text[:-1] + b',"sql":"DROP TABLE subject"}', text.replace(b'"link"', b'"line"', 1), b"[]", b"null"):
        with pytest.raises(FormatError):
            headers.read(wrong)
    with pytest.raises(FormatError):
        headers.read(data.draw(st.binary(max_size=50)))


def plain_header() -> Header:
    site = TableName("public", "site")
    layout = Layout(table=site, columns=(("code", "text"),), key=KeyTree(table=site, parts=(KeyColumn(column="code"),)))
    now = datetime(2026, 11, 22, tzinfo=UTC)
    return Header(
        node="field-01",
        incarnation=UUID(int=1),
        link="community",
        number=1,
        first_seq=0,
        last_seq=9,
        transactions=1,
        first_captured=now,
        last_captured=now,
        counts=(Count(layout=layout.identity, op=Op.INSERT, changes=1),),
        previous_hash=b"",
        layouts={layout.identity: layout},
    )


@settings(deadline=None)
@given(st.integers(1, 64))
def test_more_payload_than_allowed_is_refused_before_it_fills_the_memory(megabytes: int) -> None:
    zeros = (bytes(1 << 20) for _ in range(megabytes + 1))
    data = b"".join(encode(Batch(header=plain_header(), payload=zeros)))
    assert len(data) < 100_000
    with pytest.raises(FormatError, match="too large"):
        for _ in decode([data], Limits(payload=megabytes << 20)).payload:
            pass


def test_a_large_batch_passes_through_in_little_memory() -> None:
    block = b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(1 << 15))
    tracemalloc.start()
    length = sum(
        len(piece) for piece in decode(encode(Batch(header=plain_header(), payload=(block for _ in range(32))))).payload
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert length == 32 * len(block)
    assert peak < 12 * len(block)
