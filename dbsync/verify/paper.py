"""A comparison as papers, where no line goes: one question about all tables, and one answer. Pure.

No key of a row and no value is in either, only hashes; they are sealed all the same. A question is complete in itself, so whoever answers
remembers nothing, and so does the answer: what it says of a row, it says by what the source gave for it. Each is JSON in one form,
compressed; what cannot be read is a FormatError.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, assert_never
from uuid import UUID

import orjson

from dbsync.errors import Refusal
from dbsync.model.names import TableName
from dbsync.model.strict import exactly, filled, items, members_of, text, whole
from dbsync.verify import questions
from dbsync.verify.compare import Content
from dbsync.verify.questions import Json, Subject, reading
from dbsync.verify.report import Kind
from dbsync.verify.shape import tables_of
from dbsync.verify.sketch import Apart, Item, Sketch, pack_items, unpack_items
from dbsync.verify.views import View

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LARGEST = 96 << 20
"""Bytes of a paper before compression: some four million rows told one by one."""
MOST = 2**40
"""Rows that nobody has in one table."""
LEVEL = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """All rows of a table, in order."""

    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Some rows of a table, each with digests of its columns and loose references."""

    rows: tuple[tuple[Item, Content], ...]


What = Sketch | Listed | Again
"""What a question tells of a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The part of a question about one table."""

    subject: Subject
    spelled: str
    """See :func:`~dbsync.verify.rows.spelled`."""
    what: What


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a source asks, about itself as it was at one moment."""

    node: str
    incarnation: UUID
    link: str
    number: int
    """The batch with which the upstream has everything of that moment; 0 where none ever left."""
    encoding: str
    source: View
    """The tables that rows, keys and references are said by."""
    tables: tuple[Asked, ...]

    def write(self) -> bytes:
        """Write it down. Raises Refusal where it is too large."""
        seen = {name for asked in self.tables for name in tables_of(asked.subject.registered)}
        return _pack(
            {
                "version": 1,
                "node": self.node,
                "incarnation": str(self.incarnation),
                "link": self.link,
                "number": self.number,
                "encoding": self.encoding,
                "source": questions.write_view(self.source, seen),
                "tables": [
                    {"about": asked.subject.beside(), "spelled": asked.spelled, **_write_what(asked.what)}
                    for asked in self.tables
                ],
            }
        )

    @classmethod
    def read(cls, packed: bytes) -> Question:
        """Read what :meth:`write` wrote."""
        with reading():
            said = exactly(
                _unpack(packed), {"version", "node", "incarnation", "link", "number", "encoding", "source", "tables"}
            )
            _expect_version(said)
            source = questions.read_view(said["source"])
            return cls(
                node=filled(said["node"]),
                incarnation=UUID(text(said["incarnation"])),
                link=filled(said["link"]),
                number=whole(said["number"], most=2**63 - 1),
                encoding=text(said["encoding"]),
                source=source,
                tables=tuple(_read_asked(one, source) for one in items(said["tables"])),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the upstream found about a whole table."""

    rows: int
    other_origin: int
    apart: Apart | None
    """None where more rows differ than a sketch of that size can tell."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldAgain:
    """Those of some rows that differ, and in which columns; none for a row that is missing."""

    rows: tuple[tuple[Item, Kind, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Otherwise:
    """The upstream's tables are not what the source took them for: here is what they are."""

    view: View
    tables: frozenset[TableName]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unable:
    """Why a table cannot be compared."""

    problem: str


Reply = Told | ToldAgain | Otherwise | Unable
"""What an answer says of a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the upstream says, of one moment."""

    number: int
    """The newest batch it had then of the life that asked."""
    at: datetime
    tables: tuple[Reply, ...]
    """In the order of the question."""

    def write(self) -> bytes:
        """Write it down. Raises Refusal where it is too large."""
        replies = [_write_reply(reply) for reply in self.tables]
        return _pack({"version": 1, "number": self.number, "at": self.at.isoformat(), "tables": replies})

    @classmethod
    def read(cls, packed: bytes) -> Answer:
        """Read what :meth:`write` wrote."""
        with reading():
            said = exactly(_unpack(packed), {"version", "number", "at", "tables"})
            _expect_version(said)
            return cls(
                number=whole(said["number"], most=2**63 - 1),
                at=datetime.fromisoformat(text(said["at"])),
                tables=tuple(map(_read_reply, items(said["tables"]))),
            )


def _write_what(what: What) -> Json:
    match what:
        case Sketch():
            return {"sketch": _text_of(what.pack())}
        case Listed():
            return {"items": _text_of(pack_items(what.items))}
        case Again():
            return {"rows": [[*item, list(content)] for item, content in what.rows]}
        case never:
            assert_never(never)


