"""Which tables a comparison is about."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from dbsync.capture.install import TriggerState
from dbsync.catalog.inspect import inspect
from dbsync.check.wording import listed
from dbsync.config.models import Config
from dbsync.errors import Refusal, UsageError
from dbsync.keys.problems import IDLE
from dbsync.keys.register import register
from dbsync.model.findings import Severity
from dbsync.model.names import TableName
from dbsync.model.registration import Registry
from dbsync.postgres import translated
from dbsync.service.status import trigger_states


def shipped(config: Config, source: psycopg.Connection) -> Registry:
    """Register the tables as they are now. Raises Refusal where one cannot be, and where there is none to be compared."""
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
    _refuse_slip(config, source, [finding.where for finding in findings if finding.code == IDLE])
    if not registry.shipped():
        raise Refusal(
            "nothing was compared",
            where="dbsync.toml",
            why="it selects no table that is shipped",
            hint="dbsync tables   (lists what is there, and what is registered)",
        )
    return registry


def _refuse_slip(config: Config, source: psycopg.Connection, idle: Sequence[str]) -> None:
    """Refuse where a pattern selects nothing and tables are captured that none selects: what was not compared would count as agreed."""
    left = _captured_besides(config, source) if idle else []
    if left:
        raise Refusal(
            "nothing was compared",
            where=listed(left),
            why=f"it is captured, and {listed(idle)} in dbsync.toml selects no table: the pattern may be misspelt",
            hint="mend the pattern (dbsync tables lists what is there)   or, if these tables are to go:"
            " dbsync install-triggers --remove",
        )


def _captured_besides(config: Config, source: psycopg.Connection) -> list[TableName]:
    """List the tables that are captured though the configuration does not select them."""
    try:
        states = trigger_states(config, source)
    except psycopg.Error:
        return []  # not installed yet, or not for this role: the comparison does not need it
    return sorted(table for table, state in states.items() if state == TriggerState.ORPHANED)


def selected(registry: Registry, patterns: Sequence[str]) -> list[TableName] | None:
    """Give the shipped tables that names or patterns select; each has to select one."""
    if not patterns:
        return None
    shipped = [table.name for table in registry.shipped()]
    idle = [pattern for pattern in patterns if not any(name.matches(pattern) for name in shipped)]
    if idle:
        raise UsageError(f"no shipped table is called {', '.join(idle)}", hint="dbsync tables --registered")
    return [name for name in shipped if any(name.matches(pattern) for pattern in patterns)]
