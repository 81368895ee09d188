"""Whose batches are taken: a node writes as itself, of its own database, and speaks for others only where it may."""

from __future__ import annotations

import psycopg

from dbsync.errors import NotAdmitted
from dbsync.identity import registry
from dbsync.identity.registry import Peer, Role
from dbsync.model.batch import Header


def admit(connection: psycopg.Connection, peer: Peer, header: Header) -> None:
    """Refuse a batch that its sender may not bring; raises NotAdmitted before anything of it is used.

    A database is bound to the node that first brings changes of it. Otherwise a node could give out its own transactions
    for another's, and the other's would be dropped when they come: they would be here already.
    """
    if peer.revoked_at is not None:
        raise NotAdmitted(
            f"{peer.name} is revoked here",
            where=peer.name,
            why=peer.revoked_why or "",
            hint=f"dbsync nodes invite {peer.name}   (at the upstream: lets it come back with new keys)",
        )
    if peer.role is Role.UPSTREAM:
        raise NotAdmitted(
            f"{peer.name} is the upstream of this node",
            where=peer.name,
            why="changes go one way, toward the centre",
            hint="dbsync nodes list   (shows who may bring changes here)",
        )
    if peer.role is Role.RELAY:
        raise NotAdmitted(
            f"{peer.name} is a relay, and has no changes of its own",
            where=peer.name,
            why="it carries what others sealed and signed",
            hint="dbsync nodes list   (shows who may bring changes here)",
        )
    if header.node != peer.name:
        raise NotAdmitted(
            f"{peer.name} brings a batch of {header.node}",
            where=peer.name,
            why="a node writes as itself only",
            hint=f"dbsync nodes rename {peer.name} {header.node}   (at the upstream, if the node was renamed)",
        )
    if header.passed and not peer.passes_on:
        raise NotAdmitted(
            f"{peer.name} brings changes that others captured",
            where=peer.name,
            why="it was not invited as a tier",
            hint=f"dbsync nodes revoke {peer.name}   then: dbsync nodes invite {peer.name} --passes-on   (at the upstream)",
        )
    if not registry.owns_lineage(connection, peer.name, header.lineage):
        raise NotAdmitted(
            f"{peer.name} brings changes of another database than before",
            where=peer.name,
            why="a node is bound to its database; a restored or copied one stays the same, a new one does not",
            hint=f"dbsync nodes revoke {peer.name}   then invite it again   (at the upstream, if it got a new database)",
        )
