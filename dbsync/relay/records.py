"""What a relay knows: whom it lets in, what it holds, what it has to bring back. SQLite, beside its spool."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from dbsync.bundle.names import BundleName
from dbsync.errors import Interrupted, NotAdmitted, Refusal
from dbsync.identity.keys import PublicKeys, Signed
from dbsync.identity.lateness import LATE
from dbsync.identity.registry import Peer, Role
from dbsync.relay.database import Database, told
from dbsync.relay.papers import Papers
from dbsync.relay.places import Places
from dbsync.relay.told import Told

SECRET_BYTES = 10


class Paper(StrEnum):
    """What an upstream signs for a node, and a relay carries to it."""

    RECEIPTS = "receipts"
    CERTIFICATE = "certificate"
    LISTS = "lists"
    """Which lists of the node have arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A bundle in custody."""

    name: BundleName
    bytes: int
    hash: str
    received_at: datetime
    delivered_at: datetime | None
    trouble: str | None
    """Why the upstream did not take it, when it was brought there last."""


class Records:
    """What the relay's database holds."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        self.places = Places(self._database)
        self.told = Told(self._database)
        self.papers = Papers(self._database)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    # Whom it knows.

    def invite(self, name: str, expires: timedelta) -> bytes:
        """Let a node come, once, within a time; give the secret it must bring, which is kept nowhere."""
        secret = secrets.token_bytes(SECRET_BYTES)
        done = self._database.change(
            "INSERT INTO peer (name, role, invite, invited_at, invite_expires_at)"
            " VALUES (:name, 'node', :invite, :now, :expires)"
            " ON CONFLICT (name) DO UPDATE SET invite = excluded.invite, invited_at = excluded.invited_at,"
            " invite_expires_at = excluded.invite_expires_at, enrolled_at = NULL"
            " WHERE role = 'node' AND (enrolled_at IS NULL OR revoked_at IS NOT NULL)",
            name=name,
            invite=_hash(secret),
            now=_text(now()),
            expires=_text(now() + expires),
        )
        if done != 1:
            raise Refusal(
                f"{name} is enrolled already",
                where="relay",
                why="a second invitation would let another machine come under its name",
                hint=f"dbsync relay revoke {name}   (then invite it again)",
            )
        return secret

    def enrol(self, name: str, secret: bytes, keys: PublicKeys) -> None:
        """Take a node in that brings its secret; raises NotAdmitted, in the same words whatever was wrong.

        The same node with the same keys may come again: the line broke before it heard that it is in.
        """
        asked = {
            "name": name,
            "invite": _hash(secret),
            "now": _text(now()),
            "key_id": keys.key_id,
            "signing": keys.signing,
            "sealing": keys.sealing,
        }
        with self._database.transaction():
            done = self._database.change(
                "UPDATE peer SET enrolled_at = :now, revoked_at = NULL, revoked_why = NULL, key_id = :key_id,"
                " signing = :signing, sealing = :sealing"
                " WHERE name = :name AND role = 'node' AND invite = :invite AND invite_expires_at > :now"
                " AND (enrolled_at IS NULL OR (signing = :signing AND sealing = :sealing AND revoked_at IS NULL))"
                " AND NOT EXISTS (SELECT 1 FROM peer other WHERE other.key_id = :key_id AND other.name <> :name)",
                **asked,
            )
        if done != 1:
            raise NotAdmitted(
                "the code is not one that is open for this name",
                where=name,
                why="it was mistyped, used, has expired, or is for another name",
                hint=f"dbsync relay invite {name}   (at the relay, for a new one)",
            )

    def pin(self, name: str, keys: PublicKeys) -> None:
        """Keep the upstream's keys, in place of those of any before."""
        with self._database.transaction():
            self._database.change("DELETE FROM peer WHERE role = 'upstream'")
            self._database.change(
                "INSERT INTO peer (name, role, key_id, signing, sealing, invited_at, enrolled_at)"
                " VALUES (:name, 'upstream', :key_id, :signing, :sealing, :now, :now)",
                name=name,
                key_id=keys.key_id,
                signing=keys.signing,
                sealing=keys.sealing,
                now=_text(now()),
            )

    def upstream(self) -> Peer | None:
        """Give the upstream, once its keys are pinned."""
        return next((peer for peer in self._peers() if peer.role is Role.UPSTREAM), None)

    def nodes(self) -> list[Peer]:
        """Give the nodes, by name."""
        return [peer for peer in self._peers() if peer.role is Role.NODE]

    def node(self, name: str) -> Peer | None:
        """Give a node by name."""
        return next((peer for peer in self.nodes() if peer.name == name), None)

    def of_key(self, key_id: str) -> Peer | None:
        """Give the node whose key it is; also one that is revoked, for the caller to tell it so."""
        return next((peer for peer in self.nodes() if peer.keys and peer.keys.key_id == key_id), None)

    def rotate(self, name: str, keys: PublicKeys) -> None:
        """Give a node other keys; the ones before are refused from now on."""
        done = self._database.change(
            "UPDATE peer SET key_id = :key_id, signing = :signing, sealing = :sealing WHERE name = :name AND role = 'node'"
            " AND NOT EXISTS (SELECT 1 FROM peer other WHERE other.key_id = :key_id AND other.name <> :name)",
            name=name,
            key_id=keys.key_id,
            signing=keys.signing,
            sealing=keys.sealing,
        )
        if done != 1:
            raise NotAdmitted("these keys are another node's", where=name)

    def revoke(self, name: str, why: str) -> None:
        """Take nothing more of a node, from now on."""
        done = self._database.change(
            "UPDATE peer SET revoked_at = :now, revoked_why = :why, invite = NULL"
            " WHERE name = :name AND role = 'node' AND revoked_at IS NULL",
            name=name,
            why=why,
            now=_text(now()),
        )
        if done != 1:
            raise Refusal(
                f"nothing was done with {name}",
                where="relay",
                why="no node of that name is known here, or it is revoked",
            )

    def first_use(self, key_id: str, nonce: str) -> bool:
        """Use up a request's nonce; False when that was done before."""
        with self._database.transaction():
            self._database.change("DELETE FROM nonce WHERE at < :old", old=_text(now() - 2 * LATE))
            return (
                self._database.change(
                    "INSERT INTO nonce (key_id, nonce, at) VALUES (:key_id, :nonce, :at) ON CONFLICT DO NOTHING",
                    key_id=key_id,
                    nonce=nonce,
                    at=_text(now()),
                )
                == 1
            )

    def note_seen(self, name: str) -> None:
        """Note that somebody spoke just now."""
        self._database.change("UPDATE peer SET seen_at = :now WHERE name = :name", name=name, now=_text(now()))

    # What it holds.

    def take(self, name: BundleName, size: int, digest: str) -> Held:
        """Note that a bundle is in custody; one that is there already under its name is taken for another export of it."""
        at = now()
        self._database.change(
            "INSERT INTO bundle (file, node, life, first, last, bytes, hash, received_at)"
            " VALUES (:file, :node, :life, :first, :last, :bytes, :hash, :at)"
            " ON CONFLICT (file) DO UPDATE SET bytes = excluded.bytes, hash = excluded.hash,"
            " received_at = excluded.received_at, delivered_at = NULL, trouble = NULL",
            file=name.file(),
            node=name.node,
            life=name.life,
            first=name.first,
            last=name.last,
            bytes=size,
            hash=digest,
            at=_text(at),
        )
        return Held(name=name, bytes=size, hash=digest, received_at=at, delivered_at=None, trouble=None)

    def held(self, node: str | None = None) -> list[Held]:
        """Give the bundles in custody, of one node or all: by node and life, each life's by their first number."""
        rows = self._database.rows(
            "SELECT * FROM bundle WHERE delivered_at IS NULL AND (:node IS NULL OR node = :node)"
            " ORDER BY node, life, first, last",
            node=node,
        )
        return [_held(row) for row in rows]

    def delivered(self, name: BundleName) -> None:
        """Note that the upstream has a bundle; custody of it is over."""
        self._database.change(
            "UPDATE bundle SET delivered_at = :now, trouble = NULL WHERE file = :file",
            file=name.file(),
            now=_text(now()),
        )

    def drop(self, name: BundleName) -> bool:
        """Forget a bundle in custody; False where there is none of that name."""
        return (
            self._database.change("DELETE FROM bundle WHERE file = :file AND delivered_at IS NULL", file=name.file())
            == 1
        )

    def troubled(self, name: BundleName, trouble: str) -> None:
        """Note why the upstream did not take a bundle."""
        self._database.change(
            "UPDATE bundle SET trouble = :trouble WHERE file = :file", file=name.file(), trouble=trouble
        )

    def keep(self, node: str, kind: Paper, signed: Signed) -> None:
        """Keep what the upstream signed for a node, in place of what it did before."""
        self._database.change(
            "INSERT INTO paper (node, kind, data, signature, brought_at) VALUES (:node, :kind, :data, :signature, :now)"
            " ON CONFLICT (node, kind) DO UPDATE SET data = excluded.data, signature = excluded.signature,"
            " brought_at = excluded.brought_at",
            node=node,
            kind=kind.value,
            data=signed.data,
            signature=signed.signature,
            now=_text(now()),
        )

    def paper(self, node: str, kind: Paper) -> Signed | None:
        """Give what the upstream signed for a node."""
        asked = "SELECT data, signature FROM paper WHERE node = :node AND kind = :kind"
        row = next(iter(self._database.rows(asked, node=node, kind=kind.value)), None)
        return None if row is None else Signed(data=row["data"], signature=row["signature"])

    def keep_list(self, identity: str, sealed: bytes) -> None:
        """Keep a list until the upstream has it."""
        self._database.change(
            "INSERT INTO list (id, sealed, kept_at) VALUES (:id, :sealed, :now)",
            id=identity,
            sealed=sealed,
            now=_text(now()),
        )

    def lists(self) -> list[tuple[str, bytes]]:
        """Give the lists that the upstream does not have, by their ids, oldest first."""
        rows = self._database.rows("SELECT id, sealed FROM list ORDER BY kept_at, id")
        return [(row["id"], row["sealed"]) for row in rows]

    def list_sent(self, identity: str) -> None:
        """Let go of a list that the upstream has."""
        self._database.change("DELETE FROM list WHERE id = :id", id=identity)

    def note_visit(self, trouble: str | None) -> None:
        """Note that a visit to the upstream came to its end, or why not."""
        self._database.change("UPDATE visit SET trouble = :trouble", trouble=trouble)

    def in_the_way(self) -> str | None:
        """Say why the last visit to the upstream did not come to its end."""
        (row,) = self._database.rows("SELECT trouble FROM visit")
        return None if row["trouble"] is None else str(row["trouble"])

    @contextmanager
    def visit(self, patience: float) -> Iterator[None]:
        """Be the only one who visits the upstream, the service or a person; raises Interrupted while another one does."""
        with self._alone("visit", patience, "another visit to the upstream is under way"):
            yield

    @contextmanager
    def taking(self, patience: float) -> Iterator[None]:
        """Be the only process that takes bundles into the spool; raises Interrupted while another one does."""
        with self._alone("taking", patience, "another dbsync takes bundles in here"):
            yield

    @contextmanager
    def _alone(self, what: str, patience: float, busy: str) -> Iterator[None]:
        """Hold a lock of SQLite in a file of its own: it ends with the process, however that ends."""
        path = self._database.path.with_name(f"{what}.lock")
        with told(path):
            lock = sqlite3.connect(path, timeout=patience, isolation_level=None)
        with closing(lock):
            try:
                with told(path):
                    lock.execute("BEGIN EXCLUSIVE")
            except Interrupted as error:
                raise Interrupted(busy, where="relay", hint="wait for it") from error
            yield

    def _peers(self) -> list[Peer]:
        return [_peer(row) for row in self._database.rows("SELECT * FROM peer ORDER BY name")]


def now() -> datetime:
    """Give the time by this computer's clock."""
    return datetime.now(UTC)


def _peer(row: sqlite3.Row) -> Peer:
    known = row["signing"] is not None
    invited = _moment(row["invited_at"])
    assert invited is not None
    return Peer(
        name=row["name"],
        role=Role(row["role"]),
        lineage=None,
        passes_on=False,
        invited_at=invited,
        invite_expires_at=_moment(row["invite_expires_at"]),
        enrolled_at=_moment(row["enrolled_at"]),
        revoked_at=_moment(row["revoked_at"]),
        revoked_why=row["revoked_why"],
        seen_at=_moment(row["seen_at"]),
        keys=PublicKeys(signing=row["signing"], sealing=row["sealing"]) if known else None,
    )


def _held(row: sqlite3.Row) -> Held:
    received = _moment(row["received_at"])
    assert received is not None
    return Held(
        name=BundleName(node=row["node"], life=row["life"], first=row["first"], last=row["last"]),
        bytes=row["bytes"],
        hash=row["hash"],
        received_at=received,
        delivered_at=_moment(row["delivered_at"]),
        trouble=row["trouble"],
    )


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _moment(text: Any) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _hash(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()
