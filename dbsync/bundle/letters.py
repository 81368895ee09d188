"""A bundle as letters: cut into messages of a size that a broker takes, and put together where they come out.

A letter's headers say of which bundle it is, of which sealing of that bundle, and which part. Two sealings of the same batch are
other bytes, so parts of both are never put together; nothing that a header says is believed before the bundle's signature was
checked, which is in the last letter.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from dbsync.bundle import files
from dbsync.bundle.custody import digest
from dbsync.bundle.find import SIGNATURE_BYTES, Bundle
from dbsync.bundle.names import SIGNATURE, BundleName, read_name
from dbsync.bundle.stream import refused
from dbsync.identity.keys import signer

LETTER = 1 << 17
"""Bytes of a bundle in one letter, at most: a letter is answered as a whole, so a line has to carry one within ``service.silence``."""
IDENTITY = "Nats-Msg-Id"
"""By this header JetStream tells that a message came a moment ago."""
_NAME, _SEALING, _PART, _SIGNATURE = "Dbsync-Bundle", "Dbsync-Sealing", "Dbsync-Part", "Dbsync-Signature"
_DIGITS = re.compile(r"[0-9a-f]{16}")
_OF = re.compile(r"(\d{1,7})/(\d{1,7})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One message."""

    headers: Mapping[str, str]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What a letter says to be."""

    name: BundleName
    sealing: str
    part: int
    parts: int

    @property
    def is_last(self) -> bool:
        """Say whether the bundle ends with it."""
        return self.part == self.parts


def letters(path: Path, size: int) -> Iterator[Letter]:
    """Cut a bundle that lies in a folder beside its signature."""
    name = path.name
    with files.told_here("the bundle was not read"), files.opened(path) as file:
        sealing = digest(file)[:16]
        parts = max(1, -(-file.tell() // size))
        file.seek(0)
        for part in range(1, parts + 1):
            headers = {_NAME: name, _SEALING: sealing, _PART: f"{part}/{parts}", IDENTITY: f"{name}/{sealing}/{part}"}
            if part == parts:
                signature = path.with_name(name + SIGNATURE).read_bytes()
                headers[_SIGNATURE] = base64.b64encode(signature).decode("ascii")
            yield Letter(headers=headers, data=file.read(size))


def read_stamp(headers: Mapping[str, str]) -> Stamp | None:
    """Read what a letter says to be; None for what is none."""
    named, of = read_name(headers.get(_NAME, "")), _OF.fullmatch(headers.get(_PART, ""))
    sealing = headers.get(_SEALING, "")
    if named is None or named[1] or of is None or not _DIGITS.fullmatch(sealing):
        return None
    part, parts = int(of[1]), int(of[2])
    return Stamp(name=named[0], sealing=sealing, part=part, parts=parts) if 0 < part <= parts else None


@dataclass(kw_only=True)
class Gathering:
    """The letters of one node as they come, in a folder: at most one bundle is there at a time."""

    folder: Path
    node: str
    most: int
    """Bytes of a bundle."""
    stamp: Stamp | None = None
    """Of the newest letter of a bundle that is not whole yet."""
    seqs: list[int] = field(default_factory=list)
    """Where its letters lie at the broker."""
    _size: int = 0

    def begin(self, seq: int) -> None:
        """Put down what is there, and begin with a letter."""
        self.stamp, self.seqs, self._size = None, [seq], 0

    def end(self) -> None:
        """Have nothing of a bundle there."""
        self.stamp, self.seqs = None, []

    def follows(self, stamp: Stamp) -> bool:
        """Say whether a letter goes on with the bundle that is not whole yet."""
        before = self.stamp
        return before is not None and (before.name, before.sealing, before.parts, before.part + 1) == (
            stamp.name,
            stamp.sealing,
            stamp.parts,
            stamp.part,
        )

    def add(self, stamp: Stamp, headers: Mapping[str, str], data: bytes) -> Bundle | None:
        """Add a letter; give the bundle if that was its last. Raises FormatError for what no honest node sends."""
        if stamp.name.node != self.node:
            raise refused("it is another node's", f"it lies where {self.node} leaves its own")
        if self.stamp is None and stamp.part != 1:
            raise refused("its beginning is not there", f"part {stamp.part} of {stamp.parts} comes first")
        self._size += len(data)
        if self._size > self.most:
            raise refused("it is too large", f"serve.max_batch allows {self.most:,} bytes")
        path = self.folder / stamp.name.file()
        with files.told_here("the bundle was not written"), _opened(path, stamp) as file:
            file.write(data)
        self.stamp = stamp
        return self._finished(path, headers) if stamp.is_last else None

    def _finished(self, path: Path, headers: Mapping[str, str]) -> Bundle:
        assert self.stamp is not None
        name = self.stamp.name
        try:
            signature = base64.b64decode(headers.get(_SIGNATURE, ""), validate=True)
            key_id = signer(signature[:SIGNATURE_BYTES])
        except (ValueError, IndexError):
            raise refused("its signature is none") from None
        with files.told_here("the bundle was not written"):
            path.with_name(path.name + SIGNATURE).write_bytes(signature)
        return Bundle(name=name, paths=(path,), key_id=key_id)


def _opened(path: Path, stamp: Stamp) -> BinaryIO:
    return path.open("wb" if stamp.part == 1 else "ab")
