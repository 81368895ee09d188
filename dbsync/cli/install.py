"""``dbsync install-upstream``, ``install-triggers`` and ``uninstall-triggers``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from dbsync import schema
from dbsync.cli import output
from dbsync.cli.options import ConfigOption
from dbsync.cli.settings import settings
from dbsync.service import install as installation
from dbsync.service import upstream

SqlOption = Annotated[bool, typer.Option("--sql", help="Print the SQL instead of running it.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]


def install_upstream(
    *,
    here: Annotated[
        bool, typer.Option("--here", help="In this node's own database, where others bring their changes.")
    ] = False,
    sql: SqlOption = False,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
) -> None:
    """Make dbsync's own schema in the upstream database, and let the service write the registered tables.

    The role dbsync_replicator, made for logins of the service, gets SELECT, INSERT, UPDATE and DELETE on the tables that
    are shipped, SELECT on the lookups, USAGE on their sequences, and nothing else. The tables themselves are not touched.
    Safe to repeat; a table that was added to the configuration needs it again.
    """
    chosen = settings(config)
    here = here or chosen.above is None
    if sql or dry_run:
        planned = list(upstream.plan(chosen, here=here))
        for part in planned if sql else _in_words(planned):
            output.line(part)
        return
    done = upstream.install(chosen, here=here)
    if done.schema_changed:
        output.line("upstream: schema dbsync is installed")
    if done.granted:
        output.line(f"upstream: {done.granted:,} rights granted to {upstream.REPLICATOR}")
    if not (done.schema_changed or done.granted):
        output.line("upstream: nothing to do")
    if done.left:
        output.talk(f"for other logins of the service, as the tables' owner: {' '.join(done.left)}")


def _in_words(planned: Sequence[str]) -> Iterator[str]:
    grants = [part for part in planned if part.startswith("GRANT ")]
    if len(grants) < len(planned):
        yield f"would bring schema dbsync to {schema.head()}"
    if grants:
        yield f"would grant {len(grants):,} rights to {upstream.REPLICATOR}"
    if not planned:
        yield "nothing to do"


def install_triggers(
    *,
    remove: Annotated[
        bool,
        typer.Option("--remove", help="Take triggers away also while a pattern of the configuration selects no table."),
    ] = False,
    sql: SqlOption = False,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
) -> None:
    """Install capture for every table in the configuration, and take it from those that left it.

    Each table is locked for an instant only; one in use is tried again. Safe to repeat: what is right is left alone.
    Rows that were there before are not captured: dbsync backfill does that.
    Where a pattern selects no table, which may be a slip, no triggers are taken away without --remove.
    """
    chosen = settings(config)
    if sql or dry_run:
        for part in installation.source_sql(chosen, remove=remove):
            if sql:
                output.line(part)
            elif part.startswith("\n-- "):
                output.line(_would(part.splitlines()[1][3:]))
        return
    done = installation.install_source(chosen, lambda table: output.talk(f"  {table}"), remove=remove)
    if not (done.tables or done.removed or done.schema_changed):
        output.line(f"nothing to do: {done.unchanged:,} tables are captured")
        return
    output.line(f"{len(done.tables):,} tables captured now, {done.unchanged:,} were before")
    if done.removed:
        output.line(f"triggers removed from {', '.join(map(str, done.removed))}: not in the configuration any more")
    if done.tables:
        output.talk("next: dbsync backfill   (rows that were there before)   then: dbsync run")


def _would(title: str) -> str:
    """Say in words what the SQL under a title would do."""
    removed = title.removeprefix(installation.REMOVED)
    return f"would install triggers on {title}" if removed == title else f"would remove triggers from {removed}"


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
        for part in installation.uninstall_sql(chosen, force=force, drop_schema=drop_schema):
            if sql:
                output.line(part)
            elif part.startswith("\n-- "):
                output.line(f"would remove triggers from {part.splitlines()[1][3:]}")
        return
    removed = installation.uninstall_source(chosen, force=force, drop_schema=drop_schema)
    output.line(f"triggers removed from {len(removed):,} tables" if removed else "nothing to do: no table is captured")
