"""The spool: a folder of sealed bundles as on a stick, each there whole and verified, or not at all."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import minisign

from dbsync.bundle import files
from dbsync.bundle.custody import Note, digest, write_note
from dbsync.bundle.names import SIGNATURE, BundleName
from dbsync.bundle.write import comment
from dbsync.errors import Exhausted, FormatError, Refusal
from dbsync.identity.keys import Keys, PublicKeys, Signed
from dbsync.relay.records import Held, Records
from dbsync.web.uploads import Misplaced

FOLDER = "spool"
PARTIAL = ".{}.partial"


@dataclass(frozen=True, kw_only=True)
class Spool:
    """Bundles on their way. What is told as being in custody is on the disk, and its signature is its sender's."""

    folder: Path
    relay: str
    """The relay's name, for its notes."""
    keys: Keys
    records: Records
    most: int
    """Bytes of the largest bundle that is taken."""
    _turns: defaultdict[str, threading.RLock] = field(default_factory=lambda: defaultdict(threading.RLock), init=False)

    def add(self, name: BundleName, place: int, data: bytes) -> int:
        """Keep a part of a bundle; give how many bytes are here now. Raises Misplaced for one that does not follow them."""
        if place + len(data) > self.most:
            raise Exhausted("the bundle is larger than this relay takes", where=self.relay, why=f"{self.most:,} bytes")
        path = self._partial(name)
        with self._turns[name.node], files.told(path, "the part was not kept"), path.open("ab") as file:
            if file.tell() != place:
                raise Misplaced.of(self.relay)
            file.write(data)
        return place + len(data)

    def kept(self, name: BundleName) -> tuple[int, str]:
        """Give how many bytes of a bundle are here that is not whole yet, and their SHA-256."""
        path = self._partial(name)
        with self._turns[name.node], files.told(path, "the part was not read"):
            if not path.exists():
                return 0, ""
            with files.opened(path) as file:
                return path.stat().st_size, digest(file)

    def forget(self, name: BundleName) -> None:
        """Forget what is here of a bundle that is not whole."""
        with self._turns[name.node]:
            files.remove(self._partial(name))

    def finish(self, name: BundleName, signature: bytes, sender: PublicKeys) -> Signed:
        """Take a whole bundle into custody, if its sender signed it; give the note of it.

        Raises FormatError where it is damaged or another's: then it is forgotten.
        """
        partial, path = self._partial(name), self.path(name)
        with self._turns[name.node], files.told(path, "the bundle was not kept"):
            if not partial.exists():
                raise Misplaced.of(self.relay)
            try:
                _check(name, partial, signature, sender)
            except FormatError:
                files.remove(partial)
                raise
            with files.opened(partial) as file:
                found = digest(file)
            files.remove(path.with_name(path.name + SIGNATURE))
            files.settle(partial)
            files.finish(partial, path)
            files.write(path.with_name(path.name + SIGNATURE), signature)
            held = self.records.take(name, path.stat().st_size, found)
            return self.note(held)

    def note(self, held: Held) -> Signed:
        """Write the note of a bundle in custody."""
        said = Note(relay=self.relay, name=held.name, bytes=held.bytes, hash=held.hash, at=held.received_at)
        return write_note(said, self.keys)

    def path(self, name: BundleName) -> Path:
        """Give the file of a bundle."""
        return self.folder / name.file()

    @contextmanager
    def reading(self, name: BundleName) -> Iterator[tuple[Path, bytes]]:
        """Give a bundle's file and signature while it is read.

        Raises Refusal where this computer's disk does not give it back: nobody else's bundles have to wait for it.
        """
        path = self.path(name)
        try:
            yield path, path.with_name(path.name + SIGNATURE).read_bytes()
        except OSError as error:
            raise Refusal(
                "this relay cannot read it any more",
                where=name.file(),
                why=f"{(error.strerror or str(error)).lower()}; its node has all that is in it and hands it over again"
                f" after: dbsync relay drop {name.file()}",
            ) from error

    def delivered(self, name: BundleName) -> None:
        """Let go of a bundle that the upstream has."""
        with self._turns[name.node]:
            self.records.delivered(name)
            self._remove(name)

    def drop(self, name: BundleName) -> None:
        """Let go of a bundle that nobody will take: its node keeps all that is in it. Raises Refusal where it is not here."""
        with self._turns[name.node]:
            if not self.records.drop(name):
                raise Refusal(
                    f"{name.file()} is not in custody here",
                    where="relay",
                    why="it was delivered, or never came",
                    hint="dbsync relay status --json   (lists what is)",
                )
            self._remove(name)

    def tidy(self) -> None:
        """Remove what is not in custody: a crash came between the record and the file."""
        held = {one.name.file() for one in self.records.held()}
        for path in self.folder.iterdir():
            if path.name.removesuffix(SIGNATURE) not in held and not path.name.startswith("."):
                files.remove(path)

    def _remove(self, name: BundleName) -> None:
        path = self.path(name)
        files.remove(path.with_name(path.name + SIGNATURE))
        files.remove(path)

    def _partial(self, name: BundleName) -> Path:
        return self.folder / PARTIAL.format(name.file())


def _check(name: BundleName, path: Path, signature: bytes, sender: PublicKeys) -> None:
    try:
        read = minisign.Signature.from_bytes(signature)
        with path.open("rb") as file:
            minisign.PublicKey.from_base64(sender.signing).verify(file, read)
    except (minisign.Error, minisign.ParseError, minisign.VerifyError) as error:
        raise FormatError("the bundle is not what its sender signed", where=name.file(), why=str(error)) from None
    if read.trusted_comment != comment(name, 1, 1):
        raise FormatError("the signature is for another file", where=name.file(), why=str(read.trusted_comment)[:200])
