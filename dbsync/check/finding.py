"""Short ways to say a finding."""

from __future__ import annotations

from dbsync.errors import DbsyncError, Unreachable
from dbsync.model.findings import Finding, Severity


def ok(code: str, where: str, what: str) -> Finding:
    """Say that something is as it should be."""
    return Finding(code=code, severity=Severity.OK, where=where, what=what)


def warning(code: str, where: str, what: str, remedy: str = "") -> Finding:
    """Say something that a person should know; it stops nothing."""
    return Finding(code=code, severity=Severity.WARNING, where=where, what=what, remedy=remedy)


def error(code: str, where: str, what: str, remedy: str = "") -> Finding:
    """Say something that has to be mended first."""
    return Finding(code=code, severity=Severity.ERROR, where=where, what=what, remedy=remedy)


def of_failure(failure: DbsyncError, where: str) -> Finding:
    """Say an exception as a finding: that a side cannot be reached is what a check is there to tell."""
    code = _FAILURES[where == "upstream", isinstance(failure, Unreachable)]
    reason = f" ({failure.why})" if failure.why else ""
    return error(code, failure.where or where, f"{failure.what}{reason}", failure.hint)


_FAILURES = {
    (False, True): "source_unreachable",
    (False, False): "source_failed",
    (True, True): "upstream_unreachable",
    (True, False): "upstream_failed",
}
