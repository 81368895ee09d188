"""The tables of a database as a configuration sees them: registered or not, and by which natural key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dbsync.config.models import Config
from dbsync.keys.register import register
from dbsync.model.catalog import Catalog
from dbsync.model.findings import Severity
from dbsync.model.names import TableName
from dbsync.model.registration import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A table, whether or not it is registered."""

    name: TableName
    mode: Mode | None
    """None for one that no entry selects."""
    key: Sequence[str]
    """The natural key in words; a reference is followed: ``visit_id.subject_id.subject_identifier``."""
    rows: int
    """PostgreSQL's own estimate."""
    problems: Sequence[str]

    @property
    def registered(self) -> bool:
        """Say whether an entry of the configuration selects it."""
        return self.mode is not None


def listed(config: Config, catalog: Catalog) -> tuple[Listed, ...]:
    """List all tables by name."""
    registry, findings = register(config, catalog)
    wrong: dict[str, list[str]] = {}
    for finding in findings:
        if finding.severity is Severity.ERROR:
            wrong.setdefault(finding.where, []).append(finding.what)
    return tuple(
        Listed(
            name=name,
            mode=entry.mode if (entry := config.table_for(name)) is not None else None,
            key=registry.tables[name].key.leaves() if name in registry.tables else (),
            rows=table.estimated_rows,
            problems=wrong.get(str(name), ()),
        )
        for name, table in sorted(catalog.tables.items())
    )
