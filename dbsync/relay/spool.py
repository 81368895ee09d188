"""The spool: a folder of sealed bundles and papers as on a stick, each there whole and verified, or not at all."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import minisign

from dbsync.bundle import files, sealed
from dbsync.bundle.custody import Note, digest, write_note
from dbsync.bundle.names import SIGNATURE, BundleName, Kind, SealedName, read_name, read_sealed_name
from dbsync.bundle.write import comment
from dbsync.errors import Exhausted, FormatError, Refusal
from dbsync.identity.keys import Keys, PublicKeys, Signed
from dbsync.relay.records import Held, Records
from dbsync.web.uploads import Misplaced

Name = BundleName | SealedName
"""Of a bundle that is one file, or of a sealed paper."""
MOST_PARTS = 4
"""Of one node: what is there in part beside them was given up."""
STALE = 86_400.0
"""Seconds after which nobody goes on with what came in part."""
FOLDER = "spool"
PARTIAL = ".{}.partial"
PULLED = ".{}.pulled.partial"
"""What is fetched has a name of its own, for its node may bring the same meanwhile, sealed anew."""


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
    partial: str = PARTIAL
    """How what is not whole yet is called."""
    turns: defaultdict[str, threading.RLock] = field(default_factory=lambda: defaultdict(threading.RLock))

    def pulled(self) -> Spool:
        """Give the same spool for bundles that are fetched."""
        return replace(self, partial=PULLED)

    def add(self, name: Name, place: int, data: bytes) -> int:
        """Keep a part of a bundle; give how many bytes are here now. Raises Misplaced for one that does not follow them."""
        if place + len(data) > self.largest(name):
            raise Exhausted("it is larger than this relay takes", where=self.relay, why=f"{self.largest(name):,} bytes")
        path = self._partial(name)
        with self.turns[name.node], files.told(path, "the part was not kept"):
            if not path.exists():
                self._make_room(name.node)
            with path.open("ab") as file:
                if file.tell() != place:
                    raise Misplaced.of(self.relay)
                file.write(data)
        return place + len(data)

    def go_on(self, name: Name, signature: bytes) -> int:
        """Say how much is here of a bundle with this signature; what is here of another writing of it is forgotten."""
        path, mark = self._partial(name), self._mark(name)
        with self.turns[name.node], files.told(mark, "the part was not kept"):
            if path.exists() and mark.exists() and mark.read_bytes() == signature:
                return path.stat().st_size
            self.forget(name)
            files.write(mark, signature)
            return 0

    def largest(self, name: Name) -> int:
        """Say how many bytes of it are taken at most."""
        return self.most if isinstance(name, BundleName) else min(self.most, sealed.LARGEST)

    def kept(self, name: Name) -> tuple[int, str]:
        """Give how many bytes of a bundle are here that is not whole yet, and their SHA-256."""
        path = self._partial(name)
        with self.turns[name.node], files.told(path, "the part was not read"):
            if not path.exists():
                return 0, ""
            with files.opened(path) as file:
                return path.stat().st_size, digest(file)

    def forget(self, name: Name) -> None:
        """Forget what is here of a bundle that is not whole."""
        with self.turns[name.node]:
            files.remove(self._mark(name))
            files.remove(self._partial(name))

    def finish(self, name: BundleName, signature: bytes, sender: PublicKeys) -> Signed:
        """Take a whole bundle into custody, if its sender signed it; give the note of it.

        Raises FormatError where it is damaged or another's: then it is forgotten.
        """
        path = self.path(name)
        with self.turns[name.node], files.told(path, "the bundle was not kept"):
            self._settle(name, signature, sender)
            with files.opened(path) as file:
                found = digest(file)
            held = self.records.take(name, path.stat().st_size, found)
            return self.note(held)

    def finish_paper(self, name: SealedName, signature: bytes, sender: PublicKeys) -> None:
        """Take a whole paper into custody, if its sender signed it. Raises as :meth:`finish` does."""
        with self.turns[name.node], files.told(self.path(name), "the paper was not kept"):
            self._settle(name, signature, sender)
            for old in self.records.papers.take(name):
                self._remove(old)

    def answer(self, question: SealedName, answer: Signed) -> None:
        """Have the upstream's answer in the place of a question."""
        with self.turns[question.node]:
            sealed.write(self.folder, replace(question, kind=Kind.ANSWER), answer)
            self.records.papers.answered(question)
            self._remove(question)

    def let_go(self, name: SealedName) -> bool:
        """Have a paper no more; say whether it was here."""
        with self.turns[name.node]:
            known = self.records.papers.forget(name)
            self._remove(name)
        return known

    def note(self, held: Held) -> Signed:
        """Write the note of a bundle in custody."""
        said = Note(relay=self.relay, name=held.name, bytes=held.bytes, hash=held.hash, at=held.received_at)
        return write_note(said, self.keys)

    def path(self, name: Name) -> Path:
        """Give the file of a bundle."""
        return self.folder / name.file()

    @contextmanager
    def reading(self, name: Name) -> Iterator[tuple[Path, bytes]]:
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
        with self.turns[name.node]:
            self.records.delivered(name)
            self._remove(name)

    def drop(self, name: BundleName) -> None:
        """Let go of a bundle that nobody will take: its node keeps all that is in it. Raises Refusal where it is not here."""
        with self.turns[name.node]:
            if not self.records.drop(name):
                raise _not_here(name)
            self._remove(name)

    def drop_paper(self, name: SealedName) -> None:
        """Let go of a paper that nobody will take: its node has what it wrote. Raises Refusal where it is not here."""
        if not self.let_go(name):
            raise _not_here(name)

    def tidy(self) -> None:
        """Remove what is not in custody: a crash came between the record and the file; and parts that nobody goes on with."""
        held = {one.name.file() for one in self.records.held()} | {one.name.file() for one in self.records.papers.all()}
        for path in self.folder.iterdir():
            if path.name.removesuffix(SIGNATURE) not in held and not path.name.startswith("."):
                files.remove(path)
        self._make_room()

    def _make_room(self, node: str | None = None) -> None:
        """Remove what came in part and nobody went on with for a day; of a node for which more comes now all but the newest."""
        parts = sorted(self._parts(), key=lambda part: part[0], reverse=True)
        of_node = [path for _, path, whose in parts if whose == node]
        old = [path for touched, path, _ in parts if touched < time.time() - STALE]
        for path in {*old, *(of_node[MOST_PARTS - 1 :] if node else ())}:
            files.remove(path.with_name(path.name + SIGNATURE))
            files.remove(path)

    def _parts(self) -> Iterator[tuple[float, Path, str | None]]:
        """Give what is there in part: when it was touched last, and whose it is."""
        for path in self.folder.glob(".*.partial"):
            name = read(path.name[1:].removesuffix(".partial").removesuffix(".pulled").removesuffix(".stick"))
            with suppress(FileNotFoundError):  # it has become whole
                yield path.stat().st_mtime, path, name.node if name else None

    def _settle(self, name: Name, signature: bytes, sender: PublicKeys) -> None:
        """Have what came in under its own name, if its sender signed it; else nothing of it."""
        partial, path = self._partial(name), self.path(name)
        if not partial.exists():
            raise Misplaced.of(self.relay)
        try:
            _check(name, partial, signature, sender)
        except FormatError:
            files.remove(partial)
            raise
        files.remove(path.with_name(path.name + SIGNATURE))
        files.settle(partial)
        files.finish(partial, path)
        files.remove(self._mark(name))
        files.write(path.with_name(path.name + SIGNATURE), signature)

    def _remove(self, name: Name) -> None:
        path = self.path(name)
        files.remove(path.with_name(path.name + SIGNATURE))
        files.remove(path)

    def _partial(self, name: Name) -> Path:
        return self.folder / self.partial.format(name.file())

    def _mark(self, name: Name) -> Path:
        """Name the file of the signature that a bundle which is not whole yet will have."""
        partial = self._partial(name)
        return partial.with_name(partial.name + SIGNATURE)


def read(text: str) -> Name | None:
    """Read the name of a bundle that is one file, or of a sealed paper; None for any other."""
    found = read_name(text)
    return read_sealed_name(text) if found is None or found[1] else found[0]


def _not_here(name: Name) -> Refusal:
    return Refusal(
        f"{name.file()} is not in custody here",
        where="relay",
        why="it was delivered, or never came",
        hint="dbsync relay status --json   (lists what is)",
    )


def _check(name: Name, path: Path, signature: bytes, sender: PublicKeys) -> None:
    try:
        read = minisign.Signature.from_bytes(signature)
        with path.open("rb") as file:
            minisign.PublicKey.from_base64(sender.signing).verify(file, read)
    except (minisign.Error, minisign.ParseError, minisign.VerifyError) as error:
        raise FormatError("it is not what its sender signed", where=name.file(), why=str(error)) from None
    wanted = comment(name, 1, 1) if isinstance(name, BundleName) else sealed.comment(name)
    if read.trusted_comment != wanted:
        raise FormatError("the signature is for another file", where=name.file(), why=str(read.trusted_comment)[:200])
