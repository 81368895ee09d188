"""``dbsync compact``: a long backlog reduced to the last state of each row."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from dbsync import schema
from dbsync.changelog.compact import Compacted
from dbsync.changelog.compact import compact as run_compact
from dbsync.changelog.purge import live, size
from dbsync.cli import complete, output
from dbsync.cli.options import ConfigOption, JsonOption
from dbsync.cli.settings import settings
from dbsync.errors import UsageError
from dbsync.model.names import TableName
from dbsync.model.words import size as in_words
from dbsync.postgres import connect, translated
from dbsync.service import node as nodes
from dbsync.service.install import registered

Sizes = tuple[int, int]


def compact(
    tables: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TABLE",
            help="Names or patterns; all captured tables unless given.",
            autocompletion=complete.registered,
        ),
    ] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Reduce what was not sent yet to the last state of each row, in the change log; the upstream ends the same.

    Later updates of a row go into its earlier change. Inserts, deletes, keys, references and unique columns keep their
    steps. Applications go on meanwhile; the service must not ship, and what it sent already is left alone.

    JSON: changes_before, changes_after, transactions_before, transactions_after, gone {table: changes}, bytes_before,
    bytes_after (of the changes that wait), disk_bytes, dry_run.
    """
    chosen = settings(config)
    with connect(chosen.node.source, name="source") as connection:
        schema.require(connection, "source")
        with translated("source"):
            nodes.read(connection)
            wanted = list(tables or [])
            _refuse_unknown(wanted, [table.name for table in registered(chosen, connection).registry.shipped()])
            link = chosen.upstream.label
            before = live(connection, link).waiting_bytes
            done = run_compact(
                connection, link, lambda name: not wanted or any(name.matches(w) for w in wanted), rehearse=dry_run
            )
            after = live(connection, link).waiting_bytes
            disk = size(connection)
    if json:
        sizes = {"bytes_before": before, "bytes_after": after, "disk_bytes": disk, "dry_run": dry_run}
        output.as_json({**asdict(done), **sizes})
    else:
        _show(done, (before, after), dry_run=dry_run)


def _refuse_unknown(wanted: list[str], names: list[TableName]) -> None:
    for pattern in wanted:
        if not any(name.matches(pattern) for name in names):
            raise UsageError(f"no captured table matches {pattern!r}", hint="dbsync tables --registered")


def _show(done: Compacted, sizes: Sizes, *, dry_run: bool) -> None:
    if not done.gone:
        output.line(f"nothing to do: {done.changes_before:,} changes wait, each is needed")
        return
    output.table(["  TABLE", "GONE"], [[f"  {name}", f"{gone:,}"] for name, gone in done.gone.items()], right=["GONE"])
    would = "would be " if dry_run else ""
    output.line(
        f"{done.changes_before:,} changes {would}reduced to {done.changes_after:,}, in {done.transactions_after:,}"
        f" transactions instead of {done.transactions_before:,}"
    )
    if not dry_run:
        output.line(f"what waits takes {in_words(sizes[1])} instead of {in_words(sizes[0])}")
