"""``dbsync quarantine``: the changes that could not be applied, and what is to be done with them."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Any

import orjson
import typer

from dbsync.apply.load import Released
from dbsync.cli import complete, output
from dbsync.cli.options import ConfigOption, JsonOption
from dbsync.cli.settings import settings
from dbsync.errors import Interrupted, UsageError
from dbsync.model.policy import Conflict
from dbsync.model.words import ago
from dbsync.service.case import OPS, said, said_busy, said_key, said_released, said_still, said_values
from dbsync.service.quarantine import HERE, Case, Desk, Listing, Values, Wanted, desk
from dbsync.verify.words import counted

SHOWN = 10
"""Changes behind a case that are named."""
HEADINGS = ("ID", "TABLE", "KEY", "OP", "NODE", "BATCH", "AGE", "CONFLICT", "WAITS")

app = typer.Typer(
    help="""Changes that could not be applied upstream: they wait there, with what depends on them, and nothing else waits.

    A change goes in by itself when what it waited for arrives. Until then a person can look at it, try it again, or leave
    it out. The upstream is asked; with --here this node's own database: what other nodes sent into it.""",
    no_args_is_help=True,
    rich_markup_mode=None,
)


class State(StrEnum):
    """Which cases are listed."""

    WAITING = "waiting"
    RELEASED = "released"
    SKIPPED = "skipped"
    ALL = "all"


class Format(StrEnum):
    """How an export is written."""

    JSON = "json"
    CSV = "csv"


HereOption = Annotated[bool, typer.Option("--here", help="In this node's own database instead of the upstream's.")]
NodeOption = Annotated[str | None, typer.Option("--node", metavar="NAME", help="Only what this node sent.")]
TablesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TABLE",
        help="Names or patterns, such as 'clinic_*'; all unless given.",
        autocompletion=complete.registered,
    ),
]
ValuesOption = Annotated[bool, typer.Option("--show-values", help="Show what the rows hold, not only their keys.")]


