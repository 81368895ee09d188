"""What not every node needs, and is installed beside where one does."""

from __future__ import annotations

from importlib.util import find_spec

from dbsync.errors import ConfigError


def require_nats() -> None:
    """Raise ConfigError where the nats route cannot be taken, for what speaks to a broker is not installed."""
    if find_spec("nats") is None:
        raise ConfigError(
            "what speaks to a broker is not installed here",
            where="upstream",
            why="the nats route needs nats-py",
            hint="pip install 'dbsync[nats]'",
        )