def _read_asked(said: object, source: View) -> Asked:
    found = dict(members_of(said))
    subject = Subject.seen(found.pop("about"), source)
    spelled = text(found.pop("spelled"))
    ((kind, value),) = found.items()
    match kind:
        case "sketch":
            what: What = Sketch.unpack(_bytes_of(value))
        case "items":
            what = Listed(items=_in_order(unpack_items(_bytes_of(value))))
        case "rows":
            what = Again(rows=tuple(_read_rows(value, len(subject.names))))
        case _:
            raise ValueError("a table is told of in a way that is unknown")
    return Asked(subject=subject, spelled=spelled, what=what)


def _in_order(found: list[Item]) -> tuple[Item, ...]:
    if any(after < before for before, after in pairwise(found)):
        raise ValueError("rows are not in order")
    return tuple(found)


def _read_rows(said: object, width: int) -> Iterator[tuple[Item, Content]]:
    for place, digest, content in (items(one, 3) for one in items(said)):
        leaves = items(content, width)
        yield _item(place, digest), tuple(None if leaf is None else text(leaf) for leaf in leaves)


def _write_reply(reply: Reply) -> Json:
    match reply:
        case Told():
            return {
                "rows": reply.rows,
                "other": reply.other_origin,
                "apart": reply.apart and _write_apart(reply.apart),
                "notes": list(reply.notes),
            }
        case ToldAgain():
            return {"again": [[*item, kind.value, list(columns)] for item, kind, columns in reply.rows]}
        case Otherwise():
            tables = [[name.schema, name.name] for name in sorted(reply.tables)]
            return {"view": questions.write_view(reply.view, reply.tables), "tables": tables}
        case Unable():
            return {"problem": reply.problem}
        case never:
            assert_never(never)


def _read_reply(said: object) -> Reply:
    match sorted(members_of(said)):
        case ["apart", "notes", "other", "rows"]:
            found = members_of(said)
            return Told(
                rows=whole(found["rows"], most=MOST),
                other_origin=whole(found["other"], most=MOST),
                apart=None if found["apart"] is None else _read_apart(found["apart"]),
                notes=tuple(map(text, items(found["notes"]))),
            )
        case ["again"]:
            return ToldAgain(rows=tuple(map(_read_again, items(members_of(said)["again"]))))
        case ["tables", "view"]:
            found = members_of(said)
            tables = frozenset(TableName(*map(text, items(one, 2))) for one in items(found["tables"]))
            return Otherwise(view=questions.read_view(found["view"]), tables=tables)
        case ["problem"]:
            return Unable(problem=text(members_of(said)["problem"]))
        case _:
            raise ValueError("a table is answered in a way that is unknown")


def _write_apart(apart: Apart) -> Json:
    return {
        "different": _text_of(pack_items(apart.different)),
        "missing": _text_of(pack_items(apart.missing)),
        "extra": apart.extra,
    }


def _read_apart(said: object) -> Apart:
    found = exactly(said, {"different", "missing", "extra"})
    return Apart(
        different=tuple(unpack_items(_bytes_of(found["different"]))),
        missing=tuple(unpack_items(_bytes_of(found["missing"]))),
        extra=whole(found["extra"], most=MOST),
    )


def _read_again(said: object) -> tuple[Item, Kind, tuple[str, ...]]:
    place, digest, kind, columns = items(said, 4)
    return _item(place, digest), Kind(text(kind)), tuple(map(text, items(columns)))


def _item(place: object, digest: object) -> Item:
    return whole(place, least=-(2**63), most=2**63 - 1), whole(digest, least=-(2**63), most=2**63 - 1)


def _expect_version(said: Mapping[str, Any]) -> None:
    if whole(said["version"], most=2**31) != 1:
        raise ValueError("another version")


def _text_of(packed: bytes) -> str:
    return base64.b64encode(packed).decode("ascii")


def _bytes_of(said: object) -> bytes:
    return base64.b64decode(text(said), validate=True)


def _pack(said: Json) -> bytes:
    plain = orjson.dumps(said)
    if len(plain) > LARGEST:
        raise Refusal(
            "the comparison does not fit into one paper",
            where="verify",
            why=f"it would have {len(plain):,} bytes",
            hint="compare fewer tables at once: dbsync verify TABLE ...",
        )
    return zstd.compress(plain, level=LEVEL)


def _unpack(packed: bytes) -> object:
    decompressor = zstd.ZstdDecompressor()
    try:
        plain = decompressor.decompress(packed, LARGEST + 1)
    except zstd.ZstdError as error:
        raise ValueError(str(error)) from None
    if len(plain) > LARGEST or not decompressor.eof or decompressor.unused_data:
        raise ValueError("it is larger than any, or cut off")
    return orjson.loads(plain)
