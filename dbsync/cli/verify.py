"""``dbsync verify``: say whether source and upstream hold the same."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from dbsync.cli import complete, output
from dbsync.cli.compared import by_relay, by_stick, show
from dbsync.cli.options import ConfigOption, JsonOption
from dbsync.config.discover import discover
from dbsync.config.fields import Route
from dbsync.config.load import load
from dbsync.model.names import TableName
from dbsync.service.inquiry import Wish
from dbsync.service.verify import compare
from dbsync.verify.comparison import Options


def verify(  # noqa: PLR0913 - each is an option
    tables: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TABLE",
            help="Names or patterns, such as 'clinic_*'; all tables unless given.",
            autocompletion=complete.registered,
        ),
    ] = None,
    *,
    limit: Annotated[int, typer.Option(min=0, help="List so many rows that differ; all are counted.")] = 20,
    ignore_extra: Annotated[
        bool,
        typer.Option(
            "--ignore-extra",
            help="Rows that only upstream has are no difference: for an upstream that several nodes ship to.",
        ),
    ] = False,
    show_values: Annotated[
        bool, typer.Option("--show-values", help="Show the values that differ, not only the columns' names.")
    ] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Send the source's rows that upstream lacks or has otherwise again, all of them, not only those listed.",
        ),
    ] = False,
    stick: Annotated[
        Path | None,
        typer.Option("--stick", metavar="DIR", help="Compare by stick, in this folder; upstream.url may name one."),
    ] = None,
    relay: Annotated[
        bool,
        typer.Option("--relay", help="Compare by the relays of [[relays]], or by one that comes to the [outbox]."),
    ] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="By stick or relay: begin another comparison, whatever became of the last.")
    ] = False,
    last: Annotated[bool, typer.Option("--last", help="By stick or relay: show the last report once more.")] = False,
    size: Annotated[
        int,
        typer.Option(metavar="KB", min=50, max=16_000, help="By stick or relay: about how large a question may be."),
    ] = 500,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Compare source and upstream by natural key; change nothing.

    References are compared as the keys they stand for, so ids may differ. Rows are missing (only the source has
    them), extra (only upstream has them) or different. Exits 0 when both sides agree, 1 when they differ. Only
    digests travel, and the keys of what differs. Rows on their way appear as differences.

    Over HTTPS the upstream answers about its own rows and names none: extra rows are counted, and --show-values
    needs a direct connection.

    By stick (--stick, or where upstream.url is a folder) it goes on from visit to visit and exits 75 until it is done: it writes
    what is pending and a question onto the stick, the upstream answers when it imports that, and with the answer back dbsync
    verify tells what came out, once. Most often one visit is enough. Rows that changed meanwhile are asked about once more before they
    count as different. Only hashes travel, sealed. A running service does with the stick what is to be done.

    By relay (--relay) it is the same, and the question and its answer go with whoever carries this node's bundles.

    With --repair, rows that are missing or different upstream go into the source's change log once more, as they are
    now, and are shipped like any change. Extra rows are never deleted. It still exits 1: run dbsync run --once, then
    compare again.

    JSON: agree (bool), ignore_extra, pending (changes not shipped yet; null if unknown), repaired (rows in the change
    log once more; null without --repair), tables and differences. Each
    of tables: table, source_rows, upstream_rows, missing, extra, different, not_captured (of the missing),
    other_origin, missing_columns, notes, unnamed (of the extra: those the upstream does not
    name), problem (null when it was compared). Each of differences: table, kind, key (the leaves as text; the primary
    key where captured is false; no extra row with --ignore-extra), captured, columns (column, source, upstream; the
    values null without --show-values). By stick or relay also visit: settled (if not, agree is null and the rest what
    is known so far), asked_at, answered_at, asking (tables in the question that is under way), again (rows that are
    asked about once more).
    """
    settings = load(discover(config, os.environ), os.environ)
    if relay or stick or anew or last or settings.upstream.route is Route.FILE:
        wish = Wish(
            patterns=tuple(tables or ()),
            ignore_extra=ignore_extra,
            repair=repair,
            anew=anew,
            last=last,
            size=size * 1_000,
            limit=limit,
        )
        if relay:
            by_relay(settings, wish, show_values=show_values, json=json)
        else:
            by_stick(settings, stick, wish, show_values=show_values, json=json)
        return
    options = Options(limit=limit, extras=not ignore_extra, show_values=show_values, progress=_progress)
    found = compare(settings, tables or (), options, repair=repair)
    _clear()
    if json:
        report = found.report.as_json(ignore_extra=ignore_extra, pending=found.pending)
        output.as_json({**report, "repaired": found.repaired})
    else:
        show(found, ignore_extra=ignore_extra)
    if not found.report.agrees(ignore_extra=ignore_extra):
        raise typer.Exit(1)


def _progress(table: TableName, position: int, total: int) -> None:
    """Say on a terminal where the comparison is, on one line that the next one overwrites."""
    if sys.stderr.isatty():
        _clear()
        sys.stderr.write(f"comparing {position}/{total}  {table}")
        sys.stderr.flush()


def _clear() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