@app.command("list")
def list_(  # noqa: PLR0913 - each is an option
    tables: TablesArgument = None,
    *,
    node: NodeOption = None,
    conflict: Annotated[Conflict | None, typer.Option("--conflict", help="Only those with this conflict.")] = None,
    state: Annotated[State, typer.Option("--state", help="Decided ones stay as a ledger.")] = State.WAITING,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many; all are counted.")] = 50,
    here: HereOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List the cases, newest last. What waits behind a case is counted with it and shown by: quarantine show ID.

    JSON: total, behind (changes behind cases) and cases. Each of cases: id, state, table, op, key (list of text), node,
    batch, captured_at, quarantined_at, conflict, reason, behind, waits, awaits {table, key, column}, attempts,
    tried_at, decided_at, decided_by, decision.
    """
    wanted = Wanted(
        patterns=tables or (),
        node=node,
        conflict=conflict.value if conflict else None,
        state=None if state is State.ALL else state.value,
        limit=limit,
    )
    with desk(settings(config), here=here) as found:
        listing = found.listing(wanted)
    if json:
        cases = [as_json(case) for case in listing.cases]
        output.as_json({"total": listing.total, "behind": listing.behind, "cases": cases})
    else:
        _show_list(listing, wanted, here=here)


@app.command("show")
def show(
    number: Annotated[
        int, typer.Argument(metavar="ID", help="As quarantine list shows it.", autocompletion=complete.cases)
    ],
    *,
    show_values: ValuesOption = False,
    here: HereOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show a case: what, from where, why, what waits behind it, and what to type next.

    JSON: the case as in quarantine list, waiting (the first of what waits behind it), and with --show-values new and old
    (column: value).
    """
    with desk(settings(config), here=here) as found:
        case = found.case(number)
        waiting = found.behind(case, SHOWN)
        values = found.values([case]).get(number, Values()) if show_values else Values()
    if json:
        held = {"new": dict(values.new), "old": dict(values.old)} if show_values else {}
        output.as_json({**as_json(case), "waiting": [as_json(other) for other in waiting], **held})
        return
    for line in (*said(case, waiting, here=here), *said_values(values)):
        output.line(line)


@app.command("retry")
def retry(
    numbers: Annotated[
        list[int] | None, typer.Argument(metavar="ID...", help="Cases to try again.", autocompletion=complete.cases)
    ] = None,
    *,
    all_: Annotated[bool, typer.Option("--all", help="All that wait.")] = False,
    node: NodeOption = None,
    source_wins: Annotated[
        bool, typer.Option("--source-wins", help="Where upstream's row is another, write what the source has.")
    ] = False,
    here: HereOption = False,
    config: ConfigOption = None,
) -> None:
    """Try cases again, with all that waits behind them. What still cannot be applied stays, with its reason.

    Exits 1 when anything that was tried still waits, 75 when a node's cases could not be tried: a batch of it was being
    applied.
    """
    where = HERE if here else ""
    if bool(numbers) == all_:
        raise UsageError("say which: one or more ids, or --all", hint=f"dbsync quarantine list{where}")
    if numbers and node:
        raise UsageError(
            "--node goes with --all; an id says its node", hint=f"dbsync quarantine retry{where} --all --node NAME"
        )
    with desk(settings(config), here=here) as found:
        before = {number: found.case(number) for number in numbers or ()}
        done = found.retry(numbers or None, node=node, source_wins=source_wins)
        still = [found.case(number) for number in before]
    if not done.busy or done != Released(busy=done.busy):
        output.line(said_released(done))
    for case in still:
        _show_still(case, done)
    if done.busy:
        raise _busy(done, found.where)
    if done.waiting or any(case.state == "waiting" for case in still):
        raise typer.Exit(1)


@app.command("skip")
def skip(
    number: Annotated[int, typer.Argument(metavar="ID", help="The case to leave out.", autocompletion=complete.cases)],
    *,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it stays in the ledger.")],
    by: Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who; else the database role.")] = None,
    here: HereOption = False,
    config: ConfigOption = None,
) -> None:
    """Leave a change out for good. It stays in the ledger with the reason; what waited behind it is tried on its own."""
    if not reason.strip():
        where = HERE if here else ""
        raise UsageError("a reason has to be given", hint=f'dbsync quarantine skip {number}{where} --reason "..."')
    with desk(settings(config), here=here) as found:
        done = found.skip(number, reason.strip(), by=by)
    output.line(f"row {number} is skipped, and stays in the ledger")
    if done != Released(busy=done.busy):
        output.line(said_released(done))
    if done.busy:
        output.line(f"what waited behind it is tried by itself: a batch of {done.busy[0]} is being applied")


@app.command("export")
def export(
    tables: TablesArgument = None,
    *,
    format_: Annotated[Format, typer.Option("--format", help="How it is written.")] = Format.JSON,
    node: NodeOption = None,
    show_values: ValuesOption = False,
    here: HereOption = False,
    config: ConfigOption = None,
) -> None:
    """Write all changes that wait to stdout, for a data manager: cases, and what waits behind them, oldest first.

    JSON: a list of objects as in quarantine list; with --show-values each has new and old (column: value). CSV: the same
    fields as columns; key, awaits, new and old as JSON.
    """
    with desk(settings(config), here=here) as found:
        rows = _exported(found, Wanted(patterns=tables or (), node=node), show_values=show_values)
        if format_ is Format.CSV:
            _write_csv(rows, show_values=show_values)
        else:
            _write_json(rows)


def as_json(case: Case) -> dict[str, Any]:
    """Give a case as the JSON that the commands' help describes."""
    awaits = {
        "table": str(case.awaits_table) if case.awaits_table else None,
        "key": list(case.awaits_key) if case.awaits_key is not None else None,
        "column": case.awaits_column,
    }
    return {
        "id": case.id,
        "state": case.state,
        "table": str(case.table),
        "op": OPS.get(case.op, case.op),
        "key": list(case.key) if case.key is not None else None,
        "node": case.node,
        "batch": case.number,
        "captured_at": case.captured_at,
        "quarantined_at": case.quarantined_at,
        "conflict": case.conflict,
        "reason": case.reason,
        "behind": case.behind,
        "waits": case.waits,
        "awaits": awaits,
        "attempts": case.attempts,
        "tried_at": case.tried_at,
        "decided_at": case.decided_at,
        "decided_by": case.decided_by,
        "decision": case.decision,
    }


def _show_list(listing: Listing, wanted: Wanted, *, here: bool) -> None:
    if not listing.total:
        output.line("nothing is in quarantine" if wanted.is_of_all else "nothing of that kind is in quarantine")
        return
    output.table(HEADINGS, [_cells(case) for case in listing.cases], right=("ID", "BATCH", "AGE", "WAITS"))
    unlisted = listing.total - len(listing.cases)
    if unlisted:
        output.talk(f"... and {counted(unlisted, 'older row')} (--limit)")
    them = "it" if listing.total == 1 else "them"
    behind = f", and {counted(listing.behind, 'change')} behind {them}" if listing.behind else ""
    newest = listing.cases[-1].id
    where = HERE if here else ""
    output.talk(f"{counted(listing.total, 'row')}{behind}: dbsync quarantine show {newest}{where}")


def _cells(case: Case) -> Sequence[str]:
    return (
        str(case.id),
        str(case.table),
        said_key(case.key),
        OPS.get(case.op, case.op),
        case.node,
        f"{case.number}",
        ago(case.age),
        case.conflict,
        f"{case.waits:,}" if case.waits else "-",
    )


def _show_still(case: Case, done: Released) -> None:
    """Say why a case that was tried waits still."""
    if case.state == "waiting" and case.node not in done.busy:
        output.line(said_still(case))


def _busy(done: Released, where: str) -> Interrupted:
    """Say what was not tried; one who types it again finds the batch done."""
    nodes = said_busy(done)
    return Interrupted(
        f"what waits of {nodes} was not tried",
        where=where,
        why=f"a batch of {nodes} is being applied at this moment",
        hint="type the same again in a moment",
    )


def _exported(found: Desk, wanted: Wanted, *, show_values: bool) -> Iterator[dict[str, Any]]:
    if not show_values:
        yield from map(as_json, found.export(wanted))
        return
    for case, values in found.with_values(found.export(wanted)):
        yield {**as_json(case), "new": dict(values.new), "old": dict(values.old)}


def _write_json(rows: Iterator[dict[str, Any]]) -> None:
    """Write a JSON array row by row: there may be very many."""
    lead = "["
    for row in rows:
        sys.stdout.write(f"{lead}\n{output.json_text(row)}")
        lead = ","
    sys.stdout.write("[]\n" if lead == "[" else "\n]\n")


def _write_csv(rows: Iterator[dict[str, Any]], *, show_values: bool) -> None:
    names = [*_FIELDS, *(("new", "old") if show_values else ())]
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(row[name]) for name in names] for row in rows)


_FIELDS = (
    "id", "state", "table", "op", "key", "node", "batch", "captured_at", "quarantined_at", "conflict", "reason", "behind",
    "waits", "awaits", "attempts", "tried_at", "decided_at", "decided_by", "decision",
)  # fmt: skip


def _cell(value: object) -> object:
    return orjson.dumps(value).decode() if isinstance(value, list | dict) else value
