"""Decide what is compared of a table. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dbsync.model.names import TableName
from dbsync.model.registration import GenericReference, KeyColumn, KeyReference, KeyTree, RegisteredTable
from dbsync.verify.rows import Parts, type_reference
from dbsync.verify.views import View, Views

Needs = Sequence[tuple[TableName, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What is compared of a table; ``columns`` name the elements of the contents, on both sides."""

    table: TableName
    columns: tuple[str, ...] = ()
    loose: tuple[str, ...] = ()
    """The references that nothing holds; they come behind the columns."""
    parts: Parts | None = None
    """What each side says its rows by: :func:`~dbsync.verify.rows.row_sql`."""
    estimate: int = 0
    missing_columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str = ""
    """Why it cannot be compared; then there are no parts."""


def shape(registered: RegisteredTable, views: Views) -> Shape:
    """Decide what of a table is compared, from what both sides have.

    A column or reference that one side lacks is named in ``missing_columns``; a key that one side cannot say is the
    table's ``problem``.
    """
    problem = _problem(registered, views.source, "the source") or _problem(registered, views.upstream, "upstream")
    if problem:
        return Shape(table=registered.name, problem=problem)
    parts = _parts(registered, views)
    sides = [view.table(registered.name) for view in (views.source, views.upstream)]
    return Shape(
        table=registered.name,
        columns=parts.names(),
        loose=parts.loose_names(),
        parts=parts,
        estimate=max(table.estimated_rows for table in sides),
        missing_columns=tuple(_left_out(registered, parts)),
        notes=tuple(_notes(registered.name, parts, views)),
    )


def tables_of(registered: RegisteredTable) -> set[TableName]:
    """Name all tables that the comparison of this one reads."""
    trees = [registered.key, *(r.target for r in registered.references)]
    trees.extend(tree for generic in registered.generics for tree in generic.targets.values())
    return {registered.name} | {table for tree in trees for table, _ in _needs(tree)}


def _parts(registered: RegisteredTable, views: Views) -> Parts:
    """Take what both sides have."""

    def both(needs: Needs) -> bool:
        return not (_lacking(needs, views.source) or _lacking(needs, views.upstream))

    references = tuple(r for r in registered.references if both(_reference_needs(registered.name, r)))
    return Parts(
        registered=registered,
        views=views,
        values=tuple(c for c in _values(registered) if both([(registered.name, c)])),
        references=references,
        generics=tuple(
            g for g in registered.generics if type_reference(g, references) and both(_generic_needs(registered.name, g))
        ),
    )


def _values(registered: RegisteredTable) -> list[str]:
    left_out = {*registered.insert_only, *registered.excluded, *(g.id_column for g in registered.generics)}
    return [column for column in registered.values if column not in left_out]


def _left_out(registered: RegisteredTable, parts: Parts) -> Iterator[str]:
    yield from (c for c in _values(registered) if c not in parts.values)
    yield from (", ".join(r.columns) for r in registered.references if r not in parts.references)
    yield from (g.id_column for g in registered.generics if g not in parts.generics)


def _notes(name: TableName, parts: Parts, views: Views) -> Iterator[str]:
    for column in parts.values:
        here, there = views.types(name, column)
        if here != there:
            yield f"{column} is {here} at the source and {there} upstream"


def _problem(registered: RegisteredTable, view: View, side: str) -> str:
    if view.catalog.table(registered.name) is None:
        return f"{side} has no such table"
    lacking = _lacking(_needs(registered.key), view)
    return f"{side} cannot say its key: there is no {', '.join(lacking)}" if lacking else ""


def _lacking(needs: Needs, view: View) -> list[str]:
    """Name the needed columns that a side has not; a whole table where that is missing."""
    lacking = []
    for name, column in needs:
        table = view.catalog.table(name)
        if table is None:
            lacking.append(str(name))
        elif table.column(column) is None:
            lacking.append(f"{name}.{column}")
    return list(dict.fromkeys(lacking))


def _needs(tree: KeyTree) -> list[tuple[TableName, str]]:
    """List the columns that a key runs through."""
    found = [(tree.table, column) for column in tree.row_id]
    for part in tree.parts:
        if isinstance(part, KeyColumn):
            found.append((tree.table, part.column))
        else:
            found.extend(_reference_needs(tree.table, part))
    return found


def _reference_needs(table: TableName, reference: KeyReference) -> list[tuple[TableName, str]]:
    here = [(table, column) for column in reference.columns]
    there = [(reference.target.table, column) for column in reference.target_columns]
    return [*here, *there, *_needs(reference.target)]


def _generic_needs(table: TableName, generic: GenericReference) -> list[tuple[TableName, str]]:
    here = [(table, generic.type_column), (table, generic.id_column)]
    return here + [need for tree in generic.targets.values() for need in _needs(tree)]
