"""``dbsync conflicts``: rows that two sides had changed, what was decided, and how to take it back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from dbsync.cli import complete, output
from dbsync.cli.options import ConfigOption, JsonOption
from dbsync.cli.quarantine import HereOption, NodeOption, TablesArgument, ValuesOption
from dbsync.cli.settings import settings
from dbsync.errors import UsageError
from dbsync.model.policy import Conflict
from dbsync.model.words import ago
from dbsync.service.case import said_key
from dbsync.service.conflicts import Entry, Images, Wanted, ledger
from dbsync.service.ledger import said, said_undone
from dbsync.service.quarantine import HERE
from dbsync.verify.words import counted

HEADINGS = ("ID", "TABLE", "KEY", "CONFLICT", "NODE", "BATCH", "AGE", "RULE", "DECISION", "COLUMNS")
_AGE = re.compile(r"(\d{1,6})\s*(min|h|d)")
_UNITS = {"min": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}

app = typer.Typer(
    help="""Rows that two sides had changed: the ledger of what each wanted, by which rule it was decided, and how.

    The upstream is asked; with --here this node's own database.""",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_(  # noqa: PLR0913 - each is an option
    tables: TablesArgument = None,
    *,
    node: NodeOption = None,
    conflict: Annotated[Conflict | None, typer.Option("--conflict", help="Only of this kind.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="WHEN", help="Only later ones: 2026-11-22, or 30min, 12h, 7d ago.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many; all are counted.")] = 50,
    here: HereOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List conflicts, newest last.

    JSON: total and conflicts. Each of conflicts: id, table, key (list of text), conflict, node, batch, origin,
    captured_at, found_at, rule, decision (source, upstream, none or quarantine), columns (those in which both differed),
    undone_at, undone_by.
    """
    wanted = Wanted(
        patterns=tables or (),
        node=node,
        conflict=conflict.value if conflict else None,
        since=moment(since, datetime.now(UTC)) if since else None,
        limit=limit,
    )
    with ledger(settings(config), here=here) as found:
        entries, total = found.entries(wanted)
    if json:
        output.as_json({"total": total, "conflicts": [_json(entry) for entry in entries]})
    else:
        _show_list(entries, wanted, total, here=here)


@app.command("show")
def show(
    number: Annotated[
        int, typer.Argument(metavar="ID", help="As conflicts list shows it.", autocompletion=complete.conflicts)
    ],
    *,
    show_values: ValuesOption = False,
    here: HereOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show a conflict: the row, the columns in which both sides differed, the rule and the decision.

    JSON: as in conflicts list; with --show-values also source and upstream (column: value; null for no row).
    """
    with ledger(settings(config), here=here) as found:
        entry = found.entry(number)
        images = found.images(entry) if show_values else None
    if json:
        sides = {"source": images.source, "upstream": images.upstream} if images else {}
        output.as_json({**_json(entry), **sides})
        return
    for line in said(entry, here=here):
        output.line(line)
    if images:
        output.table(("", "COLUMN", "SOURCE", "UPSTREAM"), list(_side_by_side(entry, images)))


@app.command("undo")
def undo(
    number: Annotated[
        int, typer.Argument(metavar="ID", help="As conflicts list shows it.", autocompletion=complete.conflicts)
    ],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also when the row has changed since; that change is overwritten.")
    ] = False,
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who; else the database role.")] = None,
    here: HereOption = False,
    config: ConfigOption = None,
) -> None:
    """Give the row back what the loser wanted, as an ordinary change of the upstream; the ledger keeps who did it.

    A row that the winner deleted is inserted again, one that it made is deleted unless others refer to it. It can be
    done once: what the winner wanted stands in the ledger.
    """
    with ledger(settings(config), here=here) as found:
        done = found.undo(number, by=by, force=force, dry_run=dry_run)
    output.line(said_undone(done, dry_run=dry_run))


def moment(text: str, now: datetime) -> datetime:
    """Read a time, or how long ago it was.

    >>> moment("12h", datetime(2026, 11, 22, 18, tzinfo=UTC)).isoformat()
    '2026-11-22T06:00:00+00:00'
    >>> moment("2026-11-22", datetime(2026, 11, 22, 18, tzinfo=UTC)).isoformat()
    '2026-11-22T00:00:00+00:00'
    """
    found = _AGE.fullmatch(text.strip())
    if found:
        return now - int(found[1]) * _UNITS[found[2]]
    try:
        read = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise UsageError(
            f"{text!r} is no time", hint="--since 2026-11-22, --since 2026-11-22T18:00 (UTC), --since 12h"
        ) from error
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _json(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "table": str(entry.table),
        "key": list(entry.key) if entry.key is not None else None,
        "conflict": entry.conflict,
        "node": entry.node,
        "batch": entry.number,
        "origin": entry.origin,
        "captured_at": entry.captured_at,
        "found_at": entry.found_at,
        "rule": entry.rule,
        "decision": entry.decision,
        "columns": list(entry.columns) if entry.columns is not None else None,
        "undone_at": entry.undone_at,
        "undone_by": entry.undone_by,
    }


def _show_list(entries: Sequence[Entry], wanted: Wanted, total: int, *, here: bool) -> None:
    if not total:
        narrowed = wanted.patterns or wanted.node or wanted.conflict or wanted.since
        output.line("no conflicts of that kind" if narrowed else "no conflicts")
        return
    output.table(HEADINGS, [_cells(entry) for entry in entries], right=("ID", "BATCH", "AGE"))
    if total > len(entries):
        output.talk(f"... and {counted(total - len(entries), 'older conflict')} (--limit)")
    if entries:
        where = HERE if here else ""
        output.talk(f"{counted(total, 'conflict')}: dbsync conflicts show {entries[-1].id}{where}")


def _cells(entry: Entry) -> Sequence[str]:
    decision = f"{entry.decision}, undone" if entry.undone_at else entry.decision
    columns = ", ".join(entry.columns or ()) or "-"
    return (
        str(entry.id),
        str(entry.table),
        said_key(entry.key),
        entry.conflict,
        entry.node,
        str(entry.number),
        ago(entry.age),
        entry.rule,
        decision,
        columns,
    )


def _side_by_side(entry: Entry, images: Images) -> Iterator[tuple[str, str, str, str]]:
    source, upstream = images.source or {}, images.upstream or {}
    differing = set(entry.columns or ())
    for name in dict.fromkeys((*sorted(differing), *source, *upstream)):
        yield "*" if name in differing else "", name, _value(source, name), _value(upstream, name)


def _value(image: dict[str, str | None], name: str) -> str:
    if name not in image:
        return "-"
    value = image[name]
    return "null" if value is None else repr(value)
