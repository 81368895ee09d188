"""What an upstream has to say to its broker, and to ask it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dbsync import schema
from dbsync.config.models import Config
from dbsync.identity import registry
from dbsync.identity.keys import Keys
from dbsync.identity.registry import Role
from dbsync.postgres import connect, translated
from dbsync.service.extras import require_nats
from dbsync.transport.account import account
from dbsync.transport.subjects import Subjects


def account_of_nodes(config: Config, name: str) -> str:
    """Write the account of this upstream and of all nodes that are enrolled here, by their keys of now."""
    own = Keys.load(Path(config.node.keys)).public
    with connect(config.node.source, name="upstream") as connection:
        schema.require(connection, "upstream")
        with translated("upstream"):
            known = registry.peers(connection)
    nodes = {
        peer.name: peer.keys
        for peer in known
        if peer.role is Role.NODE and peer.revoked_at is None and peer.keys is not None
    }
    return account(config.node.name, own, nodes, name=name)


def backlog(config: Config, url: str) -> Sequence[tuple[str, int]]:
    """Count the messages that lie at the broker, by node; those with most come first."""
    require_nats()
    from dbsync.transport import broker  # noqa: PLC0415 - few upstreams have one

    subjects, keys = Subjects(config.node.name), Keys.load(Path(config.node.keys))
    with broker.opened(url, keys, node=config.node.name, ca=config.broker.ca, silence=config.service.silence) as there:
        found = there.backlog(subjects.batches_stream, subjects.all_batches)
    by_node = ((subjects.node_of(subject), number) for subject, number in found.items())
    return sorted(by_node, key=lambda one: (-one[1], one[0]))
