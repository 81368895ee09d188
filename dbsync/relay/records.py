"""What a relay knows: whom it lets in, what it holds, what it has to bring back. SQLite, beside its spool."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dbsync.bundle.names import BundleName
from dbsync.errors import Exhausted, Interrupted, NotAdmitted, Refusal, SchemaVersionError, Unreachable
from dbsync.identity.keys import PublicKeys, Signed
from dbsync.identity.messages import LATE
from dbsync.identity.registry import Peer, Role

VERSION = 1
SECRET_BYTES = 10
_BUSY = 10.0
"""Seconds in which another process that writes, such as a command beside the service, comes to its end."""

_KINDS = {sqlite3.SQLITE_FULL: Exhausted, sqlite3.SQLITE_BUSY: Interrupted}

_SCHEMA = """
CREATE TABLE peer (
    name               TEXT PRIMARY KEY,
    role               TEXT NOT NULL CHECK (role IN ('node', 'upstream')),
    key_id             TEXT UNIQUE,
    signing            TEXT,
    sealing            TEXT,
    invite             BLOB,
    invited_at         TEXT NOT NULL,
    invite_expires_at  TEXT,
    enrolled_at        TEXT,
    revoked_at         TEXT,
    revoked_why        TEXT,
    seen_at            TEXT
) STRICT;
CREATE TABLE nonce (key_id TEXT NOT NULL, nonce TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY (key_id, nonce)) STRICT;
CREATE INDEX nonce_at ON nonce (at);
-- A bundle in the spool; one that was delivered is remembered without its file.
CREATE TABLE bundle (
    file          TEXT PRIMARY KEY,
    node          TEXT NOT NULL,
    life          TEXT NOT NULL,
    first         INTEGER NOT NULL,
    last          INTEGER NOT NULL,
    bytes         INTEGER NOT NULL,
    hash          TEXT NOT NULL,
    received_at   TEXT NOT NULL,
    delivered_at  TEXT,
    trouble       TEXT
) STRICT;
CREATE INDEX bundle_waiting ON bundle (node, life, first) WHERE delivered_at IS NULL;
-- Receipts as the upstream signed them.
CREATE TABLE receipts (
    node        TEXT PRIMARY KEY,
    data        BLOB NOT NULL,
    signature   BLOB NOT NULL,
    brought_at  TEXT NOT NULL
) STRICT;
"""


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
    """The relay's database. One connection, used by one thread at a time; every change is on the disk when it returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._make(path)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()

    # Whom it knows.

    def invite(self, name: str, expires: timedelta) -> bytes:
        """Let a node come, once, within a time; give the secret it must bring, which is kept nowhere."""
        secret = secrets.token_bytes(SECRET_BYTES)
        done = self._change(
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
        with self._transaction():
            done = self._change(
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
        with self._transaction():
            self._change("DELETE FROM peer WHERE role = 'upstream'")
            self._change(
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
        done = self._change(
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
        done = self._change(
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
        with self._transaction():
            self._change("DELETE FROM nonce WHERE at < :old", old=_text(now() - 2 * LATE))
            return (
                self._change(
                    "INSERT INTO nonce (key_id, nonce, at) VALUES (:key_id, :nonce, :at) ON CONFLICT DO NOTHING",
                    key_id=key_id,
                    nonce=nonce,
                    at=_text(now()),
                )
                == 1
            )

    def note_seen(self, name: str) -> None:
        """Note that somebody spoke just now."""
        self._change("UPDATE peer SET seen_at = :now WHERE name = :name", name=name, now=_text(now()))

    # What it holds.

    def take(self, name: BundleName, size: int, digest: str) -> Held:
        """Note that a bundle is in custody; one that is there already under its name is taken for another export of it."""
        at = now()
        self._change(
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
        rows = self._rows(
            "SELECT * FROM bundle WHERE delivered_at IS NULL AND (:node IS NULL OR node = :node)"
            " ORDER BY node, life, first, last",
            node=node,
        )
        return [_held(row) for row in rows]

    def delivered(self, name: BundleName) -> None:
        """Note that the upstream has a bundle; custody of it is over."""
        self._change(
            "UPDATE bundle SET delivered_at = :now, trouble = NULL WHERE file = :file",
            file=name.file(),
            now=_text(now()),
        )

    def drop(self, name: BundleName) -> bool:
        """Forget a bundle in custody; False where there is none of that name."""
        return self._change("DELETE FROM bundle WHERE file = :file AND delivered_at IS NULL", file=name.file()) == 1

    def troubled(self, name: BundleName, trouble: str) -> None:
        """Note why the upstream did not take a bundle."""
        self._change("UPDATE bundle SET trouble = :trouble WHERE file = :file", file=name.file(), trouble=trouble)

    def keep_receipts(self, node: str, signed: Signed) -> None:
        """Keep a node's receipts as the upstream signed them, in place of those before."""
        self._change(
            "INSERT INTO receipts (node, data, signature, brought_at) VALUES (:node, :data, :signature, :now)"
            " ON CONFLICT (node) DO UPDATE SET data = excluded.data, signature = excluded.signature,"
            " brought_at = excluded.brought_at",
            node=node,
            data=signed.data,
            signature=signed.signature,
            now=_text(now()),
        )

    def receipts(self, node: str) -> Signed | None:
        """Give a node's receipts."""
        row = next(iter(self._rows("SELECT data, signature FROM receipts WHERE node = :node", node=node)), None)
        return None if row is None else Signed(data=row["data"], signature=row["signature"])

    @contextmanager
    def visit(self, patience: float) -> Iterator[None]:
        """Be the only one who visits the upstream, the service or a person; raises Interrupted while another one does.

        A lock of SQLite in a file of its own: it ends with the process, however that ends.
        """
        with closing(
            sqlite3.connect(self._path.with_name("visit.lock"), timeout=patience, isolation_level=None)
        ) as lock:
            try:
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                raise Interrupted(
                    "another visit to the upstream is under way", where="relay", hint="wait for it"
                ) from error
            yield

    # How.

    def _make(self, path: Path) -> None:
        with self._transaction():
            ((version,),) = self._connection.execute("PRAGMA user_version").fetchall()
            if version == 0:
                for step in _SCHEMA.split(";\n"):
                    self._connection.execute(step)
                self._connection.execute("PRAGMA user_version = 1")  # VERSION; a pragma takes no parameters
            elif version != VERSION:
                raise SchemaVersionError(
                    "this relay's database is of another version",
                    where=str(path),
                    why=f"it is version {version}, and this program knows {VERSION}",
                    hint="use the dbsync that made it",
                )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, _told(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk may have ended it already
                    self._connection.execute("ROLLBACK")
                raise

    def _change(self, query: str, **values: object) -> int:
        with self._lock, _told(self._path), closing(self._connection.execute(query, values)) as cursor:
            return cursor.rowcount

    def _rows(self, query: str, **values: object) -> list[sqlite3.Row]:
        with self._lock, _told(self._path), closing(self._connection.cursor()) as cursor:
            cursor.row_factory = sqlite3.Row
            return cursor.execute(query, values).fetchall()

    def _peers(self) -> list[Peer]:
        return [_peer(row) for row in self._rows("SELECT * FROM peer ORDER BY name")]


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say what SQLite met in words that help: a disk that is full, another who writes, a disk that fails."""
    try:
        yield
    except sqlite3.OperationalError as error:
        kind = _KINDS.get(error.sqlite_errorcode & 0xFF, Unreachable)
        raise kind("the relay's records were not kept or read", where=str(path), why=str(error)) from error


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
