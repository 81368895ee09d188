"""What a source asks of an upstream that it reaches by messages only, and what that answers; as JSON, in one form. Pure.

No SQL travels: a question describes the table as the source registered it, with its columns and their types, and the
upstream says its own rows accordingly. Each question is complete in itself, so whoever answers remembers nothing. What
cannot be read is a FormatError inside :func:`reading`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dbsync.errors import FormatError
from dbsync.model.catalog import Catalog, Column, Table
from dbsync.model.layout import Layout
from dbsync.model.names import TableName
from dbsync.model.registration import GenericReference, Mode, RegisteredTable
from dbsync.model.strict import exactly, flag, items, members_of, text, whole
from dbsync.verify.compare import MAX_BITS, Bucket, Content, Cut, Row
from dbsync.verify.report import ColumnDifference, Key
from dbsync.verify.shape import tables_of
from dbsync.verify.views import Family, View

Json = Mapping[str, Any]

BITS = 13
"""One question is answered by at most ``2 ** BITS`` buckets, some 400 KB."""
_LARGEST = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The table that is asked about, as the source has it."""

    registered: RegisteredTable
    source: View
    """The tables that its rows, keys and references are said by."""
    names: tuple[str, ...]
    """What the source compares: columns and references. The upstream must come to the same, or they talk past each other."""

    def as_json(self) -> Json:
        """Write it down."""
        return {**self.beside(), "source": write_view(self.source, tables_of(self.registered))}

    def beside(self) -> Json:
        """Write down what is to be known beside the source's tables."""
        return {
            "table": Layout.of(self.registered).definition(),
            "models": [sorted(generic.targets) for generic in self.registered.generics],
            "names": list(self.names),
        }

    @classmethod
    def read(cls, said: object) -> Subject:
        """Read what :meth:`as_json` wrote."""
        found = exactly(said, {"table", "models", "source", "names"})
        return cls.seen({name: value for name, value in found.items() if name != "source"}, read_view(found["source"]))

    @classmethod
    def seen(cls, said: object, source: View) -> Subject:
        """Read what :meth:`beside` wrote, about tables that look so at the source."""
        found = exactly(said, {"table", "models", "names"})
        models = [list(map(text, items(one))) for one in items(found["models"])]
        return cls(
            registered=_registered(Layout.read(members_of(found["table"])), models),
            source=source,
            names=tuple(map(text, items(found["names"]))),
        )


def write_tables(tables: Iterable[TableName]) -> Json:
    """Ask what the upstream has of some tables."""
    return {"tables": [[table.schema, table.name] for table in sorted(tables)]}


def read_tables(said: Json) -> list[TableName]:
    """Read which tables are asked for."""
    return [TableName(*map(text, items(one, 2))) for one in items(exactly(said, {"tables"})["tables"])]


def write_view(view: View, tables: Iterable[TableName]) -> list[Json]:
    """Write down what a side has of some tables: columns with their types and families."""
    found = ((name, view.catalog.table(name)) for name in sorted(tables))
    return [
        {
            "table": [name.schema, name.name],
            "rows": table.estimated_rows,
            "columns": [[c.name, c.type, c.nullable, _family(view, name, c.name)] for c in table.columns],
        }
        for name, table in found
        if table is not None
    ]


def read_view(said: object) -> View:
    """Read what :func:`write_view` wrote; the tables know no more of themselves than is compared by."""
    tables: dict[TableName, Table] = {}
    families: dict[tuple[TableName, str], Family] = {}
    for one in (exactly(found, {"table", "rows", "columns"}) for found in items(said)):
        name = TableName(*map(text, items(one["table"], 2)))
        columns = []
        for column, kind, nullable, family in (items(found, 4) for found in items(one["columns"])):
            columns.append(Column(name=text(column), type=text(kind), cast="", nullable=flag(nullable)))
            if family is not None:
                families[name, column] = Family(text(family))
        tables[name] = Table(name=name, oid=0, owner="", columns=tuple(columns), estimated_rows=_number(one["rows"]))
    return View(catalog=Catalog(database="", server_version=0, tables=tables), families=families)


