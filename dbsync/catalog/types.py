"""How a type's values become text and values again, and what compares them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

FUNCTION, BYTES = "f", "b"


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeRow:
    """One type as ``sql/catalog.sql`` reads it."""

    oid: int
    cast_name: str
    name: str
    builtin: bool
    kind: str
    base: int | None
    element: int | None
    fields: Sequence[int]
    output: str
    input: str
    input_arguments: int
    to_text: str
    from_text: str
    detour: str
    equals: str
    schemas: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeFacts:
    """What a column takes over from its type, see :class:`dbsync.model.catalog.Column`."""

    cast: str
    out: str
    into: str
    equals: str
    schemas: tuple[str, ...]


def facts_of(rows: Iterable[TypeRow]) -> Mapping[int, TypeFacts]:
    """Derive the facts of each type; a domain has those of the type below it.

    Casting to the type below a domain leaves length and CHECK to the assignment into the column, which refuses what
    does not fit where an explicit cast to the domain would cut it off in silence.
    """
    types = {row.oid: row for row in rows}
    return {oid: _facts(_below(row, types), types) for oid, row in types.items()}


def _below(row: TypeRow, types: Mapping[int, TypeRow]) -> TypeRow:
    return row if row.base is None else _below(types[row.base], types)


def _facts(row: TypeRow, types: Mapping[int, TypeRow]) -> TypeFacts:
    return TypeFacts(
        cast=row.cast_name,
        out=row.output if _cast_differs_from_output(row) else "",
        into=_into(row) if _cast_differs_from_input(row) else "",
        equals=row.equals if _is_comparable(row, types) else "",
        schemas=tuple(row.schemas),
    )


def _cast_differs_from_output(row: TypeRow) -> bool:
    """Say whether ``x::text`` is not what the output function writes.

    xml is left to its binary cast: its output function drops the encoding from the declaration, and its input function
    takes the stored text as it is.
    """
    if row.builtin and row.name == "xml":
        return False
    return row.to_text == FUNCTION or (row.to_text == BYTES and row.from_text != BYTES)


def _cast_differs_from_input(row: TypeRow) -> bool:
    """Say whether ``text::x`` is not what the input function reads; for bpchar the plain cast keeps the padding."""
    if row.builtin and row.name == "bpchar":
        return False
    return row.from_text == FUNCTION or (row.from_text == BYTES and row.to_text != BYTES)


def _into(row: TypeRow) -> str:
    """Name the way to the input function: itself, or a string type to cast from when it takes more than a cstring."""
    if row.input_arguments == 1:
        return row.input
    return f"::{row.detour}" if row.detour else ""


def _is_comparable(row: TypeRow, types: Mapping[int, TypeRow]) -> bool:
    """Say whether equality works to the bottom: ``json[] = json[]`` exists and fails when it runs."""
    if not row.equals:
        return False
    inner = [row.element] if row.element is not None else list(row.fields)
    return all(_is_comparable(_below(types[oid], types), types) for oid in inner)
