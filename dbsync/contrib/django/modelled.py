"""The system check: models that dbsync.toml has forgotten, and models that lost the key it knows them by.

It asks Django only, and no database: a unique index that a migration made by SQL is not seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.core.checks import CheckMessage, Warning

from dbsync.config.models import Config, TableConfig
from dbsync.contrib.django import configured
from dbsync.contrib.django.tables import columns_of, is_generated, table_of, tables_models, uniques_of
from dbsync.errors import DbsyncError

FORGOTTEN, UNKEYED, UNREADABLE = "dbsync.W001", "dbsync.W002", "dbsync.W003"


def check_models(app_configs: Iterable[Any] | None = None) -> list[CheckMessage]:
    """Compare the models of the apps that dbsync ships with dbsync.toml; without one there is nothing to say."""
    try:
        config = configured.config()
    except DbsyncError as error:
        return [Warning(f"dbsync.toml cannot be used: {error}", hint=error.hint or "dbsync check", id=UNREADABLE)]
    if config is None:
        return []
    models = list(tables_models())
    shipped = {model._meta.app_label for model in models if _is_shipped(model, config)}
    asked = None if app_configs is None else {app.label for app in app_configs}
    return [
        message
        for model in models
        if model._meta.app_label in shipped and (asked is None or model._meta.app_label in asked)
        for message in _of_model(model, config)
    ]


def _is_shipped(model: Any, config: Config) -> bool:
    """Say whether a table travels; an app of which only lookups are needed keeps the rest to itself."""
    entry = config.table_for(table_of(model))
    return entry is not None and entry.mode == "ship"


def _of_model(model: Any, config: Config) -> Iterator[CheckMessage]:
    name = table_of(model)
    entry = config.entry_for(name)
    if entry is None:
        yield Warning(
            f"the app {model._meta.app_label} is shipped by dbsync, and no entry of dbsync.toml is about {name}",
            hint=f'[[tables]] name = "{name}"   (or with skip = true, to leave it here)',
            obj=model,
            id=FORGOTTEN,
        )
    elif not entry.skip:
        yield from _of_key(model, entry)


def _of_key(model: Any, entry: TableConfig) -> Iterator[CheckMessage]:
    known, uniques = columns_of(model), uniques_of(model)
    if entry.key is None:
        if not uniques and is_generated(model._meta.pk):
            yield _unkeyed(model, "nothing but a generated id identifies its rows")
    elif isinstance(entry.key, tuple):
        lost = [column for column in entry.key if column not in known]
        if lost:
            yield _unkeyed(
                model, f"its key in dbsync.toml names {', '.join(lost)}, and it has no such column (any more)"
            )
        elif not any(unique <= set(entry.key) for unique in uniques):
            yield _unkeyed(model, f"its key in dbsync.toml, ({', '.join(entry.key)}), is not unique (any more)")


def _unkeyed(model: Any, why: str) -> CheckMessage:
    name = table_of(model)
    return Warning(
        f"dbsync ships {name}, and {why}",
        hint='give it a UniqueConstraint, or another key in dbsync.toml (key = "row_id" where nothing identifies a row)',
        obj=model,
        id=UNKEYED,
    )
