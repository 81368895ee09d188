"""Rotation: a node changes its own keys. The old one asks, the new one proves that it is at hand. See docs/reference/http.md."""

from __future__ import annotations

from pathlib import Path

import orjson

from dbsync.errors import ConfigError, FormatError
from dbsync.identity.keys import Keys, PublicKeys, exist, next_to

COMMENT = "dbsync rotation 1"


def proof(old: PublicKeys, new: Keys) -> bytes:
    """Prove that whoever has the old key has the new one too; bound to both, it proves nothing elsewhere."""
    return new.sign(_said(old, new.public), COMMENT)


def verify_proof(old: PublicKeys, new: PublicKeys, signature: bytes) -> None:
    """Check a proof. Raises FormatError."""
    if new.verify(_said(old, new), signature) != COMMENT:
        raise FormatError("the proof is for something else", where="keys")


def prepared(folder: Path) -> Keys:
    """Make a node's next keys beside its own, or give those that were made before: whoever was asked may know them."""
    beside = next_to(folder)
    if not exist(beside):
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
