"""What Django's models say of the tables behind them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.db.models import UniqueConstraint

from dbsync.model.names import DEFAULT_SCHEMA, TableName


def tables_models() -> Iterator[Any]:
    """Give the models that have a table of their own, those of many-to-many relations too."""
    for model in apps.get_models(include_auto_created=True):
        if not model._meta.proxy and model._meta.managed:
            yield model


def table_of(model: Any) -> TableName:
    """Name a model's table. ``schema"."table`` is how projects write a schema into ``db_table``."""
    parts = model._meta.db_table.strip('"').split('"."')
    return TableName(parts[0], parts[1]) if len(parts) > 1 else TableName(DEFAULT_SCHEMA, parts[0])


def columns_of(model: Any) -> dict[str, Any]:
    """Give the fields of a model's own table by their columns."""
    return {field.column: field for field in model._meta.local_concrete_fields}


def uniques_of(model: Any) -> list[frozenset[str]]:
    """List what identifies rows: unique fields, a primary key that is not generated, constraints over plain columns."""
    meta = model._meta
    columns = {field.name: field.column for field in meta.local_concrete_fields}
    found = [frozenset({f.column}) for f in meta.local_concrete_fields if f.unique and not is_generated(f)]
    groups = [*meta.unique_together, *(c.fields for c in meta.constraints if _is_plain(c))]
    found += [frozenset(columns[name] for name in group) for group in groups if set(group) <= columns.keys()]
    return found


def is_generated(field: Any) -> bool:
    """Say whether a field is an id that the database draws."""
    return field.get_internal_type() in {"AutoField", "BigAutoField", "SmallAutoField"}


def _is_plain(constraint: Any) -> bool:
    return isinstance(constraint, UniqueConstraint) and bool(constraint.fields) and constraint.condition is None
