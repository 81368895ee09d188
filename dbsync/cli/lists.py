"""``dbsync lists``: boxes that were checked against the data."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dbsync.cli import complete, output
from dbsync.cli.options import ConfigOption, JsonOption
from dbsync.cli.settings import settings
from dbsync.service.lists import Kept, newest, one

HEADINGS = ("ID", "CHECKED (UTC)", "BY", "AT", "TABLE", "COLUMN", "BOTH", "NOT IN DATA", "NOT IN BOX", "STATE")
_SHORT = 8


def lists(
    which: Annotated[
        str | None,
        typer.Argument(
            metavar="ID", help="Show this one whole; its beginning is enough.", autocompletion=complete.lists
        ),
    ] = None,
    *,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show the boxes of specimens that were checked against the data: this node's own, and at a server those of others.

    Each was signed by the node or relay on which it was checked (dbsync inspect). With an ID it lists the identifiers.

    JSON: lists (with an ID: that one), each with id, by (node or relay), checked_by, table, column, at, both, missing_from_data,
    missing_from_box (identifiers), own, sent_at (null: it waits for its upstream, or came from elsewhere).
    """
    chosen = settings(config)
    found = newest(chosen) if which is None else [one(chosen, which)]
    if json:
        output.as_json({"lists": [_json(kept) for kept in found]})
    elif which is not None:
        _show(found[0])
    elif not found:
        output.line("no box was checked here yet: dbsync inspect")
    else:
        output.table(HEADINGS, [_cells(kept) for kept in found], right=HEADINGS[6:9])


def _cells(kept: Kept) -> tuple[str, ...]:
    found = kept.found
    counts = (len(found.both), len(found.missing_from_data), len(found.missing_from_box))
    return (
        str(found.id)[:_SHORT],
        f"{found.at:%Y-%m-%d %H:%M}",
        found.checked_by,
        found.by,
        found.table,
        found.column,
        *(f"{count:,}" for count in counts),
        _state(kept),
    )


def _state(kept: Kept) -> str:
    if not kept.own:
        return "came here"
    return "waits" if kept.sent_at is None else "sent"


def _show(kept: Kept) -> None:
    found = kept.found
    output.line(
        f"{found.table} by {found.column}, checked by {found.checked_by} at {found.by}, {found.at:%Y-%m-%d %H:%M:%S %Z}"
    )
    groups = {
        "in both": found.both,
        "missing from the data": found.missing_from_data,
        "missing from the box": found.missing_from_box,
    }
    for words, identifiers in groups.items():
        output.line(f"{len(identifiers):,} {words}{':' if identifiers else ''}")
        for identifier in identifiers:
            output.line(f"  {identifier}")


def _json(kept: Kept) -> dict[str, Any]:
    found = kept.found
    return {
        "id": str(found.id),
        "by": found.by,
        "checked_by": found.checked_by,
        "table": found.table,
        "column": found.column,
        "at": found.at,
        "both": list(found.both),
        "missing_from_data": list(found.missing_from_data),
        "missing_from_box": list(found.missing_from_box),
        "own": kept.own,
        "sent_at": kept.sent_at,
    }
