"""Audit trails and the tables they mirror: where columns without a constraint point. Pure.

django-simple-history copies a model's columns into a *historical* table, its foreign keys too, but without their
constraints; so does django-pghistory into a table of *events*. Shipped as plain numbers they would name other people's rows
upstream, without an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from dbsync.model.catalog import Catalog, ForeignKey, Table
from dbsync.model.names import TableName

_TRAIL = frozenset({"history_id", "history_date"})
_LINK_TRAIL = frozenset({"m2m_history_id", "history_id"})
_EVENTS = frozenset({"pgh_id", "pgh_label", "pgh_created_at"})
_OWN = re.compile(r"(m2m_)?history(_|\Z)|pgh_")
_PREFIX = re.compile(r"historical_?", re.IGNORECASE)
_SUFFIX = re.compile(r"_(historical|history|audit)\Z|event\Z", re.IGNORECASE)


def is_trail(table: Table) -> bool:
    """Say whether a table is an audit trail of another one, or of a many-to-many relation."""
    names = {column.name for column in table.columns}
    return any(names >= needed for needed in (_TRAIL, _LINK_TRAIL, _EVENTS))


def mirrored(catalog: Catalog, trail: Table) -> Table | None:
    """Find the table that an audit trail mirrors: by its name, else by its columns."""
    for name in (_PREFIX.sub("", trail.name.name, count=1), _SUFFIX.sub("", trail.name.name)):
        found = catalog.table(TableName(trail.name.schema, name))
        if found is not None and found.name != trail.name and _overlap(catalog, trail, found) > 0:
            return found
    return _by_columns(catalog, trail)


def references(catalog: Catalog, trail: Table) -> Mapping[str, TableName]:
    """Say where the columns of an audit trail point, as the mirrored table's constraints have it.

    A constraint that the trail has itself needs no word. Columns whose mirrored foreign key points at anything but a
    primary key are left out: the configuration cannot say it.
    """
    constrained = {column for key in trail.foreign_keys for column in key.columns}
    found: dict[str, TableName] = {}
    for column, target in (*_of_mirrored(catalog, trail), *_of_history(catalog, trail)):
        if column not in constrained and trail.column(column) is not None and not _draws(trail, column):
            found.setdefault(column, target)
    return found


def _of_mirrored(catalog: Catalog, trail: Table) -> Iterator[tuple[str, TableName]]:
    """Follow the mirrored table and, for an inherited one, the tables above it: a trail has the columns of all."""
    original = mirrored(catalog, trail)
    while original is not None:
        for key in original.foreign_keys:
            target = catalog.table(key.target)
            if target is not None and len(key.columns) == 1 and key.target_columns == target.primary_key:
                yield key.columns[0], key.target
        if len(original.primary_key) == 1:
            yield original.primary_key[0], original.name
        original = _parent(catalog, original)


def _of_history(catalog: Catalog, trail: Table) -> Iterator[tuple[str, TableName]]:
    original = mirrored(catalog, trail)
    if original is not None:
        yield "history_relation_id", original.name
        yield "pgh_obj_id", original.name
    users = _users(catalog)
    if users is not None:
        yield "history_user_id", users
    if trail.column("m2m_history_id") is not None:
        owner = _owner(catalog, trail)
        if owner is not None:
            yield "history_id", owner


def _owner(catalog: Catalog, link_trail: Table) -> TableName | None:
    """Find the trail that a many-to-many trail belongs to: the longest name that its own begins with."""
    owners = [
        table.name
        for table in catalog.tables.values()
        if is_trail(table)
        and table.name.schema == link_trail.name.schema
        and link_trail.name.name.startswith(f"{table.name.name}_")
    ]
    return max(owners, key=lambda name: len(name.name), default=None)


def _users(catalog: Catalog) -> TableName | None:
    """Find the user table, also a swapped one: Django's admin log refers to it, and so do other trails."""
    for table in catalog.tables.values():
        for key in table.foreign_keys:
            if (table.name.name == "django_admin_log" and key.columns == ("user_id",)) or (
                key.columns == ("history_user_id",)
            ):
                return key.target
    return next((name for name in catalog.tables if name.name == "auth_user"), None)


def _parent(catalog: Catalog, table: Table) -> Table | None:
    above: ForeignKey | None = next((k for k in table.foreign_keys if k.columns == table.primary_key), None)
    return catalog.table(above.target) if above is not None and above.target != table.name else None


def _draws(table: Table, name: str) -> bool:
    column = table.column(name)
    return column is not None and column.auto


def _by_columns(catalog: Catalog, trail: Table) -> Table | None:
    """Find the one table that shares all of a trail's columns; the most alike, when several do."""
    others = [table for table in catalog.tables.values() if not is_trail(table)]
    rated = [(_overlap(catalog, trail, table), table) for table in others]
    best = max((rate for rate, _ in rated), default=0.0)
    alike = [table for rate, table in rated if rate == best]
    return alike[0] if best == 1.0 and len(alike) == 1 else None


def _overlap(catalog: Catalog, trail: Table, table: Table) -> float:
    """Rate how much of a trail a table and the tables above it explain, and it of them: 1.0 is all of both."""
    wanted = {column.name for column in trail.columns if not _OWN.match(column.name)}
    has: set[str] = set()
    above: Table | None = table
    while above is not None:
        has.update(column.name for column in above.columns)
        above = _parent(catalog, above)
    return len(wanted & has) / len(wanted | has) if wanted else 0.0
