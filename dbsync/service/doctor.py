"""Checking a node by whatever way its upstream is reached: what `dbsync check` finds, as data."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from uuid import UUID

import psycopg

from dbsync import schema
from dbsync.apply import receipts
from dbsync.capture import install
from dbsync.check.preflight import of_drift, of_topmost, preflight
from dbsync.check.side import Examined
from dbsync.config.fields import Route
from dbsync.config.models import Config
from dbsync.errors import DbsyncError
from dbsync.model.batch import Receipt
from dbsync.model.catalog import Catalog
from dbsync.model.findings import Finding, Severity
from dbsync.model.names import TableName
from dbsync.model.registration import Registry
from dbsync.service.afar import of_afar
from dbsync.service.past import of_past
from dbsync.service.reach import reach


def examine(config: Config, *, here: bool = False) -> list[Finding]:
    """Find everything that is wrong with a node and, as far as it is seen from there, with its upstream; change nothing.

    ``here`` looks at the node's own database as the one into which others bring their changes.
    """
    if here or config.above is None:
        with reach(config.node.source, "upstream") as own:
            return of_topmost(config, own, revision=schema.head())
    with reach(config.node.source, "source") as source, _upstream(config) as upstream:
        seen = preflight(config, source, upstream, revision=schema.head(), trigger_states=_trigger_states)
        if seen.there is not None:
            if seen.both_installed:
                _compare_lives(config, seen.here, seen.there)
            return seen.findings()
        return [*seen.findings(), *of_afar(config, seen)]


def drift(config: Config, identity: str) -> list[Finding]:
    """Find what a migration left to be done for dbsync, in the source alone; nothing where another database was migrated."""
    with reach(config.node.source, "source") as source:
        found = of_drift(config, source, identity, revision=schema.head(), trigger_states=_trigger_states)
    return [one for one in found if one.severity is not Severity.OK]


def _compare_lives(config: Config, here: Examined, there: Examined) -> None:
    source = here.session
    if source is not None:
        label = config.upstream.label
        there.glance("what both ends remember", lambda session: of_past(source, _Directly(session), label))


@dataclass(frozen=True, slots=True)
class _Directly:
    """What an upstream's own database remembers."""

    connection: psycopg.Connection

    def last_receipt(self, node: str, incarnation: UUID, link: str) -> Receipt | None:
        """Read the newest receipt."""
        return receipts.last_receipt(self.connection, node, incarnation, link)


def _upstream(config: Config) -> AbstractContextManager[psycopg.Connection | DbsyncError | None]:
    if config.upstream.route is Route.DIRECT:
        return reach(config.upstream.database, "upstream")
    return nullcontext()


def _trigger_states(connection: psycopg.Connection, registry: Registry, catalog: Catalog) -> Mapping[TableName, str]:
    return install.states(connection, install.captures(connection, registry, catalog))
