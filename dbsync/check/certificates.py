"""Certificates of servers, and how long they are good for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from dbsync.certificates import ends
from dbsync.check.finding import error, warning
from dbsync.config.limits import CheckConfig
from dbsync.model.findings import Finding
from dbsync.model.words import ago


def of_file(path: str | None, where: str, limits: CheckConfig) -> Iterator[Finding]:
    """Look at the certificates in a file, one after the other: any that has ended breaks the chain."""
    if path is None:
        return
    try:
        found = ends(Path(path))
    except (OSError, ValueError) as reason:
        why = (getattr(reason, "strerror", None) or "it holds no certificate in PEM").lower()
        yield error("certificate_unreadable", where, f"the certificate {path} cannot be read: {why}", f"mend {where}")
        return
    for until in found:
        yield from of_end(until, f"the certificate in {path}", where, limits)


def of_end(until: datetime, which: str, where: str, limits: CheckConfig) -> Iterator[Finding]:
    """Judge when a certificate ends."""
    left = (until - datetime.now(UTC)).total_seconds()
    day = f"{until:%Y-%m-%d %H:%M} UTC"
    if left <= 0:
        yield error("certificate_expired", where, f"{which} has ended on {day}: no node connects any more", _RENEW)
    elif left <= limits.certificate_seconds:
        yield warning("certificate_expires", where, f"{which} ends in {ago(left)}, on {day}", _RENEW)


_RENEW = "renew it on the server, into the same file, and restart dbsync serve"
