"""Shelves: sealed bundles that lie ready in this computer's folder for temporary files, one shelf for each relay.

Nothing here is the only copy. What is cleared away, or lost with the process, is sealed again when somebody comes for it.
"""

from __future__ import annotations

import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dbsync.bundle import files
from dbsync.bundle.custody import digest
from dbsync.bundle.names import SIGNATURE, BundleName, SealedName

MOST = 4
"""Shelves: whose owner was away longest is cleared for another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One bundle or paper that lies ready."""

    name: BundleName | SealedName
    size: int
    signature: bytes


@dataclass(slots=True)
class Shelf:
    """What lies ready for one relay: by name, with the hash of the batch that is in it. Who changes it holds its lock."""

    folder: Path
    lock: threading.RLock = field(default_factory=threading.RLock)
    _bundles: dict[BundleName, bytes] = field(default_factory=dict)
    _recipients: frozenset[str] = frozenset()

    def seal_for(self, recipients: Iterable[str]) -> None:
        """Note for whom all is sealed that is put here from now on; what was sealed for others is cleared away."""
        recipients = frozenset(recipients)
        if recipients != self._recipients:
            for name in self.names():
                self.remove(name)
        self._recipients = recipients

    def is_open_to(self, recipient: str) -> bool:
        """Say whether somebody can read the bundles that lie here."""
        return recipient in self._recipients

    def put(self, batches: Mapping[BundleName, bytes]) -> None:
        """Note bundles that were written into the folder, by the hashes of their batches."""
        self._bundles.update(batches)

    def clear(self, batches: Mapping[BundleName, bytes]) -> None:
        """Clear away all but bundles of these batches, and forget those that somebody else has cleared away."""
        for name in [
            name for name, batch in self._bundles.items() if batches.get(name) != batch or not self._has(name)
        ]:
            self.remove(name)

    def remove(self, name: BundleName) -> None:
        """Clear a bundle away, if it is there."""
        path = self._path(name)
        files.remove(path.with_name(path.name + SIGNATURE))
        files.remove(path)
        self._bundles.pop(name, None)

    def offers(self) -> Iterator[Offer]:
        """Give what lies here, in the order of the numbers."""
        for name in sorted(self._bundles, key=lambda name: name.first):
            yield self.offer(name)

    def names(self) -> list[BundleName]:
        """Name the bundles that lie here."""
        return list(self._bundles)

    def size(self) -> int:
        """Give the bytes of the bundles that lie here."""
        return sum(offer.size for offer in self.offers())

    def offer(self, name: BundleName | SealedName) -> Offer:
        """Offer what lies here."""
        path = self._path(name)
        signature = path.with_name(path.name + SIGNATURE).read_bytes()
        return Offer(name=name, size=path.stat().st_size, signature=signature)

    def part(self, name: BundleName | SealedName, place: int, size: int) -> bytes | None:
        """Give some bytes of what lies here, fewer at its end; None where it does no more."""
        with files.told_here("the bundle was not read"):
            try:
                with files.opened(self._path(name)) as file:
                    file.seek(place)
                    return file.read(size)
            except FileNotFoundError:
                return None

    def digest(self, name: BundleName) -> tuple[int, str] | None:
        """Give the size and the SHA-256 of a bundle; None where it lies here no more."""
        try:
            with files.opened(self._path(name)) as file:
                found = digest(file)
                return file.tell(), found
        except FileNotFoundError:
            return None

    def _has(self, name: BundleName) -> bool:
        path = self._path(name)
        return path.exists() and path.with_name(path.name + SIGNATURE).exists()

    def _path(self, name: BundleName | SealedName) -> Path:
        return self.folder / name.file()


@dataclass(slots=True, kw_only=True)
class Shelves:
    """All of them, in a folder that is this process's alone."""

    folder: Path
    _shelves: OrderedDict[str, Shelf] = field(default_factory=OrderedDict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def of(self, key_id: str) -> Shelf:
        """Give a relay's; it is the last to be cleared from now on."""
        with self._lock, files.told_here("no bundle was made ready"):
            for folder in (self.folder, self.folder / key_id):  # a computer tidies its folder for temporary files
                folder.mkdir(mode=0o700, exist_ok=True)
            if key_id not in self._shelves:
                self._shelves[key_id] = Shelf(folder)
            self._shelves.move_to_end(key_id)
            while len(self._shelves) > MOST:
                _, old = self._shelves.popitem(last=False)
                shutil.rmtree(old.folder, ignore_errors=True)
            return self._shelves[key_id]
