"""Rotation: a node changes its own keys. The old one asks, the new one proves that it is at hand. See docs/reference/http.md."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from dbsync.errors import ConfigError, FormatError
from dbsync.identity.keys import Keys, PublicKeys, Unfinished, exist, forget, next_to

COMMENT = "dbsync rotation 1"
SUCCESSION = "dbsync succession 1"
TOLD = 10
"""Keys of before for which a node says that its own have taken their place, the newest first."""


def proof(old: PublicKeys, new: Keys) -> bytes:
    """Prove that whoever has the old key has the new one too; bound to both, it proves nothing elsewhere."""
    return new.sign(_said(old, new.public), COMMENT)


def verify_proof(old: PublicKeys, new: PublicKeys, signature: bytes) -> None:
    """Check a proof. Raises FormatError."""
    if new.verify(_said(old, new), signature) != COMMENT:
        raise FormatError("the proof is for something else", where="keys")


@dataclass(frozen=True, slots=True, kw_only=True)
class Succession:
    """A node's word, signed by keys of before, that its present keys have taken their place: for whoever was not there to be told."""

    old: str
    """The name of the key of before."""
    signature: bytes
    """Its own."""
    proof: bytes
    """The present key's."""


def successions(folder: Path) -> Iterator[Succession]:
    """Say that a node's keys have taken the place of each of those that lie beside them."""
    own = Keys.load(folder)
    with suppress(OSError):
        beside = [path for path in folder.parent.glob(f"{folder.name}.*") if path.is_dir() and path != next_to(folder)]
        for path in sorted(beside, key=lambda path: path.stat().st_mtime, reverse=True)[:TOLD]:
            with suppress(ConfigError):  # put away by somebody, or damaged: then there is nothing to be said for it
                old = Keys.load(path)
                signature = old.sign(_said(old.public, own.public), SUCCESSION)
                yield Succession(old=old.public.key_id, signature=signature, proof=proof(old.public, own))


def verify_succession(old: PublicKeys, new: PublicKeys, said: Succession) -> None:
    """Check that whoever had the old keys gives these for his own, and has them. Raises FormatError."""
    if old.verify(_said(old, new), said.signature) != SUCCESSION:
        raise FormatError("the signature is for something else", where="keys")
    verify_proof(old, new, said.proof)


def prepared(folder: Path) -> Keys:
    """Make a node's next keys beside its own, or give those that were made before: whoever was asked may know them.

    Nobody was told of those that were not finished.
    """
    beside = next_to(folder)
    with suppress(Unfinished):
        return Keys.load(beside)
    forget(beside)
    Keys.generate().save(beside)
    return Keys.load(beside)


def is_half_done(folder: Path) -> bool:
    """Say whether the next keys only have to take their place: a crash came between."""
    return exist(next_to(folder)) and not exist(folder)


def settle(folder: Path, old: PublicKeys | None) -> None:
    """Put the next keys in the place of the old ones, which stay beside. A crash between leaves :func:`is_half_done`."""
    try:
        if old is not None:
            folder.rename(folder.with_name(f"{folder.name}.{old.key_id}"))
        next_to(folder).rename(folder)
    except OSError as error:
        raise ConfigError(
            "the new keys did not take their place",
            where=str(folder),
            why=(error.strerror or str(error)).lower(),
            hint="dbsync nodes rotate   (again, as who may write there)",
        ) from None


def _said(old: PublicKeys, new: PublicKeys) -> bytes:
    return orjson.dumps({"old": old.key_id, "signing": new.signing, "sealing": new.sealing})
