"""A node's two key pairs: one signs (minisign, Ed25519), one opens what was sealed to it (age, X25519).

They are files of their own, as the stock programs write them: ``minisign -S -s keys/minisign.key`` and
``age -d -i keys/age.key`` work with them. Neither has a passphrase, for the service starts without a person; the folder
belongs to the service alone.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import minisign
import pyrage
from pyrage import IdentityError, RecipientError, x25519

from dbsync import posix
from dbsync.errors import ConfigError, FormatError

SIGNING_FILE = "minisign.key"
SEALING_FILE = "age.key"
_ALGORITHM = slice(0, 2)
_KEY_ID = slice(2, 10)
"""Where in the bytes of a minisign key or signature the name of the key is."""
_REST = slice(10, None)
_SEED = slice(62, 94)
"""Where in the bytes of a minisign secret key that has no passphrase the Ed25519 seed is."""


class Unfinished(ConfigError):
    """Keys of which a part is missing, or damaged: while they were made a disk was full, or the power failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKeys:
    """What others know of a node: how to verify what it signs, and how to seal something to it."""

    signing: str
    """A minisign public key, as ``minisign -P`` takes it: base64 of 42 bytes."""
    sealing: str
    """An age recipient, as ``age -r`` takes it: ``age1...``."""

    def __post_init__(self) -> None:
        try:
            minisign.PublicKey.from_base64(self.signing)
            x25519.Recipient.from_str(self.sealing)
        except (minisign.Error, minisign.ParseError, RecipientError, ValueError) as error:
            raise FormatError("these are no public keys", where="keys", why=str(error)) from None

    @property
    def key_id(self) -> str:
        """Name the signing key as minisign does: 16 hexadecimal digits."""
        return base64.b64decode(self.signing)[_KEY_ID][::-1].hex().upper()

    @property
    def raw_signing_key(self) -> bytes:
        """Give the 32 bytes of the Ed25519 public key."""
        return base64.b64decode(self.signing)[_REST]

    @property
    def fingerprint(self) -> bytes:
        """Give 20 bytes that stand for both keys, short enough to be typed: the head of their SHA-256."""
        return hashlib.sha256(f"{self.signing} {self.sealing}".encode()).digest()[:20]

    def seal(self, data: bytes) -> bytes:
        """Seal something small, so that whoever has the sealing key's other half can open it and nobody else."""
        return bytes(pyrage.encrypt(data, [x25519.Recipient.from_str(self.sealing)]))

    def verify(self, data: bytes, signature: bytes) -> str:
        """Check what :meth:`Keys.sign` made of the very same bytes; give its trusted comment. Raises FormatError."""
        try:
            read = minisign.Signature.from_bytes(signature)
            minisign.PublicKey.from_base64(self.signing).verify(data, read)
        except (minisign.Error, minisign.ParseError, minisign.VerifyError) as error:
            raise FormatError("the signature is not the expected one", where="signature", why=str(error)) from None
        return str(read.trusted_comment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """Something small as it was signed (receipts, a custody note, a certificate): ``minisign -V`` checks it."""

    data: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Keys:
    """A node's own key pairs. Never printed, never logged."""

    signing: minisign.SecretKey
    sealing: x25519.Identity

    @classmethod
    def generate(cls) -> Self:
        """Make new ones."""
        return cls(signing=minisign.KeyPair.generate().secret_key, sealing=x25519.Identity.generate())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read them; raises Unfinished where they are missing or damaged, ConfigError where they are open to others."""
        signing, sealing = (_read(folder / name) for name in (SIGNING_FILE, SEALING_FILE))
        try:
            return cls(
                signing=minisign.SecretKey.from_bytes(signing),
                sealing=x25519.Identity.from_str(sealing.decode("ascii").splitlines()[-1]),
            )
        except (minisign.Error, minisign.ParseError, IdentityError, ValueError, IndexError):
            raise Unfinished(
                "this node's keys cannot be read",
                where=str(folder),
                why="they are damaged",
                hint="put them back from a copy, or: dbsync nodes keys --new, in another folder, and have the node invited anew",
            ) from None

    def save(self, folder: Path) -> None:
        """Write them into a folder that nobody else may enter, both or none; raises ConfigError where there are keys already."""
        sealing = folder / SEALING_FILE
        with _told(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write(sealing, f"# public key: {self.public.sealing}\n{self.sealing}\n".encode())
        try:
            _write(folder / SIGNING_FILE, bytes(self.signing) + b"\n")
        except ConfigError:
            sealing.unlink()
            raise

    @property
    def public(self) -> PublicKeys:
        """Give what others may know."""
        return PublicKeys(
            signing=self.signing.get_public_key().to_base64().decode("ascii"), sealing=str(self.sealing.to_public())
        )

    @property
    def seed(self) -> bytes:
        """Give the 32 bytes of the Ed25519 secret key (RFC 8032), for what signs in other forms than minisign's."""
        return base64.b64decode(bytes(self.signing).splitlines()[1])[_SEED]

    def sign(self, data: bytes, comment: str, *, unsigned: str | None = None) -> bytes:
        """Sign bytes as ``minisign -S`` does; the comment is signed as well, another may be beside it. Each is one line."""
        return bytes(self.signing.sign(data, trusted_comment=comment, untrusted_comment=unsigned)) + b"\n"

    def open(self, sealed: bytes) -> bytes:
        """Open what was sealed for these keys; raises FormatError for anything else."""
        try:
            return bytes(pyrage.decrypt(sealed, [self.sealing]))
        except pyrage.DecryptError:
            raise FormatError("it is not sealed for us, or was damaged", where="seal") from None

    def sign_raw(self, data: bytes) -> bytes:
        """Give the 64 bytes of the Ed25519 signature (RFC 8032) over the bytes themselves."""
        written = bytes(self.signing.sign(data, prehash=False)).splitlines()[1]
        return base64.b64decode(written)[_REST]


def signer(signature: bytes) -> str:
    """Say by whose key a signature says it is; raises ValueError for what is none."""
    try:
        minisign.Signature.from_bytes(signature)
    except (minisign.Error, minisign.ParseError) as error:
        raise ValueError(str(error)) from None
    return base64.b64decode(signature.splitlines()[1])[_KEY_ID][::-1].hex().upper()


def next_to(folder: Path) -> Path:
    """Give the folder where the keys are that are to take the place of a node's own."""
    return folder.with_name(f"{folder.name}.next")


def exist(folder: Path) -> bool:
    """Say whether a node's keys are in a folder, in whole or in part."""
    return any((folder / name).exists() for name in (SIGNING_FILE, SEALING_FILE))


def _read(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        data = path.read_bytes()
    except OSError as error:
        kind = Unfinished if isinstance(error, FileNotFoundError) else ConfigError
        raise kind(
            "this node's keys cannot be read",
            where=str(path),
            why=(error.strerror or "").lower(),
            hint=(
                "dbsync nodes rotate   (finishes what broke off: new keys lie beside)"
                if next_to(path.parent).exists()
                else "dbsync nodes keys --new   (makes them, once)"
            ),
        ) from None
    if posix.HAS_OWNERS and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            "others can read this node's secret key",
            where=str(path),
            why=f"its mode is {stat.S_IMODE(mode):04o}",
            hint=f"chmod 600 {path}",
        )
    return data


def forget(folder: Path) -> None:
    """Remove keys that nobody was told of. Raises ConfigError."""
    with _told(folder):
        for name in (SIGNING_FILE, SEALING_FILE):
            (folder / name).unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    """Write a new file that only its owner can read, and have it on the disk before anybody is told of the key; or nothing."""
    with _told(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            posix.sync_folder(path.parent)
        except OSError:
            path.unlink()
            raise


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(
            "this node's keys were not written", where=str(path), why=(error.strerror or "").lower(), hint=""
        ) from None
