"""What a server without an upstream says of itself: who brings changes into it, and what of them waits for a person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dbsync import schema
from dbsync.capture import install as capture
from dbsync.config.models import Config
from dbsync.identity import registry
from dbsync.identity.registry import Role
from dbsync.model.names import TableName
from dbsync.postgres import connect, translated
from dbsync.statements import statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Topmost:
    """Everything ``dbsync status`` shows of a server into which others bring their changes, and that passes on none."""

    name: str
    nodes: int
    """Those that are enrolled, relays among them."""
    waiting_here: int
    """Changes of nodes that wait in this database's quarantine."""
    captured: Sequence[TableName] = ()
    """Tables with triggers, which fill a log that nothing ships."""


def topmost(config: Config) -> Topmost:
    """Ask the server's own database."""
    with connect(config.node.source, name="upstream") as connection:
        schema.require(connection, "upstream")
        with translated("upstream"):
            waiting = connection.execute(statement("service", "waiting_here")).fetchone()
            known = registry.peers(connection)
            captured = sorted({trigger.table for trigger in capture.installed(connection)})
    enrolled = [peer for peer in known if peer.role is not Role.UPSTREAM and peer.enrolled_at and not peer.revoked_at]
    return Topmost(
        name=config.node.name,
        nodes=len(enrolled),
        waiting_here=waiting[0] if waiting else 0,
        captured=captured,
    )
