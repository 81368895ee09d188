"""Installing and removing dbsync in a database: schema, node, grants, capture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psycopg
from psycopg import errors

from dbsync import schema
from dbsync.capture import install as capture
from dbsync.capture import rights
from dbsync.capture.install import TriggerState
from dbsync.capture.trigger import Capture
from dbsync.catalog.inspect import inspect, one_snapshot
from dbsync.check.wording import listed
from dbsync.config.models import Config
from dbsync.errors import ConfigError, Refusal
from dbsync.keys.expression import qualified
from dbsync.keys.problems import IDLE
from dbsync.keys.register import register
from dbsync.model.catalog import Catalog
from dbsync.model.findings import Finding, Severity
from dbsync.model.names import TableName
from dbsync.model.registration import Registry
from dbsync.postgres import connect, translated
from dbsync.service import node
from dbsync.statements import statement
from dbsync.verify.words import counted

REMOVED = "not in the configuration any more: "
"""Stands above the SQL that takes a table's triggers away."""

_LATER = "without the triggers, later changes would be lost, and these depend on them"
"""Why triggers stay while changes wait."""

Progress = Callable[[TableName], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What an installation did."""

    schema_changed: bool
    tables: tuple[TableName, ...]
    """Those whose triggers were made or renewed."""
    unchanged: int
    removed: tuple[TableName, ...] = ()
    """Those no longer registered, whose triggers were taken away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A source as configuration and catalog say it is."""

    registry: Registry
    catalog: Catalog
    findings: tuple[Finding, ...]


def registered(config: Config, connection: psycopg.Connection) -> Registered:
    """Register the configured tables; refuse if any of them cannot be."""
    with translated("source"):
        catalog = inspect(connection)
    registry, findings = register(config, catalog)
    wrong = [finding for finding in findings if finding.severity is Severity.ERROR]
    if wrong:
        more = f"; and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise Refusal(
            "nothing was done: not every table can be synchronised as the configuration says",
            where=wrong[0].where,
            why=f"{wrong[0].what}{more}",
            hint=wrong[0].remedy if len(wrong) == 1 and wrong[0].remedy else "dbsync check   (names them all)",
        )
    return Registered(registry=registry, catalog=catalog, findings=findings)


def composed(config: Config, connection: psycopg.Connection) -> tuple[Registered, list[Capture]]:
    """Compose the capture of every shipped table as the tables are now, and let it read those that keys run through.

    A migration may be under way: nothing is composed that looks into a table which came after the rights were given.
    """
    found = registered(config, connection)
    while True:
        with translated("source"):
            rights.grant(connection, found.registry)
        may_read = rights.looked_into(found.registry, found.catalog)
        with one_snapshot(connection):
            found = registered(config, connection)
            if rights.looked_into(found.registry, found.catalog) == may_read:
                with translated("source"):
                    return found, capture.captures(connection, found.registry, found.catalog)


def install_source(config: Config, progress: Progress = lambda _: None, *, remove: bool = False) -> Installed:
    """Bring the source to what the configuration says; a second time there is nothing to do.

    Each table is one short transaction; a stop between two leaves the rest for the next run.
    Triggers of tables that left the configuration are removed; where a pattern selects nothing, which may be a slip, only
    if ``remove`` says so.
    """
    refuse_without_upstream(config)
    with connect(config.node.source, name="source") as connection:
        findings = registered(config, connection).findings  # or it is refused, and nothing is done
        changed = schema.upgrade(config.node.source, "source")
        with translated("source"):
            node.register(connection, config.node.name)
            found, wanted = composed(config, connection)
            states = capture.states(connection, wanted)
            if not remove:
                _refuse_slip(findings, _orphans(states))
            capture.register_lookups(connection, found.registry, found.catalog)
            done: list[TableName] = []
            for item in wanted:
                if states[item.table.name] is TriggerState.INSTALLED:
                    continue
                capture.install(connection, item, lock_timeout=config.service.lock_timeout)
                done.append(item.table.name)
                progress(item.table.name)
            removed = _remove_orphans(connection, states, config.service.lock_timeout)
    return Installed(
        schema_changed=changed, tables=tuple(done), unchanged=len(wanted) - len(done), removed=tuple(removed)
    )


def refuse_without_upstream(config: Config) -> None:
    """Refuse capture where nothing would ever ship what it writes."""
    if config.above is None:
        raise ConfigError(
            "nothing was done: this node has no upstream, so nothing would ship what is captured here",
            where="dbsync.toml",
            why="it has no section [upstream]: others bring their changes here, and it passes on none",
            hint="a server that only takes in needs nothing but: dbsync install-upstream   to pass changes on,"
            ' write [upstream] with url = "..." first',
        )


def _refuse_slip(findings: Sequence[Finding], orphans: Sequence[TableName]) -> None:
    """Refuse to take triggers away where a pattern selects nothing: it may be a slip, and changes would be lost from then on."""
    idle = [finding.where for finding in findings if finding.code == IDLE]
    if idle and orphans:
        raise Refusal(
            f"no trigger was touched: {listed(idle)} in dbsync.toml selects no table, and"
            f" {counted(len(orphans), 'table')} would no longer be captured",
            where=listed(orphans),
            why="if the pattern is misspelt, changes of these tables would be lost from now on",
            hint="mend the pattern (dbsync tables lists what is there)   or, if they are to go:"
            " dbsync install-triggers --remove",
        )


def source_sql(config: Config, *, remove: bool = False) -> Iterator[str]:
    """Give the SQL that :func:`install_source` would run, and run none of it to stay."""
    refuse_without_upstream(config)
    with connect(config.node.source, name="source") as connection:
        found = registered(config, connection)
        with translated("source"), connection.transaction(force_rollback=True):
            since = schema.version(connection)
            if since is None or since < schema.head():
                yield schema.upgrade_sql(since)
                schema.rehearse(connection, since)
            own = node.registration(connection, config.node.name)
            if own is not None:
                yield f"{own};"
            grants = list(rights.grants(found.registry))
            for grant in grants:
                with suppress(errors.InsufficientPrivilege), connection.transaction():
                    connection.execute(grant)
                yield f"{grant.as_string(connection)};"
            wanted = capture.captures(connection, found.registry, found.catalog)
            states = capture.states(connection, wanted)
            orphans = _orphans(states)
            if not remove:
                _refuse_slip(found.findings, orphans)
            yield from (f"{step};" for step in capture.lookups_plan(connection, found.registry, found.catalog))
            for item in wanted:
                if states[item.table.name] is not TriggerState.INSTALLED:
                    yield from _table_sql(connection, item, config.service.lock_timeout)
            for table in orphans:
                yield from _removal_sql(connection, table, f"{REMOVED}{table}", config.service.lock_timeout)


def _table_sql(connection: psycopg.Connection, item: Capture, lock_timeout: float) -> Iterator[str]:
    yield f"\n-- {item.table.name}"
    for step in capture.plan(connection, item, lock_timeout=lock_timeout):
        yield f"{step};"


def uninstall_source(config: Config, *, force: bool, drop_schema: bool = False) -> list[TableName]:
    """Take the triggers away; refuse while changes wait that no upstream has acknowledged, unless forced."""
    with connect(config.node.source, name="source") as connection:
        schema.require(connection, "source")
        with translated("source"):
            has_upstream = config.above is not None
            if not force:
                _refuse_waiting(connection, _LATER, has_upstream=has_upstream)
            tables = sorted({trigger.table for trigger in capture.installed(connection)})
            for table in tables:
                capture.uninstall(connection, table, lock_timeout=config.service.lock_timeout)
            if drop_schema:
                if not force:
                    late = "they were committed while the triggers were taken away"
                    _refuse_waiting(connection, late, has_upstream=has_upstream)
                connection.execute("DROP SCHEMA dbsync CASCADE")
    return tables


def _refuse_waiting(connection: psycopg.Connection, why: str, *, has_upstream: bool) -> None:
    """Refuse while something would be left behind, and say what to do about it: where there is no upstream, nothing ships it."""
    leave = "to leave them behind: dbsync uninstall-triggers --force"
    if has_upstream and node.is_reloaded(connection):
        raise Refusal(
            "what the upstream has cannot be told: this database was reloaded, and has not met its upstream since",
            where="source",
            hint=f"dbsync run --once   or, {leave}",
        )
    waiting = unacknowledged(connection)
    if waiting and not has_upstream:
        raise Refusal(
            f"{counted(waiting, 'change')} captured here went nowhere",
            where="source",
            why="dbsync.toml has no [upstream], so nothing ships them",
            hint=f"{leave}   or, to ship them: write [upstream], then: dbsync run --once",
        )
    if waiting:
        raise Refusal(
            f"{waiting:,} changes are not acknowledged by the upstream yet",
            where="source",
            why=why,
            hint=f"dbsync run --once   or, {leave}",
        )


def uninstall_sql(config: Config, *, force: bool, drop_schema: bool = False) -> Iterator[str]:
    """Give the SQL that :func:`uninstall_source` would run, where it would run any."""
    with connect(config.node.source, name="source") as connection:
        schema.require(connection, "source")
        with translated("source"):
            if not force:
                _refuse_waiting(connection, _LATER, has_upstream=config.above is not None)
            for table in sorted({trigger.table for trigger in capture.installed(connection)}):
                yield from _removal_sql(connection, table, str(table), config.service.lock_timeout)
            if drop_schema:
                yield "DROP SCHEMA dbsync CASCADE;"


def _removal_sql(connection: psycopg.Connection, table: TableName, title: str, lock_timeout: float) -> Iterator[str]:
    yield f"\n-- {title}\nBEGIN;"
    for step in capture.uninstall_steps(connection, table, lock_timeout):
        yield f"{step.as_string(connection)};"
    yield f"{capture.forget_plan(connection, table)};"
    yield "COMMIT;"


def unacknowledged(connection: psycopg.Connection, table: TableName | None = None) -> int:
    """Count the changes (of one table) that some link has no receipt for."""
    relation = None if table is None else qualified(table)
    row = connection.execute(statement("service", "unacknowledged_anywhere"), {"relation": relation}).fetchone()
    return int(row[0]) if row else 0


def _orphans(states: Mapping[TableName, TriggerState]) -> list[TableName]:
    return sorted(table for table, state in states.items() if state is TriggerState.ORPHANED)


def _remove_orphans(
    connection: psycopg.Connection, states: dict[TableName, TriggerState], lock_timeout: float
) -> list[TableName]:
    """Take the triggers from tables that left the configuration; their captured changes are still shipped."""
    orphans = _orphans(states)
    for table in orphans:
        capture.uninstall(connection, table, lock_timeout=lock_timeout)
    return orphans
