"""Which tables a comparison is about."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from dbsync.catalog.inspect import inspect
from dbsync.config.models import Config
from dbsync.errors import Refusal, UsageError
from dbsync.keys.register import register
from dbsync.model.findings import Severity
from dbsync.model.names import TableName
from dbsync.model.registration import Registry
from dbsync.postgres import translated


def shipped(config: Config, source: psycopg.Connection) -> Registry:
    """Register the tables as they are now. Raises Refusal where one cannot be."""
    with translated("source"):
        registry, findings = register(config, inspect(source))
    wrong = [finding for finding in findings if finding.severity is Severity.ERROR]
    if wrong:
        raise Refusal(
            "nothing was compared",
            where=wrong[0].where,
            why=wrong[0].what + (f"; and {len(wrong) - 1} more" if len(wrong) > 1 else ""),
            hint="dbsync check",
        )
    return registry


def selected(registry: Registry, patterns: Sequence[str]) -> list[TableName] | None:
    """Give the shipped tables that names or patterns select; each has to select one."""
    if not patterns:
        return None
    shipped = [table.name for table in registry.shipped()]
    idle = [pattern for pattern in patterns if not any(name.matches(pattern) for name in shipped)]
    if idle:
        raise UsageError(f"no shipped table is called {', '.join(idle)}", hint="dbsync tables --registered")
    return [name for name in shipped if any(name.matches(pattern) for pattern in patterns)]
