"""A pending change as a person reads it: references as the natural keys they stand for. Pure.

It is the one place in which a row's values are read by this program and not by PostgreSQL: to be shown, and for nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from dbsync.identity.lists import CheckedList
from dbsync.inspector.reconcile import Reconciled
from dbsync.model.layout import Layout

PAGE = 50
"""Changes on a page."""
Values = Sequence[str | None]
Identifier = str

KINDS = {"I": "insert", "U": "update", "D": "delete", "T": "truncate", "B": "backfill"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A value, or one leaf of a reference, and what it was before where an update changed it."""

    name: str
    value: str | None
    before: str | None = None
    changed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of one row."""

    node: str
    table: str
    kind: str
    at: datetime
    key: tuple[Field, ...]
    """The leaves of the natural key; none where the row cannot be keyed."""
    key_before: tuple[Field, ...]
    """The same before an update."""
    fields: tuple[Field, ...]

    @property
    def shown(self) -> tuple[Field, ...]:
        """Give what is worth a look: what an update changed, else what is not null."""
        if self.kind == "update":
            return tuple(one for one in self.fields if one.changed)
        return tuple(one for one in self.fields if one.value is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pile:
    """What is pending of one node's table."""

    node: str
    table: str
    changes: int
    oldest: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """Bundles that may be carried here and not looked into."""

    node: str
    bundles: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heap:
    """All that is pending here."""

    piles: tuple[Pile, ...]
    sealed: tuple[Sealed, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which changes somebody wants to see; what is empty selects nothing out."""

    node: str = ""
    table: str = ""
    since: datetime | None = None
    text: str = ""
    page: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A box that somebody checked."""

    checked_by: str
    table: str
    column: str
    result: Reconciled

    def by(self, name: str, *, identity: UUID, at: datetime) -> CheckedList:
        """Make the list of it that a node or relay signs."""
        return CheckedList(
            id=identity,
            by=name,
            checked_by=self.checked_by,
            table=self.table,
            column=self.column,
            at=at,
            both=self.result.both,
            missing_from_data=self.result.missing_from_data,
            missing_from_box=self.result.missing_from_box,
        )


class Pending(Protocol):
    """Where pending changes are."""

    @property
    def place(self) -> str:
        """Name it, for the page's title."""

    def heap(self) -> Heap:
        """Count what is there."""

    def changes(self, wanted: Wanted) -> Iterator[Change]:
        """Give the changes that are wanted, oldest first, from the page's first on: one more than a page, if there are."""

    def all_of(self, table: str, node: str) -> Iterator[Change]:
        """Give all changes of a table, in their order."""

    def keep(self, checked: Checked, *, identity: UUID, at: datetime) -> CheckedList:
        """Sign what was found in a box, and keep it for the upstream. Raises Refusal where there is none yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """A change as it stands in the change log and in a batch."""

    layout: Layout
    op: str
    at: datetime
    image: Values | None
    old_image: Values | None
    refs: Values | None
    old_refs: Values | None


def read(node: str, raw: Raw) -> Change:
    """Say a change by its layout."""
    now = _named(raw.layout, raw.image, raw.refs)
    before = now if raw.old_image is None else _named(raw.layout, raw.old_image, raw.old_refs or raw.refs)
    leaves = raw.layout.key.leaves() if raw.layout.key else ()
    return Change(
        node=node,
        table=str(raw.layout.table),
        kind=KINDS.get(raw.op, raw.op),
        at=raw.at,
        key=tuple(Field(name=leaf, value=now.get(leaf)) for leaf in leaves),
        key_before=tuple(Field(name=leaf, value=before.get(leaf)) for leaf in leaves),
        fields=tuple(
            Field(name=name, value=value, before=before.get(name), changed=before.get(name) != value)
            for name, value in now.items()
        ),
    )


@dataclass(slots=True, kw_only=True)
class Column:
    """One column of a table's pending changes, as its rows end."""

    name: str
    """The first leaf of the natural key, unless another one was asked for and is there."""
    names: list[str]
    """What there is to choose from."""
    identifiers: dict[Identifier, list[str]]
    """Its values, each with the nodes that bring it; deleted rows are none."""


def column(changes: Iterable[Change], wanted: str) -> Column:
    """Read a column, in one pass, holding no more than its values and the rows' keys."""
    names: dict[str, None] = {}
    name = ""
    rows: dict[tuple[str, tuple[str | None, ...]], str] = {}
    for change in changes:
        names |= dict.fromkeys(one.name for one in (*change.key, *change.fields))
        name = name or (wanted if wanted in names else next(iter(names), ""))
        rows.pop((change.node, tuple(leaf.value for leaf in change.key_before)), None)
        value = next((one.value for one in change.fields if one.name == name), None)
        if change.kind != "delete" and value is not None:
            rows[change.node, tuple(leaf.value for leaf in change.key)] = value
    found: dict[Identifier, list[str]] = {}
    for (node, _), value in rows.items():
        found.setdefault(value, []).append(node)
    return Column(name=name, names=list(names), identifiers=found)


def page(changes: Iterator[Change]) -> Page:
    """Cut a page, and say whether there is another."""
    shown = [change for change, _ in zip(changes, range(PAGE + 1), strict=False)]
    return Page(changes=shown[:PAGE], more=len(shown) > PAGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some changes, and whether there are more behind them."""

    changes: Sequence[Change] = field(default_factory=list)
    more: bool = False


def fits(change: Change, wanted: Wanted) -> bool:
    """Say whether a change is one that is wanted."""
    text = wanted.text.lower()
    return (
        wanted.node in ("", change.node)
        and wanted.table in ("", change.table)
        and (wanted.since is None or change.at >= wanted.since)
        and (not text or any(text in (one.value or "").lower() for one in change.fields))
    )


def _named(layout: Layout, image: Values | None, refs: Values | None) -> Mapping[str, str | None]:
    """Give each value by its column, and each leaf of a reference by the way to it."""
    image, refs = image or (), refs or ()
    found: dict[str, str | None] = {}
    if layout.keyed_by_row_id:
        found["row_id"] = _at(refs, 1)
    for place, (name, _) in enumerate(layout.columns, start=1):
        found[name] = _at(image, place)
    for reference, first in layout.reference_positions():
        way = ",".join(reference.columns)
        for place, leaf in enumerate(reference.target.leaves(), start=first):
            found[f"{way}.{leaf}"] = _at(refs, place)
    for generic, first in layout.generic_positions():
        table, key = _at(refs, first), _at(refs, first + 1)
        found[generic.id_column] = None if table is None else f"{table} {key}"
    return found


def _at(values: Values, place: int) -> str | None:
    """Give a value by its place, counted from 1."""
    return values[place - 1] if place <= len(values) else None
