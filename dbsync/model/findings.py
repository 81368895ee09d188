"""A finding: what a check saw, as data. Rendering is elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding matters: an ERROR makes ``check`` exit 1, a WARNING does not, OK is worth a line."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing a check saw, with what to do about it."""

    code: str
    """Stable, for scripts: ``key_not_unique_upstream``."""
    severity: Severity
    where: str
    """``source``, ``upstream``, a table, or ``dbsync.toml:12:3``."""
    what: str
    remedy: str = ""
    """A command or SQL to paste."""


def is_fine(findings: Iterable[Finding]) -> bool:
    """Say whether nothing stands in the way."""
    return not any(finding.severity is Severity.ERROR for finding in findings)
