"""``dbsync status``: what waits, what went, what needs a person."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from dbsync.cli import output
from dbsync.cli.options import ConfigOption, JsonOption
from dbsync.cli.settings import settings
from dbsync.model.words import ago, size, some
from dbsync.service.status import LinkStatus, Status, TableStatus
from dbsync.service.status import status as gather
from dbsync.verify.words import counted

CLOCK_WORTH_A_WORD = 2.0
"""Seconds; below that a clock is right."""
MANY = 40
"""Tables that a screen may hold; of more, those that nothing is to be said of are only counted."""


def status(
    *,
    config: ConfigOption = None,
    json: JsonOption = False,
    every: Annotated[
        bool, typer.Option("--all", help="Name each of many tables, also those that nothing is to be said of.")
    ] = False,
    nagios: Annotated[
        bool, typer.Option("--nagios", help="One line and perfdata; exit 0 fine, 1 warning, 2 critical, 3 not known.")
    ] = False,
) -> None:
    """Show the node, its link and its tables: from the node's own database, whether or not the service runs.

    JSON: node {name, lineage, incarnation, capture_off_since, paused_since, reloaded}, link {name, state (new, streaming,
    unreachable, halted, paused, stopped; of a stick: waits for the stick, written to the stick, stick full, up to date;
    behind a broker: broker full),
    since, reason, last_batch, last_changes, last_at, clock_off (seconds ahead of the upstream's), above (each tier above the
    upstream: up to which batch it has everything, or null), custody [{relay, batches, changes, since, until}] (what drivers,
    or the broker, have of what has no receipt)}, pending (changes without a receipt), quarantined (changes waiting upstream at the last
    contact), waiting_here (changes of other nodes in this database's own quarantine), lag (seconds, null when nothing is
    pending), tables [{table, pending, oldest, today,
    trigger, quarantined}], exact (false: pending is an estimate, there is too much to count), log {bytes (on disk),
    waiting_bytes (without a receipt), oldest, kept (acknowledged changes still
    there), keep, max_size, compact_over}, events of the last days [{kind, what, hint, link, at}]: restored, copied,
    reloaded, upstream_restored. alerts (where [alerts] names somebody: what stands) [{alert, subject, severity, what, since,
    told_at, trouble (why somebody was not told)}].
    On a server without an upstream: node {name}, link (null), waiting_here, nodes (how many are enrolled), captured (tables
    with triggers, though nothing ships what they write).
    """
    if nagios:
        from dbsync.cli import nagios as plugin  # noqa: PLC0415 - a person who looks does not need it

        plugin.nagios(config)
    chosen = settings(config)
    if chosen.above is None:
        from dbsync.cli import topmost  # noqa: PLC0415 - a node that ships does not need it

        topmost.show(chosen, json=json)
        return
    found = gather(chosen)
    if json:
        output.as_json(_json(found))
    else:
        show(found, every=every)


def show(found: Status, *, every: bool = False) -> None:
    """Print a status as a person reads it; of many tables those that something is to be said of, or ``every`` one."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(_headline(found))
    for line in (*_remarks(found), *_happened(found)):
        console.print(line)
    named = [table for table in found.tables if every or len(found.tables) <= MANY or not _is_quiet(table)]
    if named:
        output.table(
            ["  TABLE", "PENDING", "OLDEST", "TODAY", "QUARANTINED", "TRIGGER"],
            [_row(table, found) for table in named],
            right=["PENDING", "OLDEST", "TODAY", "QUARANTINED"],
        )
    if quiet := len(found.tables) - len(named):
        these = f"and {counted(quiet, 'more table')}" if named else counted(quiet, "table")
        console.print(f"  {these} with nothing pending and no change today, triggers installed: dbsync status --all")
    console.print(_log(found))
    for line in (*_closing(found), *_untold(found)):
        console.print(line)


def _remarks(found: Status) -> Iterator[Text]:
    """Say what is unusual about the link and the node."""
    link, node = found.link, found.node
    if link.reason:
        yield Text(f"  {link.reason}", style="red" if link.state == "halted" else "yellow")
    if link.clock_off is not None and abs(link.clock_off) >= CLOCK_WORTH_A_WORD:
        side = "ahead of" if link.clock_off > 0 else "behind"
        yield Text(f"  this clock is {ago(abs(link.clock_off))} {side} the upstream's", style="yellow")
    if node.capture_off_since:
        since = f"{node.capture_off_since:%Y-%m-%d %H:%M %Z}"
        yield Text(f"  capture is OFF since {since}: changes made now never reach the upstream", style="bold red")
    if node.paused_since:
        yield Text(f"  shipping is paused since {node.paused_since:%Y-%m-%d %H:%M %Z}: dbsync resume", style="yellow")


