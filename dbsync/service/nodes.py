"""Whom a server lets in, as its operator decides it; and this node's own keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

import psycopg

from dbsync import schema
from dbsync.bundle.enrolment import write_invitation
from dbsync.config.models import Config
from dbsync.errors import Refusal
from dbsync.identity import keys, registry
from dbsync.identity.code import write_code
from dbsync.identity.keys import Keys, PublicKeys
from dbsync.identity.registry import Peer
from dbsync.postgres import connect, translated


class State(StrEnum):
    """How somebody stands with this node."""

    INVITED = "invited"
    EXPIRED = "invitation expired"
    ENROLLED = "enrolled"
    REVOKED = "revoked"
    PINNED = "upstream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invited:
    """An invitation, to be carried to the node by a person."""

    name: str
    code: str
    expires_at: datetime


def state(peer: Peer, now: datetime) -> State:
    """Say how somebody stands with this node."""
    if peer.revoked_at is not None:
        return State.REVOKED
    if peer.role is registry.Role.UPSTREAM:
        return State.PINNED
    if peer.enrolled_at is not None:
        return State.ENROLLED
    return State.EXPIRED if peer.invite_expires_at is None or peer.invite_expires_at < now else State.INVITED


def own_keys(config: Config) -> PublicKeys:
    """Give this node's public keys."""
    return Keys.load(Path(config.node.keys)).public


def make_keys(folder: Path) -> PublicKeys | None:
    """Make a node's keys where there are none; None where there are."""
    if keys.exist(folder):
        return None
    made = Keys.generate()
    made.save(folder)
    return made.public


def invite(
    config: Config, name: str, *, passes_on: bool, expires: timedelta, relay: bool = False, stick: Path | None = None
) -> Invited:
    """Let a node come, once, within a time; where no line goes to it, it finds this node's keys on a stick."""
    own = own_keys(config)
    if stick is not None:  # first: a code without them would be of no use
        write_invitation(stick, node=name, upstream=config.node.name, keys=Keys.load(Path(config.node.keys)))
    with _registry(config) as connection:
        role = registry.Role.RELAY if relay else registry.Role.NODE
        secret = registry.invite(connection, name, passes_on=passes_on, expires=expires, role=role)
        peer = _known(connection, name)
    assert peer.invite_expires_at is not None
    return Invited(name=name, code=write_code(secret, own.fingerprint), expires_at=peer.invite_expires_at)


def peers(config: Config) -> tuple[Peer, ...]:
    """Give everybody this node knows."""
    with _registry(config) as connection:
        return registry.peers(connection)


def peer(config: Config, name: str) -> Peer:
    """Give one of them."""
    with _registry(config) as connection:
        return _known(connection, name)


def revoke(config: Config, name: str, why: str) -> None:
    """Take nothing more of a node, from now on."""
    with _registry(config) as connection:
        registry.revoke(connection, name, why)


def rename(config: Config, name: str, to: str) -> None:
    """Know a node by another name."""
    with _registry(config) as connection:
        registry.rename(connection, name, to)


def _known(connection: psycopg.Connection, name: str) -> Peer:
    found = registry.find(connection, name)
    if found is None:
        raise Refusal(f"nobody called {name} is known here", where="nodes", hint="dbsync nodes list")
    return found


@contextmanager
def _registry(config: Config) -> Iterator[psycopg.Connection]:
    where = "upstream" if config.above is None else "source"  # who others bring their changes to, and nobody's source
    with connect(config.node.source, name=where) as connection:
        schema.require(connection, where)
        with translated(where):
            yield connection
