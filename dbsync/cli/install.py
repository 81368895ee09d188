"""``dbsync install-upstream``, ``install-triggers`` and ``uninstall-triggers``."""

from __future__ import annotations

from typing import Annotated

import typer

from dbsync import schema
from dbsync.cli import output
from dbsync.cli.options import ConfigOption
from dbsync.cli.settings import settings
from dbsync.postgres import connect
from dbsync.service import install as installation

SqlOption = Annotated[bool, typer.Option("--sql", help="Print the SQL instead of running it.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


def install_upstream(*, sql: SqlOption = False, dry_run: DryRunOption = False, config: ConfigOption = None) -> None:
    """Make dbsync's own schema in the upstream database: receipts, and the keys of rows without a natural one.

    The application's tables are not touched. Safe to repeat.
    """
    chosen = settings(config)
    if sql:
        output.line(schema.upgrade_sql())
        return
    if dry_run:
        with connect(chosen.upstream.url, name="upstream") as connection:
            found = schema.version(connection)
        wanted = schema.head()
        output.line(
            "nothing to do" if found == wanted else f"would bring schema dbsync from {found or 'none'} to {wanted}"
        )
        return
    changed = installation.install_upstream(chosen)
    output.line("upstream: schema dbsync is installed" if changed else "upstream: nothing to do")


def install_triggers(*, sql: SqlOption = False, dry_run: DryRunOption = False, config: ConfigOption = None) -> None:
    """Install capture for every table in the configuration, and take it from those that left it.

    Each table is locked for an instant only; one in use is tried again. Safe to repeat: what is right is left alone.
    Rows that were there before are not captured: dbsync backfill does that.
    """
    chosen = settings(config)
    if sql or dry_run:
        for part in installation.source_sql(chosen):
            if sql:
                output.line(part)
            elif part.startswith("\n-- "):
                output.line(f"would install triggers on {part.splitlines()[1][3:]}")
        return
    done = installation.install_source(chosen, lambda table: output.talk(f"  {table}"))
    if not (done.tables or done.removed or done.schema_changed):
        output.line(f"nothing to do: {done.unchanged:,} tables are captured")
        return
    output.line(f"{len(done.tables):,} tables captured now, {done.unchanged:,} were before")
    if done.removed:
        output.line(f"triggers removed from {', '.join(map(str, done.removed))}: not in the configuration any more")
    if done.tables:
        output.talk("next: dbsync backfill   (rows that were there before)   then: dbsync run")


def uninstall_triggers(
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Even while changes wait that the upstream never got.")
    ] = False,
    drop_schema: Annotated[
        bool, typer.Option("--drop-schema", help="Remove the change log and everything else of dbsync as well.")
    ] = False,
    sql: SqlOption = False,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
) -> None:
    """Take capture from all tables. Refuses while changes wait that the upstream has not acknowledged."""
    chosen = settings(config)
    if sql or dry_run:
        for part in installation.uninstall_sql(chosen):
            output.line(part)
        return
    removed = installation.uninstall_source(chosen, force=force, drop_schema=drop_schema)
    output.line(f"triggers removed from {len(removed):,} tables" if removed else "nothing to do: no table is captured")
