"""The source's part of a comparison by papers: what it asks of each table, and what there is now of the rows that were said to differ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from dbsync.model.names import TableName
from dbsync.model.registration import RegisteredTable
from dbsync.model.strict import exactly, items, text
from dbsync.verify import questions
from dbsync.verify.compare import UNKEYED, Cut
from dbsync.verify.paper import Again, Asked, Listed, What
from dbsync.verify.questions import Json, Subject
from dbsync.verify.report import Key, Place
from dbsync.verify.rows import row_sql, spelled
from dbsync.verify.shape import Shape, shape, tables_of
from dbsync.verify.side import Connection, DatabaseSide, Found, view_of
from dbsync.verify.sketch import plan
from dbsync.verify.views import View, Views


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A table as it is to be asked about."""

    name: TableName
    shape: Shape
    asked: Asked | None
    """None where it cannot be: the shape has the problem."""
    rows: int = 0
    """How many there are; counted where the whole table is asked about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the upstream said of its tables, where they are not what the source took them for."""

    tables: frozenset[TableName] = frozenset()
    view: View = field(default_factory=lambda: questions.read_view([]))
    """Those of them that are there."""

    def learn(self, tables: Iterable[TableName], view: View) -> Known:
        """Take in what it said anew of some of them."""
        fresh = frozenset(tables)
        kept = questions.write_view(self.view, self.tables - fresh)
        return Known(tables=self.tables | fresh, view=questions.read_view([*kept, *questions.write_view(view, fresh)]))

    def over(self, view: View) -> View:
        """Take the upstream's tables for what it said of them, and the others for what they are at the source."""
        others = {name: table for name, table in view.catalog.tables.items() if name not in self.tables}
        families = {where: family for where, family in view.families.items() if where[0] not in self.tables}
        return View(
            catalog=replace(view.catalog, tables={**others, **self.view.catalog.tables}),
            families={**families, **self.view.families},
        )

    def as_json(self) -> Json:
        """Write it down."""
        return {
            "tables": [[name.schema, name.name] for name in sorted(self.tables)],
            "view": questions.write_view(self.view, self.tables),
        }

    @classmethod
    def read(cls, said: object) -> Known:
        """Read what :meth:`as_json` wrote."""
        found = exactly(said, {"tables", "view"})
        names = (TableName(*map(text, items(one, 2))) for one in items(found["tables"]))
        return cls(tables=frozenset(names), view=questions.read_view(found["view"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Some tables of the source inside a snapshot, and what the upstream's are taken for."""

    connection: Connection
    registered: Mapping[TableName, RegisteredTable]
    view: View
    upstream: View

    @classmethod
    def seen(cls, connection: Connection, registered: Iterable[RegisteredTable], known: Known) -> Self:
        """Look at tables; the upstream's are taken for the same where it has not said what they are."""
        wanted = {table.name: table for table in registered}
        read = {name for table in wanted.values() for name in tables_of(table)}
        view = view_of(connection, read, "source")
        return cls(connection=connection, registered=wanted, view=view, upstream=known.over(view))

    def ask(
        self,
        whole: Collection[TableName],
        listed: Collection[TableName],
        again: Mapping[TableName, Collection[int]],
        *,
        size: int,
    ) -> Iterator[Prepared]:
        """Ask about tables as a whole, in about ``size`` bytes, about others row by row, about others by some places only."""
        shapes = {name: self.shape(name) for name in (*whole, *listed, *again)}
        rows = {name: sum(self._side(shapes[name]).counts()) for name in (*whole, *listed) if shapes[name].parts}
        widths = plan({name: rows[name] for name in whole if name in rows}, size)
        for name, found in shapes.items():
            if found.parts is None:
                yield Prepared(name=name, shape=found, asked=None)
                continue
            side = self._side(found)
            what = _whole(side, widths.get(name)) if name in rows else _again(side, again[name])
            yield Prepared(name=name, shape=found, asked=self._asked(found, what), rows=rows.get(name, 0))

    def now(self, name: TableName, places: Collection[int]) -> dict[int, list[Found]]:
        """Give what is at some places of a table now."""
        found: dict[int, list[Found]] = defaultdict(list)
        if places and (seen := self.shape(name)).parts:
            for row in self._side(seen).rows_at(sorted(places)):
                found[row.item[0]].append(row)
        return found

    def uncaptured(self, name: TableName) -> Iterator[tuple[Key, Place]]:
        """Give the rows whose key cannot be said: they were not captured yet."""
        seen = self.shape(name)
        if seen.parts:
            side = replace(self._side(seen), placed=True)
            yield from ((row.key, row.place) for row in side.rows(Cut(bits=0, numbers=(UNKEYED,))))

    def shape(self, name: TableName) -> Shape:
        """Decide what of a table is compared."""
        return shape(self.registered[name], Views(source=self.view, upstream=self.upstream))

    def _side(self, found: Shape) -> DatabaseSide:
        assert found.parts is not None
        return DatabaseSide(connection=self.connection, name="source", said=row_sql(found.parts, self.view))

    def _asked(self, found: Shape, what: What) -> Asked:
        assert found.parts is not None
        subject = Subject(
            registered=self.registered[found.table], source=self.view, names=(*found.columns, *found.loose)
        )
        return Asked(subject=subject, spelled=spelled(found.parts), what=what)


def _whole(side: DatabaseSide, width: int | None) -> What:
    return Listed(items=tuple(side.items())) if width is None else side.sketch(width)


def _again(side: DatabaseSide, places: Collection[int]) -> What:
    return Again(rows=tuple(side.digests_at(sorted(places))))
