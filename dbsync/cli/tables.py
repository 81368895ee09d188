"""``dbsync tables``: what is registered for synchronisation, and what is not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from typing import Annotated

import typer

from dbsync.catalog.inspect import inspect
from dbsync.cli import output
from dbsync.cli.options import ConfigOption, JsonOption
from dbsync.config.discover import discover
from dbsync.config.load import load
from dbsync.errors import UsageError
from dbsync.model.names import TableName
from dbsync.postgres import connect, translated
from dbsync.service.tables import Listed, listed

_NOT_REGISTERED = "-"


def tables(
    *,
    registered: Annotated[bool, typer.Option("--registered", help="Only those in the configuration.")] = False,
    unregistered: Annotated[bool, typer.Option("--unregistered", help="Only those that are not in it.")] = False,
    match: Annotated[
        list[str] | None, typer.Option("--match", metavar="PATTERN", help="Only these, such as 'clinic_*'. Repeatable.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude", metavar="PATTERN", help="Not these. Repeatable.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List tables, registered or not, with their natural keys.

    A key in words follows its references: visit_id.subject_id.subject_identifier. Row counts are PostgreSQL's own
    estimates. Needs the source only.

    JSON: a list, each with table, registered (bool), mode (ship, lookup or null), key (list of strings), rows, and
    problems (list of strings).
    """
    if registered and unregistered:
        raise UsageError("--registered and --unregistered leave nothing over", hint="give one of them, or none")
    settings = load(discover(config, os.environ), os.environ)
    with closing(connect(settings.node.source, name="source")) as connection, translated("source"):
        catalog = inspect(connection)
    rows = [
        table
        for table in listed(settings, catalog)
        if _is_wanted(table.name, match or (), exclude or ())
        and table.registered not in ([False] if registered else [True] if unregistered else [])
    ]
    if json:
        output.as_json([_json(table) for table in rows])
    else:
        _show(rows)


def _is_wanted(name: TableName, match: Sequence[str], exclude: Sequence[str]) -> bool:
    if match and not any(name.matches(pattern) for pattern in match):
        return False
    return not any(name.matches(pattern) for pattern in exclude)


def _json(table: Listed) -> dict[str, object]:
    return {
        "table": str(table.name),
        "registered": table.registered,
        "mode": table.mode.value if table.mode is not None else None,
        "key": list(table.key),
        "rows": table.rows,
        "problems": list(table.problems),
    }


def _show(rows: Sequence[Listed]) -> None:
    output.table(("TABLE", "MODE", "ROWS", "KEY"), [_cells(table) for table in rows], right=("ROWS",))
    count = sum(table.registered for table in rows)
    output.talk(f"{len(rows):,} tables, {count:,} registered, {len(rows) - count:,} not")


def _cells(table: Listed) -> tuple[str, str, str, str]:
    said = f"! {table.problems[0]}" if table.problems else ", ".join(table.key) or _NOT_REGISTERED
    return str(table.name), table.mode.value if table.mode else _NOT_REGISTERED, f"{table.rows:,}", said
