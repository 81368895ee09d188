"""A relay's SQLite file: opened, brought up to date, changed one at a time, and its errors in words."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from dbsync.errors import Exhausted, Interrupted, SchemaVersionError, Unreachable

VERSION = 5
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
"""
_PAPERS = """
-- What the upstream signed for a node: its receipts, its certificate.
CREATE TABLE paper (
    node        TEXT NOT NULL,
    kind        TEXT NOT NULL,
    data        BLOB NOT NULL,
    signature   BLOB NOT NULL,
    brought_at  TEXT NOT NULL,
    PRIMARY KEY (node, kind)
) STRICT;
-- Boxes that were checked here, sealed for the upstream.
CREATE TABLE list (id TEXT PRIMARY KEY, sealed BLOB NOT NULL, kept_at TEXT NOT NULL) STRICT;
"""
_PLACES = """
-- Addresses of laptops that are visited.
CREATE TABLE place (
    url         TEXT PRIMARY KEY,
    node        TEXT,
    visited_at  TEXT,
    trouble     TEXT
) STRICT;
"""
_ALERTS = """
-- What is the matter, as somebody was told.
CREATE TABLE alert (
    alert     TEXT NOT NULL,
    subject   TEXT NOT NULL,
    severity  TEXT NOT NULL,
    what      TEXT NOT NULL,
    hint      TEXT NOT NULL,
    level     INTEGER NOT NULL,
    since     TEXT NOT NULL,
    told_at   TEXT,
    trouble   TEXT,
    PRIMARY KEY (alert, subject)
) STRICT;
"""
_SEALED = """
-- Sealed papers of nodes that lie in the spool, and the upstream's answers to them.
CREATE TABLE sealed (
    file         TEXT PRIMARY KEY,
    node         TEXT NOT NULL,
    id           TEXT NOT NULL,
    kind         TEXT NOT NULL,
    received_at  TEXT NOT NULL,
    trouble      TEXT
) STRICT;
-- What was in the way of the last visit to the upstream; one row, which a full disk has room for.
CREATE TABLE visit (one INTEGER PRIMARY KEY CHECK (one = 1), trouble TEXT) STRICT;
INSERT INTO visit (one) VALUES (1);
"""
_FROM_1 = """
INSERT INTO paper SELECT node, 'receipts', data, signature, brought_at FROM receipts;
DROP TABLE receipts;
"""


_STEPS = {
    0: _SCHEMA + _PAPERS + _PLACES + _ALERTS + _SEALED,
    1: _PAPERS + _FROM_1 + _PLACES + _ALERTS + _SEALED,
    2: _PLACES + _ALERTS + _SEALED,
    3: _ALERTS + _SEALED,
    4: _SEALED,
}
"""What makes the newest version of an older one."""


class Database:
    """One connection, used by one thread at a time; every change is on the disk when it returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        with told(path):
            self._connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
        self._make(path)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is done inside, or nothing of it."""
        with self._lock, told(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk may have ended it already
                    self._connection.execute("ROLLBACK")
                raise

    def change(self, query: str, **values: object) -> int:
        """Change something; give how many rows it was."""
        with self._lock, told(self.path), closing(self._connection.execute(query, values)) as cursor:
            return cursor.rowcount

    def rows(self, query: str, **values: object) -> list[sqlite3.Row]:
        """Give what a query finds."""
        with self._lock, told(self.path), closing(self._connection.cursor()) as cursor:
            cursor.row_factory = sqlite3.Row
            return cursor.execute(query, values).fetchall()

    def _make(self, path: Path) -> None:
        with self.transaction():
            ((version,),) = self._connection.execute("PRAGMA user_version").fetchall()
            if version in _STEPS:
                for step in _STEPS[version].split(";\n"):
                    self._connection.execute(step)
                self._connection.execute("PRAGMA user_version = 5")  # VERSION; a pragma takes no parameters
            elif version != VERSION:
                raise SchemaVersionError(
                    "this relay's database is of another version",
                    where=str(path),
                    why=f"it is version {version}, and this program knows {VERSION}",
                    hint="use the dbsync that made it",
                )


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Say what SQLite met in words that help: a disk that is full, another who writes, a disk that fails."""
    try:
        yield
    except sqlite3.OperationalError as error:
        kind = _KINDS.get(error.sqlite_errorcode & 0xFF, Unreachable)
        raise kind("the relay's records were not kept or read", where=str(path), why=str(error)) from error
