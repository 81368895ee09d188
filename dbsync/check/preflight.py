"""Everything that can be told of a node and its upstream from their databases, before anything is started and while it runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import psycopg

from dbsync.capture import install as capture
from dbsync.capture import rights
from dbsync.capture.skipped import skipping
from dbsync.catalog.former import Former, former_names
from dbsync.catalog.inspect import inspect
from dbsync.check import drift, echoes, indexes, log, privileges, server
from dbsync.check.between import Ends
from dbsync.check.certificates import of_file
from dbsync.check.circles import of_circles
from dbsync.check.compare import compare
from dbsync.check.finding import ok
from dbsync.check.health import of_health
from dbsync.check.pointing import of_generics
from dbsync.check.pooler import of_pooler
from dbsync.check.quarantine import of_quarantine
from dbsync.check.rows import of_rows
from dbsync.check.side import Examined, Reached, Session, read_only
from dbsync.config.models import Config
from dbsync.keys.register import register
from dbsync.model.catalog import Catalog
from dbsync.model.findings import Finding
from dbsync.model.names import TableName
from dbsync.model.registration import Mode, Registry
from dbsync.statements import statement

TriggerStates = Callable[[psycopg.Connection, Registry, Catalog], Mapping[TableName, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A node and its upstream after they were looked at: what was found, and what more can be asked with."""

    here: Examined
    there: Examined | None
    """None where the upstream's database is not seen from here."""
    registry: Registry
    known: log.Known | None
    """The node as its database knows it; None before it was installed."""
    both_installed: bool

    def findings(self) -> list[Finding]:
        """Give everything that was found."""
        if self.there is None:
            return self.here.finished()
        both = self.here.server, self.there.server
        together = server.of_both(both[0], both[1]) if both[0] and both[1] else ()
        return [*together, *self.here.finished(), *self.there.finished()]


def preflight(
    config: Config,
    source: Reached,
    upstream: Reached | None,
    *,
    revision: str,
    trigger_states: TriggerStates | None = None,
) -> Seen:
    """Check configuration, connections, rights, keys and columns on both sides, drift, and how both fare; change nothing.

    ``revision`` is that of the dbsync schema this program needs, ``trigger_states`` tells the state of the triggers
    where the schema is that. What cannot be asked since a side is out of reach is left out, and said once; an upstream
    that is None is none of this node's to look at.
    """
    here = Examined(side="source", reached=source, dsn=config.node.source)
    there = None if upstream is None else Examined(side="upstream", reached=upstream, dsn=config.upstream.url)
    examination = _Examination(config=config, revision=revision)
    for side in (here, there) if there else (here,):
        side.look(partial(examination.look, side))
    registry = examination.register(here)
    examination.source(here, registry, trigger_states)
    both = there is not None and examination.is_installed(there)
    known = examination.records(here, there_too=both)
    if there is not None:
        examination.upstream(there, registry)
        ends = Ends(here=here, there=there, registry=registry, config=config)
        ends.compare()
        if known is not None and both:
            ends.remember(known)
    return Seen(here=here, there=there, registry=registry, known=known, both_installed=both and known is not None)


def of_topmost(config: Config, reached: Reached, *, revision: str) -> list[Finding]:
    """Check a database into which others bring their changes: that of a node without an upstream, or any on request."""
    there = Examined(side="upstream", reached=reached, dsn=config.node.source)
    examination = _Examination(config=config, revision=revision)
    there.look(partial(examination.look, there))
    registry = examination.register(there)
    examination.upstream(there, registry)
    there.findings.extend(of_file(config.serve.certificate, "[serve] certificate", config.check))
    if examination.is_installed(there):
        if config.above is None:
            there.glance("triggers and the change log", _of_unread)
        there.glance("the quarantine", lambda session: of_quarantine(session, None, here=True))
        there.glance("nodes", lambda session: log.of_peers(session, config.check.silent_seconds))
    return there.finished()


