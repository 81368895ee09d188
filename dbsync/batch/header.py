"""A batch's header as JSON, written in one way only and read without mercy.

Whatever is read is written again and compared: a member too many or too few, a number written as another would write
it, a key in another order, white space - everything that version 1 would not have written itself is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

import orjson

from dbsync.errors import FormatError
from dbsync.model.batch import Count, Ended, Header, Op, Passed
from dbsync.model.layout import Layout
from dbsync.model.strict import exactly, filled, items, members_of, text, whole

VERSION = 1
HASH_BYTES = 32
_LARGEST = 2**63 - 1
_LARGEST_COUNT = 2**53 - 1
_MEMBERS = frozenset(
    {
        "counts", "first_captured", "first_seq", "incarnation", "last_captured", "last_seq", "layouts", "lineage", "link",
        "node", "number", "passed", "previous_hash", "transactions",
    }
)  # fmt: skip
_RARE = frozenset({"ended", "kept"})
"""Members that stand there only where they are not empty: who does not know them yet can read every other header."""
_COUNT_MEMBERS = frozenset({"layout", "op", "changes", "renames"})
_PASSED_MEMBERS = frozenset({"lineage", "transactions", "tx"})
_ENDED_MEMBERS = frozenset({"hash", "incarnation", "number"})


def write_header(header: Header) -> bytes:
    """Give a header as JSON; raise ValueError for one that no version 1 reader would accept."""
    try:
        written = _dump(header)
    except (TypeError, AttributeError, orjson.JSONEncodeError) as error:
        raise ValueError(f"not a header: {error}") from error
    try:
        read_header(written)
    except FormatError as error:
        raise ValueError(str(error)) from error
    return written


def read_header(data: bytes) -> Header:
    """Read what :func:`write_header` wrote; raise :class:`FormatError` for anything else."""
    try:
        header = _read(orjson.loads(data))
        same = _dump(header) == data
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise refused(f"the header is not one of version {VERSION}", str(error)) from error
    if not same:
        raise refused(f"the header is not written as version {VERSION} writes it")
    return header


def refused(what: str, why: str = "") -> FormatError:
    """Make the error for bytes that this version does not accept."""
    return FormatError(what, where="batch", why=why, hint="ask its sender for the batch again; nothing of it was used")


def _dump(header: Header) -> bytes:
    members = {
        "node": header.node,
        "lineage": str(header.lineage),
        "incarnation": str(header.incarnation),
        "link": header.link,
        "number": str(header.number),
        "first_seq": str(header.first_seq),
        "last_seq": str(header.last_seq),
        "transactions": header.transactions,
        "first_captured": _moment_text(header.first_captured),
        "last_captured": _moment_text(header.last_captured),
        "counts": [
            {"layout": str(count.layout), "op": count.op.value, "changes": count.changes, "renames": count.renames}
            for count in header.counts
        ],
        "previous_hash": header.previous_hash.hex(),
        "layouts": {str(identity): layout.definition() for identity, layout in header.layouts.items()},
        "passed": [
            {
                "tx": str(passed.tx),
                "lineage": str(passed.lineage),
                "transactions": [[str(tx), _moment_text(moment)] for tx, moment in passed.transactions],
                **({"whole": str(passed.whole)} if passed.whole is not None else {}),
            }
            for passed in header.passed
        ],
    }
    if header.kept:
        members["kept"] = [str(seq) for seq in header.kept]
    if header.ended:
        members["ended"] = [
            {"incarnation": str(life.incarnation), "number": str(life.number), "hash": life.hash.hex()}
            for life in header.ended
        ]
    return orjson.dumps(members, option=orjson.OPT_SORT_KEYS)


def _read(value: object) -> Header:
    members = exactly(value, _MEMBERS | (_RARE & members_of(value).keys()))
    header = Header(
        node=filled(members["node"]),
        lineage=UUID(text(members["lineage"])),
        incarnation=UUID(text(members["incarnation"])),
        link=filled(members["link"]),
        number=_long(members["number"], least=1),
        first_seq=_long(members["first_seq"], least=0),
        last_seq=_long(members["last_seq"], least=0),
        transactions=_count(members["transactions"], least=1),
        first_captured=_moment(members["first_captured"]),
        last_captured=_moment(members["last_captured"]),
        counts=tuple(_read_count(count) for count in items(members["counts"])),
        previous_hash=bytes.fromhex(text(members["previous_hash"])),
        layouts={
            _long(identity): Layout.read(members_of(definition))
            for identity, definition in members_of(members["layouts"]).items()
        },
        passed=tuple(_read_passed(passed) for passed in items(members["passed"])),
        kept=tuple(_long(seq, least=0) for seq in items(members.get("kept", []))),
        ended=tuple(_read_ended(life) for life in items(members.get("ended", []))),
    )
    _consistent(header)
    return header


def _consistent(header: Header) -> None:
    told = [(count.layout, count.op) for count in header.counts]
    problems = {
        "a hash has 32 bytes": len(header.previous_hash) not in (0, HASH_BYTES)
        or any(len(life.hash) != HASH_BYTES for life in header.ended),
        "only the first batch follows none": bool(header.previous_hash) != (header.number > 1),
        "its transactions end before they begin": header.first_seq >= header.last_seq,
        "it has no changes": not header.counts,
        "a count stands twice": len(set(told)) < len(told),
        "a count has no layout": not {layout for layout, _ in told} <= header.layouts.keys(),
        "what is passed on is not in order": not _ascends([(p.tx, p.lineage.bytes) for p in header.passed])
        or not all(_ascends(p.transactions) for p in header.passed),
        "it passes on nothing": not all(p.transactions for p in header.passed),
        "what is passed on is in none of its transactions": not all(
            header.first_seq < p.tx <= header.last_seq for p in header.passed
        ),
        "what is kept is not in order": not _ascends(header.kept),
        "what is kept is in nothing that is passed on": bool(header.kept)
        and not (header.passed and header.kept[-1] <= header.last_seq),
        "what is over is not in order": not _ascends([life.incarnation.bytes for life in header.ended]),
        "its own life is over": any(life.incarnation == header.incarnation for life in header.ended),
    }
    found = [problem for problem, is_so in problems.items() if is_so]
    if found:
        raise ValueError("; ".join(found))


def _read_count(value: object) -> Count:
    members = exactly(value, _COUNT_MEMBERS)
    count = Count(
        layout=_long(members["layout"]),
        op=Op(text(members["op"])),
        changes=_count(members["changes"], least=1),
        renames=_count(members["renames"], least=0),
    )
    if count.renames > count.changes:
        raise ValueError("more renames than changes")
    return count


def _read_passed(value: object) -> Passed:
    members = exactly(value, _PASSED_MEMBERS | ({"whole"} & members_of(value).keys()))
    return Passed(
        tx=_long(members["tx"], least=0),
        lineage=UUID(text(members["lineage"])),
        transactions=tuple(_read_transaction(*items(pair)) for pair in items(members["transactions"])),
        whole=UUID(text(members["whole"])) if "whole" in members else None,
    )


def _read_ended(value: object) -> Ended:
    members = exactly(value, _ENDED_MEMBERS)
    return Ended(
        incarnation=UUID(text(members["incarnation"])),
        number=_long(members["number"], least=1),
        hash=bytes.fromhex(text(members["hash"])),
    )


def _read_transaction(tx: object, moment: object) -> tuple[int, datetime]:
    return _long(tx, least=0), _moment(moment)


def _ascends(values: Sequence[Any]) -> bool:
    return all(one < other for one, other in pairwise(values))


def _long(value: object, *, least: int = -_LARGEST - 1) -> int:
    """Read a number of up to 64 bits; it stands as text, for many readers of JSON keep only 53 bits of a number."""
    return _within(int(text(value)), least, _LARGEST)


def _count(value: object, *, least: int) -> int:
    return whole(value, least=least, most=_LARGEST_COUNT)


def _within(number: int, least: int, most: int) -> int:
    if not least <= number <= most:
        raise ValueError("a number is out of range")
    return number


def _moment(value: object) -> datetime:
    return datetime.fromisoformat(text(value))


def _moment_text(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise TypeError("a moment without a time zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
