"""Whom a node knows: those who may bring batches to it, and the upstream to which it brings its own.

All of it is in the node's own database, so that several servers beside one database know the same and a revocation
counts at once. Connections are in autocommit.
"""

from __future__ import annotations

import hashlib
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import psycopg
from psycopg import errors

from dbsync.errors import NotAdmitted, Refusal
from dbsync.identity.keys import PublicKeys
from dbsync.identity.lateness import LATE
from dbsync.statements import statement

SECRET_BYTES = 10


class Role(StrEnum):
    """What somebody is to this node."""

    NODE = "node"
    RELAY = "relay"
    UPSTREAM = "upstream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Somebody this node knows."""

    name: str
    role: Role
    lineage: UUID | None
    """The database whose changes it brings; None before its first batch."""
    passes_on: bool
    invited_at: datetime
    invite_expires_at: datetime | None
    enrolled_at: datetime | None
    revoked_at: datetime | None
    revoked_why: str | None
    seen_at: datetime | None
    keys: PublicKeys | None
    """The current ones; None until it has enrolled."""


def invite(
    connection: psycopg.Connection, name: str, *, passes_on: bool, expires: timedelta, role: Role = Role.NODE
) -> bytes:
    """Let a node come, once, within a time; give the secret it must bring, which is kept nowhere.

    Raises Refusal for one that is here already: it keeps its keys, or is revoked first.
    """
    secret = secrets.token_bytes(SECRET_BYTES)
    asked = {"name": name, "role": role, "passes_on": passes_on, "invite": _hash(secret), "expires": expires}
    if connection.execute(statement("peers", "invite"), asked).rowcount != 1:
        raise Refusal(
            f"{name} is enrolled already",
            where="nodes",
            why="a second invitation would let another machine come under its name",
            hint=f'dbsync nodes revoke {name} --reason "..."   (then invite it: it comes back with new keys)',
        )
    return secret


def enrol(connection: psycopg.Connection, name: str, secret: bytes, keys: PublicKeys) -> Peer:
    """Take a node in that brings its secret; raises NotAdmitted, in the same words whatever was wrong.

    The same node with the same keys may come again: the line broke before it heard that it is in. Keys that it had before are
    nobody's from then on, also under what is still on its way.
    """
    asked = {"name": name, "invite": _hash(secret), "signing": keys.signing, "sealing": keys.sealing}
    with connection.transaction():
        if connection.execute(statement("peers", "use_invite"), asked).rowcount == 1:
            connection.execute(statement("peers", "disown_keys"), {"name": name})
            _replace_keys(connection, name, keys)
        elif not _is_so(connection, "used_by", asked):
            raise NotAdmitted(
                "the code is not one that is open for this name",
                where=name,
                why="it was mistyped, used, has expired, or is for another name",
                hint=f"dbsync nodes invite {name}   (at the upstream, for a new one)",
            )
    found = find(connection, name)
    assert found is not None
    return found


def rotate(connection: psycopg.Connection, name: str, keys: PublicKeys) -> None:
    """Give a node other keys; the ones before are refused from now on."""
    with connection.transaction():
        _replace_keys(connection, name, keys)


def peers(connection: psycopg.Connection) -> tuple[Peer, ...]:
    """Give everybody who is known here, by name."""
    return _peers(connection, "peers", {"name": None})


def find(connection: psycopg.Connection, name: str) -> Peer | None:
    """Give somebody by name."""
    return next(iter(_peers(connection, "peers", {"name": name})), None)


def peer_of_key(connection: psycopg.Connection, key_id: str) -> Peer | None:
    """Give whose key it is now; also somebody who is revoked, for the caller to tell him so."""
    return next(iter(_peers(connection, "peer_of_key", {"key_id": key_id})), None)


def sender_of_key(connection: psycopg.Connection, key_id: str) -> Peer | None:
    """Give whose bundle it is that this key signed, with this key; also by one that was rotated out meanwhile."""
    return next(iter(_peers(connection, "sender_of_key", {"key_id": key_id})), None)


def revoke(connection: psycopg.Connection, name: str, why: str) -> None:
    """Take nothing more of a node, from now on."""
    if connection.execute(statement("peers", "revoke"), {"name": name, "why": why}).rowcount != 1:
        raise _unknown(name, "nobody of that name is known here, or it is revoked already")


def rename(connection: psycopg.Connection, name: str, to: str) -> None:
    """Know a node by another name; batches that it brought under the old one stay under that."""
    if find(connection, to) is not None:
        raise _unknown(to, "there is one of that name")
    if connection.execute(statement("peers", "rename"), {"name": name, "to": to}).rowcount != 1:
        raise _unknown(name, "nobody of that name is known here")


def was_called(connection: psycopg.Connection, peer: Peer, name: str) -> bool:
    """Say whether a node had this name before: what it signed under that may be under way for weeks."""
    if peer.lineage is None:
        return False
    row = connection.execute(statement("peers", "was_called"), {"lineage": peer.lineage, "name": name}).fetchone()
    return row is not None and bool(row[0])


def first_use(connection: psycopg.Connection, key_id: str, nonce: str) -> bool:
    """Use up a request's nonce; False when that was done before."""
    connection.execute(statement("peers", "forget_nonces"), {"late": LATE})
    return connection.execute(statement("peers", "first_use"), {"key_id": key_id, "nonce": nonce}).rowcount == 1