def write_cut(cut: Cut) -> Json:
    """Name some buckets."""
    return {"bits": cut.bits, "numbers": list(cut.numbers)}


def read_cut(said: object) -> Cut:
    """Read the names of some buckets."""
    found = exactly(said, {"bits", "numbers"})
    return Cut(
        bits=_number(found["bits"], most=MAX_BITS), numbers=tuple(_number(n, least=-1) for n in items(found["numbers"]))
    )


def read_bits(said: object, within: Cut) -> int:
    """Read how finely to cut, so that the answer stays small."""
    bits = _number(said, most=MAX_BITS)
    if bits < within.bits or len(within.numbers) << (bits - within.bits) > (2 << BITS):
        raise ValueError("so many buckets are not told at once")
    return bits


def write_bucket(bucket: Bucket) -> list[Any]:
    """Write a bucket."""
    return [bucket.number, bucket.rows, bucket.digest]


def read_buckets(said: Json) -> list[Bucket]:
    """Read the answer that has buckets."""
    found = (items(one, 3) for one in items(exactly(said, {"buckets"})["buckets"]))
    return [Bucket(number=_number(n, least=-1), rows=_number(rows), digest=text(digest)) for n, rows, digest in found]


def write_row(row: Row) -> list[Any]:
    """Write a row of the source: its bucket, its key, and digests of the rest."""
    return [row.bucket, list(row.key), row.digest, list(row.loose)]


def read_rows(said: object) -> Iterator[Row]:
    """Read the source's rows."""
    for bucket, key, digest, loose in (items(one, 4) for one in items(said)):
        yield Row(bucket=_number(bucket), key=_leaves(key), digest=text(digest), loose=_leaves(loose))


def write_contents(contents: Iterable[tuple[Key, Content]]) -> list[Any]:
    """Write digests of rows' contents."""
    return [[list(key), list(content)] for key, content in contents]


def read_contents(said: object, width: int) -> list[tuple[Key, Content]]:
    """Read digests of rows' contents, ``width`` of them for each row."""
    pairs = [(_leaves(key), _leaves(content)) for key, content in (items(one, 2) for one in items(said))]
    if any(len(content) != width for _, content in pairs):
        raise ValueError("a row has more or fewer columns than it says")
    return pairs


def read_columns(said: object) -> Iterator[tuple[Key, tuple[ColumnDifference, ...]]]:
    """Read in which columns rows differ."""
    for key, columns in (items(one, 2) for one in items(exactly(said, {"rows"})["rows"])):
        yield _leaves(key), tuple(ColumnDifference(column=text(column)) for column in items(columns))


@contextmanager
def reading() -> Iterator[None]:
    """Say of anything that cannot be read that it cannot. Raises FormatError."""
    try:
        yield
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FormatError(
            "no question or answer of this version",
            where="verify",
            why=str(error),
            hint="upgrade dbsync where it is older",
        ) from None


def _registered(layout: Layout, models: Sequence[Sequence[str]]) -> RegisteredTable:
    if layout.key is None:
        raise ValueError("the table has no key")
    generics = tuple(
        GenericReference(
            type_column=generic.type_column,
            id_column=generic.id_column,
            targets=dict(zip(labels, generic.targets, strict=True)),
        )
        for generic, labels in zip(layout.generics, models, strict=True)
    )
    return RegisteredTable(
        table=Table(name=layout.table, oid=0, owner="", columns=()),
        mode=Mode.SHIP,
        key=layout.key,
        references=layout.references,
        generics=generics,
        values=tuple(name for name, _ in layout.columns),
        insert_only=layout.insert_only,
    )


def _family(view: View, table: TableName, column: str) -> str | None:
    found = view.families.get((table, column))
    return found.value if found else None


def _leaves(said: object) -> tuple[str | None, ...]:
    return tuple(None if one is None else text(one) for one in items(said))


def _number(said: object, *, least: int = 0, most: int = _LARGEST - 1) -> int:
    return whole(said, least=least, most=most)
