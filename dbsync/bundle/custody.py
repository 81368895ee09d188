"""Custody notes: a middleman says, signed, that a bundle is with him. It is no receipt: the node keeps every change."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

from dbsync.bundle.names import BundleName, read_name
from dbsync.identity.forms import Form
from dbsync.identity.keys import Keys, PublicKeys, Signed
from dbsync.model.strict import exactly

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
    return _FORM.write(note, keys)


def read_note(signed: Signed, keys: PublicKeys) -> Note:
    """Read a note by the one whose keys these are. Raises FormatError for anything else."""
    return _FORM.read(signed, keys)


def digest(file: BinaryIO) -> str:
    """Give the SHA-256 of a file in hexadecimal digits."""
    found = hashlib.sha256()
    while chunk := file.read(1 << 20):
        found.update(chunk)
    return found.hexdigest()


def _say(note: Note) -> Mapping[str, Any]:
    return {
        "version": 1,
        "relay": note.relay,
        "file": note.name.file(),
        "bytes": note.bytes,
        "hash": note.hash,
        "at": note.at.isoformat(),
    }


def _understand(said: Mapping[str, Any]) -> Note:
    found = exactly(said, _MEMBERS)
    named = read_name(found["file"])
    if named is None or named[1]:
        raise ValueError("no bundle's name")
    return Note(
        relay=found["relay"],
        name=named[0],
        bytes=found["bytes"],
        hash=found["hash"],
        at=datetime.fromisoformat(found["at"]),
    )


_FORM = Form(name="the custody note", comment="dbsync custody 1", say=_say, understand=_understand)