def note_seen(connection: psycopg.Connection, name: str) -> None:
    """Note that a node spoke just now, once a minute."""
    connection.execute(statement("peers", "note_seen"), {"name": name})


def owns_lineage(connection: psycopg.Connection, name: str, lineage: UUID) -> bool:
    """Say whether a database is this node's; one that is nobody's becomes the node's if it has none yet."""
    owner = lineage_owner(connection, lineage)
    if owner is not None:
        return owner == name
    with suppress(errors.UniqueViolation):  # another one's, since a moment ago
        connection.execute(statement("peers", "bind_lineage"), {"name": name, "lineage": lineage})
    return lineage_owner(connection, lineage) == name


def lineage_owner(connection: psycopg.Connection, lineage: UUID) -> str | None:
    """Name the node whose a database is; None where it is nobody's yet."""
    row = connection.execute(statement("peers", "lineage_owner"), {"lineage": lineage}).fetchone()
    return None if row is None else str(row[0])


def pin(
    connection: psycopg.Connection, name: str, keys: PublicKeys, *, replace: bool = False, role: Role = Role.UPSTREAM
) -> None:
    """Keep the keys of the upstream or of a relay, and believe nobody else's.

    Others replace those only where ``replace``, or after it was revoked here.
    """
    with connection.transaction():
        before = find(connection, name)
        believed = before is not None and before.keys is not None and before.revoked_at is None
        if before is not None and believed and before.keys != keys and not replace:
            raise Refusal(
                f"other keys of {name} are pinned here",
                where="source",
                why="the upstream was made anew, or somebody else answers in its place",
                hint="ask its operator for the fingerprint (dbsync nodes invite shows it), then: dbsync enrol --replace",
            )
        if connection.execute(statement("peers", "pin"), {"name": name, "role": role}).rowcount != 1:
            raise _unknown(name, "a node that brings batches here has that name")
        if before is None or before.keys != keys:
            _replace_keys(connection, name, keys)


def pinned(connection: psycopg.Connection, name: str, role: Role = Role.UPSTREAM) -> Peer | None:
    """Give the upstream of that name, or a relay, if its keys are pinned. Raises NotAdmitted for one that was revoked here."""
    found = ever_pinned(connection, name, role)
    if found is not None and found.revoked_at is not None:
        again = "dbsync enrol --relay URL CODE" if role is Role.RELAY else "dbsync enrol URL CODE"
        raise NotAdmitted(
            f"{name} was revoked here",
            where="source",
            why=found.revoked_why or "",
            hint=f"{again}   (with a new code of its operator, if it is to have anything again)",
        )
    return found


def ever_pinned(connection: psycopg.Connection, name: str, role: Role = Role.UPSTREAM) -> Peer | None:
    """Give the upstream of that name, or a relay, if its keys are pinned; also one that was revoked since."""
    found = find(connection, name)
    return found if found is not None and found.role is role and found.keys is not None else None


def readmission(name: str) -> str:
    """Say how a node that was revoked comes back: its old keys are never taken up again."""
    return (
        f"at the upstream: dbsync nodes invite {name}   then here, once the old keys are moved away: dbsync nodes keys --new,"
        " dbsync enrol URL CODE"
    )


def had_others(connection: psycopg.Connection, name: str) -> bool:
    """Say whether other keys of somebody were known here before."""
    return _is_so(connection, "had_others", {"name": name})


def _is_so(connection: psycopg.Connection, name: str, asked: dict[str, Any]) -> bool:
    row = connection.execute(statement("peers", name), asked).fetchone()
    return row is not None and bool(row[0])


def _replace_keys(connection: psycopg.Connection, name: str, keys: PublicKeys) -> None:
    connection.execute(statement("peers", "retire_keys"), {"name": name})
    added = connection.execute(
        statement("peers", "add_key"),
        {"key_id": keys.key_id, "name": name, "signing": keys.signing, "sealing": keys.sealing},
    )
    if added.rowcount != 1:
        raise NotAdmitted(
            "these keys were used here before",
            where=name,
            why="keys belong to one node and are never taken up again",
            hint="dbsync nodes keys --new   (at the node, once its old keys are moved away)",
        )


def _peers(connection: psycopg.Connection, name: str, asked: dict[str, Any]) -> tuple[Peer, ...]:
    query = statement("peers", name).format(columns=statement("peers", "peer_columns"))
    return tuple(_peer(row) for row in connection.execute(query, asked).fetchall())


def _peer(row: tuple[Any, ...]) -> Peer:
    name, role, lineage, passes_on, invited, expires, enrolled, revoked, why, seen, signing, sealing = row
    return Peer(
        name=name,
        role=Role(role),
        lineage=lineage,
        passes_on=passes_on,
        invited_at=invited,
        invite_expires_at=expires,
        enrolled_at=enrolled,
        revoked_at=revoked,
        revoked_why=why,
        seen_at=seen,
        keys=None if signing is None else PublicKeys(signing=signing, sealing=sealing),
    )


def _hash(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def _unknown(name: str, why: str) -> Refusal:
    return Refusal(f"nothing was done with {name}", where="nodes", why=why, hint="dbsync nodes list")
