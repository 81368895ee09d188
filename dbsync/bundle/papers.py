"""Small signed files on a stick: each beside its signature, which is there only when the file is whole."""

from __future__ import annotations

from pathlib import Path

from dbsync.bundle import files
from dbsync.bundle.find import SIGNATURE_BYTES
from dbsync.bundle.names import SIGNATURE
from dbsync.identity.keys import Signed

LARGEST = 1 << 20


def write_paper(path: Path, signed: Signed, what: str) -> None:
    """Write one in place of what is there; ``what`` says what was not done where the stick fails."""
    signature = path.with_name(path.name + SIGNATURE)
    with files.told(path, what):
        files.refuse_link(path.parent)
        files.remove(signature)
        files.write(path, signed.data)
        files.write(signature, signed.signature)


def read_paper(path: Path, what: str, *, most: int = LARGEST) -> Signed | None:
    """Read one, of which nothing is believed yet; None where there is none."""
    with files.told(path, what):
        files.refuse_link(path.parent)
        try:
            return Signed(
                data=files.read(path, most),
                signature=files.read(path.with_name(path.name + SIGNATURE), SIGNATURE_BYTES),
            )
        except FileNotFoundError:
            return None


def remove_paper(path: Path) -> None:
    """Let one leave the stick: its signature first, for it finishes it."""
    files.remove(path.with_name(path.name + SIGNATURE))
    files.remove(path)