def _happened(found: Status) -> Iterator[Text]:
    """Tell what happened to this database or its upstream in the last days."""
    for event in found.events:
        at = f"{event.at:%Y-%m-%d %H:%M %Z}  " if event.at else ""
        yield Text(f"  {at}{event.kind.value}: {event.what}", style="yellow")
        yield Text(f"    {event.hint}")
    if found.node.reloaded:
        yield Text("  reloaded in another PostgreSQL cluster: dbsync run takes its changes over", style="yellow")


def _closing(found: Status) -> Iterator[Text]:
    """Say where the changes are that have no receipt, and what needs somebody."""
    for tier, number in found.link.above.items():
        if number is not None and found.link.last_batch:
            reached = "everything" if number >= found.link.last_batch else f"everything up to batch {number}"
            yield Text(f"{tier}, above {found.link.name}, has {reached}")
    for custody in found.link.custody:
        since = ago((found.now - custody.since).total_seconds())
        are = f"{counted(custody.changes, 'change')} {'is' if custody.changes == 1 else 'are'}"
        yield Text(f"{are} with {custody.relay}, since {since} ago; no receipt is back yet")
    if found.pending and found.link.state != "streaming":
        wait = f"{counted(found.pending, 'change')} {'waits' if found.pending == 1 else 'wait'}"
        yield Text(f"{_about(found)}{wait} safely in the source")
    yield from _needs_somebody(found)


def _needs_somebody(found: Status) -> Iterator[Text]:
    """Say what goes on by nobody but a person."""
    if found.quarantined:
        need = f"{counted(found.quarantined, 'row')} {'needs' if found.quarantined == 1 else 'need'}"
        yield Text(f"{need} you: dbsync quarantine list", style="bold yellow")
    if found.waiting_here:
        yield Text(
            f"{found.waiting_here:,} changes of other nodes wait here: dbsync quarantine list --here",
            style="bold yellow",
        )
    wrong = [str(table.table) for table in found.tables if table.trigger not in {"installed", "removed"}]
    if wrong:
        yield Text(f"triggers need care on {some(wrong)}: dbsync install-triggers", style="bold red")
    if found.backfills:
        yield Text(f"the backfill of {some(found.backfills)} is not through: dbsync backfill", style="yellow")


def _untold(found: Status) -> Iterator[Text]:
    """Say of what somebody should have heard, and did not."""
    for alert in found.alerts:
        if alert.trouble:
            yield Text(f"not everybody heard: {alert.what} ({alert.trouble}): dbsync alerts test", style="bold red")


def _headline(found: Status) -> Text:
    link = found.link
    line = Text(f"{found.node.name} -> {link.name}   ")
    line.append(link.state, style={"streaming": "green", "halted": "bold red"}.get(link.state, "yellow"))
    lag = found.lag
    line.append(f"   lag {ago(lag)}" if lag is not None else "   nothing pending")
    line.append(_last(link, found.now))
    return line


def _last(link: LinkStatus, now: datetime) -> str:
    if not link.last_batch or link.last_at is None:
        return "   nothing shipped yet"
    rows = f" ({counted(link.last_changes, 'row')})" if link.last_changes is not None else ""
    return f"   last batch {link.last_batch}{rows} {ago((now - link.last_at).total_seconds())} ago"


def _log(found: Status) -> str:
    """Say what the change log takes on disk, and what becomes of it."""
    log = found.log
    parts = [f"change log {size(log.bytes)} on disk"]
    if log.waiting_bytes:
        parts.append(f"{size(log.waiting_bytes)} of it wait")
    if log.oldest:
        parts.append(f"oldest change {ago((found.now - log.oldest).total_seconds())}")
    parts.append(f"{log.kept:,} acknowledged, kept for {log.keep}" + (f" up to {log.max_size}" if log.max_size else ""))
    if log.compact_over:
        parts.append(f"compacted over {log.compact_over}")
    return "   ".join(parts)


def _about(found: Status) -> str:
    return "" if found.exact else "about "


def _is_quiet(table: TableStatus) -> bool:
    """Say that nothing waits, went or is wrong."""
    return not (table.pending or table.today or table.quarantined) and table.trigger == "installed"


def _row(table: TableStatus, found: Status) -> list[str]:
    oldest = ago((found.now - table.oldest).total_seconds()) if table.oldest else "-"
    about = "~" if not found.exact and table.pending else ""
    return [
        f"  {table.table}",
        f"{about}{table.pending:,}",
        oldest,
        f"{table.today:,}",
        f"{table.quarantined:,}",
        table.trigger,
    ]


def _json(found: Status) -> dict[str, object]:
    return {
        "node": asdict(found.node),
        "link": asdict(found.link),
        "pending": found.pending,
        "quarantined": found.quarantined,
        "waiting_here": found.waiting_here,
        "lag": found.lag,
        "exact": found.exact,
        "log": asdict(found.log),
        "tables": [{**asdict(table), "table": str(table.table)} for table in found.tables],
        "events": [asdict(event) for event in found.events],
        "backfills": found.backfills,
        "alerts": [asdict(alert) for alert in found.alerts],
    }
