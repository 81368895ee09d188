"""Everything that can be told before anything is started."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from dbsync.catalog.inspect import inspect
from dbsync.check import drift, privileges, server
from dbsync.check.compare import compare
from dbsync.check.finding import of_failure, ok
from dbsync.check.pooler import of_pooler
from dbsync.check.server import Server, Side
from dbsync.config.models import Config
from dbsync.errors import DbsyncError
from dbsync.keys.register import register
from dbsync.model.catalog import Catalog
from dbsync.model.findings import Finding, Severity
from dbsync.model.names import TableName
from dbsync.model.registration import Registry
from dbsync.postgres import translated
from dbsync.statements import statement

TriggerStates = Callable[[psycopg.Connection, Registry, Catalog], Mapping[TableName, str]]
Reached = psycopg.Connection | DbsyncError
"""A session of :func:`dbsync.postgres.connect`, or why there is none."""


def preflight(
    config: Config,
    source: Reached,
    upstream: Reached | None,
    *,
    revision: str,
    trigger_states: TriggerStates | None = None,
) -> list[Finding]:
    """Check configuration, connections, rights, keys and columns on both sides, and drift; change nothing.

    ``revision`` is that of the dbsync schema this program needs, ``trigger_states`` tells the state of the triggers
    where the schema is that. What cannot be asked since a side is out of reach is left out, and said once; an upstream
    that is None is none of this node's to look at.
    """
    here = _Side(side="source", reached=source, dsn=config.node.source)
    there = None if upstream is None else _Side(side="upstream", reached=upstream, dsn=config.upstream.url)
    for side in (here, there) if there else (here,):
        side.look(lambda session, side=side: _look(session, side, revision))  # type: ignore[misc]  # bound at once
    registry = Registry()
    if here.catalog is not None:
        registry, findings = register(config, here.catalog)
        here.findings += findings or [_registered(registry)]
        here.look(lambda session: _of_source(session, here, registry, revision, trigger_states))
    if there is None:
        return here.findings
    there.look(lambda session: _of_upstream(session, there, registry))
    together = server.of_both(here.server, there.server) if here.server and there.server else ()
    return [*together, *here.findings, *there.findings]


def of_topmost(config: Config, reached: Reached, *, revision: str) -> list[Finding]:
    """Check a node that has no upstream: into its own database others bring their changes."""
    there = _Side(side="upstream", reached=reached, dsn=config.node.source)
    there.look(lambda session: _look(session, there, revision))
    if there.catalog is not None:
        registry, findings = register(config, there.catalog)
        there.findings += findings or [_registered(registry)]
        there.look(lambda session: _of_upstream(session, there, registry))
    return there.findings


@dataclass(slots=True, kw_only=True)
class _Side:
    """One end while it is being looked at."""

    side: Side
    reached: Reached
    dsn: str
    server: Server | None = None
    revision: str | None = None
    catalog: Catalog | None = None
    findings: list[Finding] = field(default_factory=list)

    def look(self, questions: Callable[[psycopg.Connection], Iterator[Finding]]) -> None:
        """Ask something; a failure is a finding too, and ends the questions to this side."""
        if isinstance(self.reached, DbsyncError):
            if not self.findings:
                self.findings.append(of_failure(self.reached, self.side))
            return
        try:
            with translated(self.side):
                self.findings.extend(questions(self.reached))
        except DbsyncError as failure:
            self.findings.append(of_failure(failure, self.side))
            self.reached = failure


def _look(session: psycopg.Connection, side: _Side, revision: str) -> Iterator[Finding]:
    with _read_only(session):
        side.server = server.ask(session)
    yield from server.of_server(side.side, side.server)
    yield from of_pooler(side.side, session, side.dsn)
    yield from server.of_membership(side.side, side.server)
    readable = side.server.has_schema and side.server.may_look
    with _read_only(session):
        side.revision = _revision(session) if readable else None
    if readable or not side.server.has_schema:
        yield from server.of_schema(side.side, side.server, side.revision, revision)
    side.catalog = inspect(session)


def _of_source(
    session: psycopg.Connection, side: _Side, registry: Registry, revision: str, trigger_states: TriggerStates | None
) -> Iterator[Finding]:
    assert side.catalog is not None
    assert side.server is not None
    states: Mapping[TableName, str] = {}
    with _read_only(session):
        if trigger_states is not None and side.revision == revision:
            states = trigger_states(session, registry, side.catalog)
        rights = privileges.ask(session, registry.tables)
    settled = {name for name, state in states.items() if state == "installed"}
    yield from server.of_temporary(side.side, side.server)
    yield from privileges.of_source(registry, rights, side.server, settled)
    yield from drift.of_triggers(states)


def _of_upstream(session: psycopg.Connection, side: _Side, registry: Registry) -> Iterator[Finding]:
    assert side.catalog is not None
    assert side.server is not None
    yield from server.of_temporary(side.side, side.server)
    with _read_only(session):
        rights = privileges.ask(session, registry.tables)
        yield from privileges.of_upstream(registry, rights, side.server)
        yield from privileges.of_sequences(session, registry, side.catalog, side.server)
    yield from compare(registry, side.catalog)


def _revision(session: psycopg.Connection) -> str | None:
    row = session.execute("SELECT pg_catalog.to_regclass('dbsync.alembic_version') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        return None
    found = session.execute(statement("check", "schema_revision")).fetchone()
    return None if found is None else str(found[0])


def _registered(registry: Registry) -> Finding:
    shipped = len(registry.shipped())
    return ok("registered", "dbsync.toml", f"{shipped:,} tables to ship, {len(registry.tables) - shipped:,} lookups")


def is_fine(findings: list[Finding]) -> bool:
    """Say whether nothing stands in the way."""
    return not any(finding.severity is Severity.ERROR for finding in findings)


@contextmanager
def _read_only(session: psycopg.Connection) -> Iterator[None]:
    with session.transaction():
        session.execute("SET TRANSACTION READ ONLY")
        yield
