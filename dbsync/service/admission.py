"""Whose batches are taken: a node writes as itself, of its own database, and speaks for others only where it may."""

from __future__ import annotations

import psycopg

from dbsync.bundle.names import SealedName
from dbsync.errors import FormatError, NotAdmitted, Refusal
from dbsync.identity import registry
from dbsync.identity.keys import PublicKeys, Signed, signer
from dbsync.identity.registry import Peer, Role
from dbsync.model.batch import Header


class NotYet(Refusal):
    """Something that comes before what it follows on is here: another stick, or another visit, may have that."""

    missing: int | None = None
    """The number of the batch that is not here, where it is one."""


def admit(connection: psycopg.Connection, peer: Peer, header: Header) -> None:
    """Refuse a batch that its sender may not bring; raises NotAdmitted before anything of it is used.

    A database is bound to the node that first brings changes of it. Otherwise a node could give out its own transactions
    for another's, and the other's would be dropped when they come: they would be here already.
    """
    expect_node(peer)
    if header.node != peer.name:
        if registry.was_called(connection, peer, header.node):
            raise NotAdmitted(
                f"{peer.name} was called {header.node} when it wrote this batch",
                where=peer.name,
                why="batches are known by the name that a node has",
                hint=f"nothing is lost: {peer.name} brings under its name what has no receipt; this can be deleted",
            )
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
    if registry.lineage_owner(connection, header.lineage) not in (None, peer.name):
        raise NotAdmitted(
            f"{peer.name} brings changes of another node's database",
            where=peer.name,
            why="one is a copy of the other, and was given another name alone",
            hint="docs/how-to/restore-or-clone.md   (says how a copy becomes a node of its own)",
        )
    if not registry.owns_lineage(connection, peer.name, header.lineage):
        raise NotAdmitted(
            f"{peer.name} brings changes of another database than before",
            where=peer.name,
            why="a node is bound to its database; a restored or copied one stays the same, a new one does not",
            hint=f"dbsync nodes revoke {peer.name}   then invite it again   (at the upstream, if it got a new database)",
        )


def expect_node(peer: Peer) -> None:
    """Refuse who is revoked, and who is no node: a relay and an upstream have no rows of their own. Raises NotAdmitted."""
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


def known_sender(connection: psycopg.Connection, key_id: str, file: str) -> Peer:
    """Give whoever signed a file on a stick; raises NotAdmitted where nobody here has that key."""
    peer = registry.sender_of_key(connection, key_id)
    if peer is None:
        raise NotAdmitted(
            "its sender is not known here",
            where=file,
            why=f"no node here has the key {key_id}",
            hint="dbsync nodes list   (shows who is); dbsync nodes invite NAME",
        )
    return peer


def admit_paper(connection: psycopg.Connection, name: SealedName, signed: Signed) -> PublicKeys:
    """Give the keys of the node that signed a sealed paper; raises NotAdmitted unless it is the one that its name says.

    Raises FormatError for what is no signature; the signature itself is checked with these keys.
    """
    try:
        key_id = signer(signed.signature)
    except ValueError:
        raise FormatError("it is not signed", where=name.file(), hint="let it be written again") from None
    peer = known_sender(connection, key_id, name.file())
    expect_node(peer)
    if peer.name != name.node or peer.keys is None:
        raise NotAdmitted(
            f"{peer.name} brings a paper of {name.node}", where=peer.name, why="a node speaks for itself only"
        )
    return peer.keys
