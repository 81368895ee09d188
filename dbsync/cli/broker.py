"""Which broker is meant."""

from __future__ import annotations

from dbsync.config import brokers
from dbsync.config.models import Config
from dbsync.errors import UsageError


def address(chosen: Config, given: str | None) -> str:
    """Give the address that was typed, or that the configuration has. Raises UsageError for none."""
    url = given or chosen.broker.url
    if url is None:
        raise UsageError(
            "no broker is named",
            where="dbsync.toml",
            why='[broker] has no url = "tls://..."',
            hint="--from tls://broker.example.org   (behind the command)",
        )
    problem = brokers.problem(url)
    if problem is not None:
        raise UsageError("that is no broker's address", where="--from", why=problem)
    return url
