"""``dbsync erase``: what dbsync itself remembers of a row that is deleted is taken out."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dbsync.cli import complete, output
from dbsync.cli.options import ConfigOption, JsonOption
from dbsync.cli.settings import settings
from dbsync.errors import UsageError
from dbsync.model.names import TableName
from dbsync.service.erase import Erased, Trace
from dbsync.service.erase import erase as take_out
from dbsync.verify.words import counted, shown_key

_KINDS = {
    "case": "quarantine",
    "conflict": "conflicts",
    "difference": "verify by stick",
    "list": "lists",
    "deed": "web log",
}


def erase(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="The row's table.", autocompletion=complete.registered)],
    values: Annotated[
        list[str], typer.Argument(metavar="VALUE...", help="Its natural key, in the order that dbsync tables shows.")
    ],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; else it is only said what would be done.")] = False,
    by: Annotated[
        str | None, typer.Option("--by", metavar="NAME", help="On whose word; else the database role.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Take out of dbsync's own tables what they remember of a row that the application has deleted.

    In the database that [node] names, so it is typed at each tier. Decided cases of the quarantine, conflicts with both
    images, checked boxes, differences of a comparison: of the row, and of rows whose keys and references run through it.
    The key also goes from what is written down of the pages. What waits stays, and so does the change log. The row itself
    is deleted by the application, and its delete travels. Without --yes nothing is changed. Exits 1 when something stays
    that has to be decided first.

    JSON: erased (false: a dry run), living (the row is in its table still), logged (changes in the change log that hold
    the key), gone and stays. Each of those: kind (case, conflict, difference, list, deed), id, table and key (null for
    lists and deeds).
    """
    try:
        name = TableName.parse(table)
    except ValueError as error:
        raise UsageError(f"{table!r} is no table name", hint="dbsync tables --registered") from error
    key = tuple(values)
    done = take_out(settings(config), name, key, by=by, dry_run=not yes)
    if json:
        output.as_json({"erased": yes, "living": done.living, "logged": done.logged, **_json(done)})
    else:
        _show(f"{name} {shown_key(key)}", done, yes=yes)
    if yes and done.stays:
        raise typer.Exit(1)


def _show(row: str, done: Erased, *, yes: bool) -> None:
    verb = "erased" if yes else "would be erased"
    output.line(f"{row}: {counted(len(done.gone), 'thing')} that dbsync remembers {verb}")
    for trace in done.gone:
        output.line(f"  {_said(trace)}")
    if done.living:
        output.line(f"stays  {row} itself, which the application deletes first")
    for trace in done.stays:
        output.line(f"stays  {_said(trace)}   {_first(trace)}")
    if done.logged:
        output.line(
            f"stays  change log: {counted(done.logged, 'change')}; [retention] takes them out some time after the receipt"
        )
    output.talk("out of reach here: sticks and drivers (sealed), other tiers, backups, the program's log")
    if not yes:
        output.talk("nothing was changed: the same with --yes does it")
    elif done.gone:
        output.talk(
            "the disk forgets it with: VACUUM dbsync.quarantine, dbsync.conflict, dbsync.difference, dbsync.list, dbsync.audit"
        )


def _said(trace: Trace) -> str:
    about = f"  {trace.table} {shown_key(tuple(trace.key or ()))}" if trace.table else ""
    return f"{_KINDS[trace.kind]} {trace.id}{about}"


def _first(trace: Trace) -> str:
    if trace.kind == "case":
        return f"it waits: dbsync quarantine show {trace.id} --here"
    return "its upstream has not got it yet: dbsync run --once"


def _json(done: Erased) -> dict[str, Any]:
    return {"gone": [_trace(one) for one in done.gone], "stays": [_trace(one) for one in done.stays]}


def _trace(trace: Trace) -> dict[str, Any]:
    key = None if trace.key is None else list(trace.key)
    return {"kind": trace.kind, "id": trace.id, "table": trace.table and str(trace.table), "key": key}