def of_drift(
    config: Config, reached: Reached, identity: str, *, revision: str, trigger_states: TriggerStates
) -> list[Finding]:
    """Check tables, keys and triggers of the source, as after a migration; nothing where that is another database."""
    here = Examined(side="source", reached=reached, dsn=config.node.source)
    examination = _Examination(config=config, revision=revision)
    here.look(partial(examination.look, here))
    if here.server is not None and here.server.identity != identity:
        return []
    registry = examination.register(here)
    if here.catalog is not None:
        here.look(lambda session: examination.capture(session, here, registry, trigger_states))
    return drift.with_slips(here.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Examination:
    """What is asked of each side."""

    config: Config
    revision: str

    def is_installed(self, side: Examined) -> bool:
        """Say whether dbsync's own schema is there and is this program's."""
        return side.session is not None and side.revision == self.revision

    def look(self, side: Examined, session: Session) -> Iterator[Finding]:
        """Ask what everything else depends on: the server, the role, the schema, the tables."""
        with read_only(session):
            side.server = server.ask(session)
        yield from server.of_server(side.side, side.server)
        yield from of_pooler(side.side, session, side.dsn)
        yield from server.of_membership(side.side, side.server)
        if side.dsn == self.config.node.source:
            yield from server.of_pages(side.side, side.server, self.config.web)
        readable = side.server.has_schema and side.server.may_look
        with read_only(session):
            side.revision = _revision(session) if readable else None
        if readable or not side.server.has_schema:
            yield from server.of_schema(side.side, side.server, side.revision, self.revision)
        side.catalog = inspect(session)

    def register(self, side: Examined) -> Registry:
        """Decide keys and references, and tell what is wrong with them."""
        if side.catalog is None:
            return Registry()
        registry, findings = register(self.config, side.catalog)
        side.findings += findings or [_registered(registry)]
        return registry

    def source(self, side: Examined, registry: Registry, trigger_states: TriggerStates | None) -> None:
        """Look at capture, and at what the rows themselves tell."""
        if side.catalog is None:
            return
        side.look(lambda session: self.capture(session, side, registry, trigger_states))
        side.findings = drift.with_slips(side.findings)
        self._health(side)
        side.glance("indexes", lambda session: indexes.of_invalid(session, "source", registry.tables))
        for registered in registry.shipped():
            if registered.generics:
                side.glance("generic references", partial(_of_generics, side, registered.name, registry))
        side.glance("how large rows are", lambda session: of_rows(session, registry.shipped()))

    def upstream(self, side: Examined, registry: Registry) -> None:
        """Look at where rows are written."""
        if side.catalog is None:
            return
        catalog = side.catalog
        side.look(lambda session: _rights_upstream(session, side, registry, catalog))
        side.findings.extend(compare(registry, catalog, self.config.policies, self._former(side, catalog)))
        side.findings.extend(of_circles(registry, catalog))
        self._health(side)
        side.glance("indexes", lambda session: indexes.of_invalid(session, "upstream", registry.tables))
        shipped = [one.name for one in registry.shipped()]
        side.glance("indexes", lambda session: indexes.of_references(session, shipped))
        side.glance("triggers of the application", lambda session: echoes.of_triggers(session, shipped))

    def _former(self, side: Examined, catalog: Catalog) -> Former:
        """Give the names that columns had upstream before they were renamed or dropped, as far as they can be told."""
        found: list[Former] = []

        def ask(session: Session) -> Iterator[Finding]:
            found.append(former_names(session, catalog))
            return iter(())

        if self.is_installed(side):
            side.glance("what columns were called", ask)
        return found[0] if found else Former()

    def records(self, side: Examined, *, there_too: bool) -> log.Known | None:
        """Look at the node's own records; what only the upstream could tell now is told as it was at the last contact."""
        if not self.is_installed(side):
            return None
        found: list[log.Known] = []

        def ask(session: Session) -> Iterator[Finding]:
            known, links = log.node(session), log.links(session)
            found.extend([known] if known else [])
            yield from log.of_node(known, self.config) if known else drift.of_no_node(capture.installed(session))
            yield from log.of_links(links, self.config)
            yield from log.of_size(session)
            if not there_too:
                yield from log.of_last_waiting(links, self.config)

        side.glance("the node's own records", ask)
        return found[0] if found else None

    def capture(
        self, session: Session, side: Examined, registry: Registry, trigger_states: TriggerStates | None
    ) -> Iterator[Finding]:
        """Look at rights and triggers."""
        assert side.catalog is not None
        assert side.server is not None
        states: Mapping[TableName, str] = {}
        installed = trigger_states is not None and self.is_installed(side)
        with read_only(session):
            if trigger_states is not None and installed:
                states = trigger_states(session, registry, side.catalog)
            foreign = capture.foreign(session) if installed else set()
            known = capture.registered(session) if installed else {}
            skipped = skipping(session) if installed else []
            closed = _known(rights.unreadable(session, registry), registry, known) if installed else []
            unusable = rights.unusable(session, registry) if installed else []
            kept_from = privileges.closed_schemas(session, rights.type_schemas(registry), to="source")
            granted = privileges.ask(session, registry.tables)
        settled = {name for name, state in states.items() if state == "installed"}
        yield from server.of_temporary(side.side, side.server)
        yield from privileges.of_source(registry, granted, side.server, settled)
        yield from privileges.of_types(kept_from)
        if (closed or unusable) and {*states.values()} - {"missing"}:
            paste = rights.grants_to_paste(session, registry, closed, unusable)
            yield privileges.of_capture(closed, unusable, paste)
            told = {name for name in states if rights.looks_into(registry, name, closed)}
            states = {name: state for name, state in states.items() if name not in told or state != "outdated"}
        yield from drift.of_triggers(states, foreign, {name for name, mode in known.items() if mode is Mode.SHIP})
        yield from drift.of_skipped(skipped)

    def _health(self, side: Examined) -> None:
        assert side.server is not None
        asked = side.server
        side.glance("how the server fares", lambda session: of_health(session, side.side, asked, self.config.check))


def _known(closed: Sequence[TableName], registry: Registry, known: Collection[TableName]) -> list[TableName]:
    """Leave out tables that are new in the configuration: the next installation lets capture read them."""
    return [name for name in closed if name in known or name not in registry.tables]


def _of_unread(session: Session) -> Iterator[Finding]:
    """Find capture, and what it wrote, in a database that no dbsync.toml lets anything be shipped from."""
    yield from drift.of_unread(sorted({trigger.table for trigger in capture.installed(session)}))
    yield from log.of_unread(session)


def _rights_upstream(session: Session, side: Examined, registry: Registry, catalog: Catalog) -> Iterator[Finding]:
    assert side.server is not None
    yield from server.of_temporary(side.side, side.server)
    yield from server.of_open_schemas(side.side, side.server)
    with read_only(session):
        granted = privileges.ask(session, registry.tables)
        written = (table for name in registry.tables if (table := catalog.table(name)) is not None)
        types = {schema for table in written for column in table.columns for schema in column.schemas}
        closed = privileges.closed_schemas(session, types, to="upstream")
        yield from privileges.of_upstream(registry, granted, closed, side.server)
        yield from privileges.of_sequences(session, registry, catalog, side.server)


def _of_generics(side: Examined, name: TableName, registry: Registry, session: Session) -> Iterator[Finding]:
    assert side.catalog is not None
    yield from of_generics(session, registry.tables[name], side.catalog)


def _revision(session: Session) -> str | None:
    row = session.execute("SELECT pg_catalog.to_regclass('dbsync.alembic_version') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        return None
    found = session.execute(statement("check", "schema_revision")).fetchone()
    return None if found is None else str(found[0])


def _registered(registry: Registry) -> Finding:
    shipped = len(registry.shipped())
    return ok("registered", "dbsync.toml", f"{shipped:,} tables to ship, {len(registry.tables) - shipped:,} lookups")
