"""Sealed papers: small things that one end alone can read, signed by the other under the very name they have on the stick.

So none can be given out for another: not for another node's, not for one of another kind, not an old one for a new one.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyrage
from pyrage import x25519

from dbsync.bundle import files
from dbsync.bundle.marks import mark, marked
from dbsync.bundle.names import Kind, SealedName, read_sealed_name
from dbsync.bundle.papers import read_paper, remove_paper, write_paper
from dbsync.errors import DbsyncError, FormatError
from dbsync.identity.keys import Keys, PublicKeys, Signed

LARGEST = 64 << 20
"""Bytes of a sealed paper."""


def seal(data: bytes, name: SealedName, *, keys: Keys, theirs: PublicKeys) -> Signed:
    """Seal something for those whose keys these are, and sign it under its name."""
    sealed = bytes(pyrage.encrypt(data, [x25519.Recipient.from_str(theirs.sealing)]))
    return Signed(data=sealed, signature=keys.sign(sealed, comment(name), unsigned=mark([theirs.sealing])))


def check(signed: Signed, name: SealedName, sender: PublicKeys) -> None:
    """Raise FormatError unless it is as its sender signed it, under this name."""
    try:
        said = sender.verify(signed.data, signed.signature)
    except FormatError as error:
        raise _refused(name, f"it was changed, or its signature is not its sender's: {error.why}") from None
    if said != comment(name):
        raise _refused(name, "its signature is for another file")


def unseal(signed: Signed, name: SealedName, *, own: Keys, sender: PublicKeys) -> bytes:
    """Give what its sender sealed for us. Raises FormatError for anything else."""
    check(signed, name, sender)
    try:
        return bytes(pyrage.decrypt(signed.data, [own.sealing]))
    except pyrage.DecryptError:
        raise _refused(name, "it is not for us") from None


def found(folder: Path, kind: Kind, node: str | None = None) -> list[SealedName]:
    """Name the sealed papers of one kind in a folder, of one node or all, by their files' names alone."""
    with files.told(folder, "the folder cannot be read"):
        files.refuse_link(folder)
        names = [read_sealed_name(entry.name) for entry in os.scandir(folder)]
    wanted = (name for name in names if name is not None and name.kind is kind and node in (None, name.node))
    return sorted(wanted, key=lambda name: name.file())


def write(folder: Path, name: SealedName, signed: Signed) -> None:
    """Write one, in place of what is there."""
    write_paper(folder / name.file(), signed, f"the {name.kind.value} was not written")


def read(folder: Path, name: SealedName) -> Signed:
    """Read one, of which nothing is believed yet. Raises FormatError where it was not finished."""
    signed = read_paper(folder / name.file(), f"the {name.kind.value} was not read", most=LARGEST)
    if signed is None:
        raise _refused(name, "it was not finished")
    return signed


def is_whole(folder: Path, name: SealedName, sender: PublicKeys) -> bool:
    """Say whether one is there as its sender signed it."""
    try:
        check(read(folder, name), name, sender)
    except DbsyncError:
        return False
    return True


def is_there(folder: Path, name: SealedName, signed: Signed) -> bool:
    """Say whether one is there just as it was written."""
    try:
        return read(folder, name) == signed
    except DbsyncError:
        return False


def is_for(folder: Path, name: SealedName, theirs: PublicKeys) -> bool:
    """Say whether one is there that its writer marked as sealed for these."""
    try:
        return marked(read(folder, name).signature) == mark([theirs.sealing])
    except (DbsyncError, ValueError):
        return False


def remove(folder: Path, name: SealedName) -> None:
    """Let one leave the stick."""
    remove_paper(folder / name.file())


def comment(name: SealedName) -> str:
    """Give what the signature of a paper says it is for."""
    return f"dbsync {name.kind.value} 1: {name.file()}"


def _refused(name: SealedName, why: str) -> FormatError:
    return FormatError(f"the {name.kind.value} is not used", where=name.file(), why=why, hint="let it be written again")
