"""The natural keys that a project's models already know: ``python -m dbsync.contrib.django.naturals SETTINGS`` prints them as JSON.

A process of its own, asked by ``dbsync init --django``: a project's settings may do anything, and are read once.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from dbsync.contrib.django.tables import columns_of, table_of, tables_models

METHOD = "natural_key()"
ATTRIBUTE = "natural_key_fields"


class Unclear(Exception):
    """A natural key that cannot be told from the names it has."""


def naturals() -> Iterator[dict[str, Any]]:
    """Give what each model says: its table, the columns of its natural key and where they stand, or why that is not clear."""
    for model in tables_models():
        names = _names(model)
        if names is None:
            continue
        told = {"table": [table_of(model).schema, table_of(model).name], "model": model._meta.label}
        source = ATTRIBUTE if hasattr(model, ATTRIBUTE) else METHOD
        try:
            yield {**told, "source": source, "columns": _columns(model, names), "problem": ""}
        except Unclear as unclear:
            yield {**told, "source": source, "columns": [], "problem": str(unclear)}


def _names(model: Any) -> list[str] | None:
    """Name what a model's rows are known by: its attribute's fields, else the parameters of its manager; None where it says nothing."""
    stated = getattr(model, ATTRIBUTE, None)
    if stated is not None and not callable(stated):
        return [stated] if isinstance(stated, str) else [str(name) for name in stated]
    if not hasattr(model, "natural_key"):
        return None
    getter = getattr(model._default_manager, "get_by_natural_key", None)
    if getter is None:
        return None
    if _is_of_users(getter):
        return [model.USERNAME_FIELD]  # whatever Django calls the parameter
    parameters = inspect.signature(getter).parameters.values()
    plain = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    return [one.name if one.kind in plain else f"*{one.name}" for one in parameters]


def _is_of_users(getter: Any) -> bool:
    from django.contrib.auth.base_user import BaseUserManager  # noqa: PLC0415 - Django must be set up

    return getattr(getter, "__func__", None) is BaseUserManager.get_by_natural_key


def _columns(model: Any, names: Sequence[str]) -> list[str]:
    """Turn names into columns. What is no field of the model belongs to the natural key of a row that it refers to."""
    fields = {field.name: field for field in columns_of(model).values()}
    fields |= {field.attname: field for field in columns_of(model).values()}
    found: list[str] = []
    waiting = list(names)
    while waiting:
        name = waiting[0]
        head = name.split("__")[0]
        if head in fields:
            found.append(fields[head].column)
            waiting = [other for other in waiting[1:] if not (other.startswith(f"{head}__"))]
            continue
        field, used = _through(model, waiting, found)
        if field is None:
            raise Unclear(f"nothing of {model._meta.label} is called {name}")
        found.append(field.column)
        waiting = waiting[used:]
    return list(dict.fromkeys(found))


def _through(model: Any, names: Sequence[str], taken: Sequence[str]) -> tuple[Any, int]:
    """Find the one reference whose target is known by the next names; None where none is, or several are."""
    fitting = [
        (field, len(parts))
        for field in columns_of(model).values()
        if field.is_relation
        and field.column not in taken
        and (parts := _of_target(field))
        and _fits(field, parts, names)
    ]
    return fitting[0] if len(fitting) == 1 else (None, 0)


def _of_target(field: Any) -> list[str]:
    return _names(field.related_model) or []


def _fits(field: Any, parts: Sequence[str], names: Sequence[str]) -> bool:
    """Say whether names are a target's, as they are or behind the reference's own: ``code``, or ``subject_code``."""
    given = list(names[: len(parts)])
    return given in ([*parts], [f"{field.name}_{part}" for part in parts])


def main(settings: str) -> None:
    """Set Django up and print; what the project itself prints meanwhile goes to stderr."""
    answer, sys.stdout = sys.stdout, sys.stderr
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - where manage.py is
    os.environ["DJANGO_SETTINGS_MODULE"] = settings
    import django  # noqa: PLC0415 - after its settings are named

    django.setup()
    json.dump(list(naturals()), answer)


if __name__ == "__main__":
    main(sys.argv[1])
