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
from dbsync.config.models import Config
from dbsync.errors import UsageError
from dbsync.keys.register import register
from dbsync.model.catalog import Table
from dbsync.model.findings import Finding, Severity
from dbsync.model.names import TableName
from dbsync.model.registration import Registry
from dbsync.postgres import connect, translated

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
    registry, findings = register(settings, catalog)
    rows = [
        _row(table, settings, registry, findings)
        for name, table in sorted(catalog.tables.items())
        if _is_wanted(name, match or (), exclude or ())
    ]
    rows = [row for row in rows if row["registered"] not in ([False] if registered else [True] if unregistered else [])]
    if json:
        output.as_json(rows)
    else:
        _show(rows)


def _is_wanted(name: TableName, match: Sequence[str], exclude: Sequence[str]) -> bool:
    if match and not any(name.matches(pattern) for pattern in match):
        return False
    return not any(name.matches(pattern) for pattern in exclude)


def _row(table: Table, settings: Config, registry: Registry, findings: Sequence[Finding]) -> dict[str, object]:
    entry, found = settings.table_for(table.name), registry.tables.get(table.name)
    return {
        "table": str(table.name),
        "registered": entry is not None,
        "mode": entry.mode.value if entry is not None else None,
        "key": list(found.key.leaves()) if found is not None else [],
        "rows": table.estimated_rows,
        "problems": [f.what for f in findings if f.where == str(table.name) and f.severity is Severity.ERROR],
    }


def _show(rows: Sequence[dict[str, object]]) -> None:
    output.table(("TABLE", "MODE", "ROWS", "KEY"), [_cells(row) for row in rows], right=("ROWS",))
    count = sum(bool(row["registered"]) for row in rows)
    output.talk(f"{len(rows):,} tables, {count:,} registered, {len(rows) - count:,} not")


def _cells(row: dict[str, object]) -> tuple[str, str, str, str]:
    problems, key = row["problems"], row["key"]
    assert isinstance(problems, list)
    assert isinstance(key, list)
    said = f"! {problems[0]}" if problems else ", ".join(key) or _NOT_REGISTERED
    return str(row["table"]), str(row["mode"] or _NOT_REGISTERED), f"{row['rows']:,}", said
