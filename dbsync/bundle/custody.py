"""Custody notes: a middleman says, signed, that a bundle is with him. It is no receipt: the node keeps every change."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

import orjson

from dbsync.bundle.names import BundleName, read_name
from dbsync.errors import FormatError
from dbsync.identity.keys import Keys, PublicKeys, Signed

COMMENT = "dbsync custody 1"
_MEMBERS = frozenset({"version", "relay", "file", "bytes", "hash", "at"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a middleman has, and since when."""

    relay: str
    name: BundleName
    bytes: int
    hash: str
    """SHA-256 of the sealed bundle, in 64 hexadecimal digits."""
    at: datetime


def write_note(note: Note, keys: Keys) -> Signed:
    """Write and sign a note."""
    data = _dump(note)
    return Signed(data=data, signature=keys.sign(data, COMMENT))


def read_note(signed: Signed, keys: PublicKeys) -> Note:
    """Read a note by the one whose keys these are. Raises FormatError for anything else."""
    if keys.verify(signed.data, signed.signature) != COMMENT:
        raise _refused("the signature is for something else")
    try:
        found: dict[str, Any] = orjson.loads(signed.data)
        named = read_name(found["file"])
        if set(found) != _MEMBERS or named is None or named[1]:
            raise ValueError("other members")
        note = Note(
            relay=found["relay"],
            name=named[0],
            bytes=found["bytes"],
            hash=found["hash"],
            at=datetime.fromisoformat(found["at"]),
        )
        same = _dump(note) == signed.data
    except (ValueError, TypeError, KeyError, AttributeError):
        raise _refused("it cannot be read") from None
    if not same:
        raise _refused("it is not written as version 1 writes it")
    return note


def digest(file: BinaryIO) -> str:
    """Give the SHA-256 of a file in hexadecimal digits."""
    found = hashlib.sha256()
    while chunk := file.read(1 << 20):
        found.update(chunk)
    return found.hexdigest()


def _dump(note: Note) -> bytes:
    said = {
        "version": 1,
        "relay": note.relay,
        "file": note.name.file(),
        "bytes": note.bytes,
        "hash": note.hash,
        "at": note.at.isoformat(),
    }
    return orjson.dumps(said)


def _refused(why: str) -> FormatError:
    return FormatError("the custody note is not believed", where="relay", why=why)
