"""Batches onto a stick: all that the upstream has no receipt for, and that is not on it yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dbsync.batch.codec import encode
from dbsync.bundle import files
from dbsync.bundle.find import Bundle, Found, Left, find_bundles
from dbsync.bundle.names import BundleName, read_name, receipts_name
from dbsync.bundle.read import is_whole
from dbsync.bundle.receipts import read_receipts
from dbsync.bundle.write import VOLUME, remove_bundle, write_bundle
from dbsync.config.models import Config
from dbsync.errors import FormatError, Refusal
from dbsync.identity.keys import Keys
from dbsync.model.batch import Batch
from dbsync.postgres import translated
from dbsync.service.held import HeldLink, held_link


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written onto a stick, and what had come back on it."""

    files: tuple[Path, ...]
    batches: int
    changes: int
    acknowledged: int
    """Batches whose receipts the stick had."""
    waiting: int
    """Batches without a receipt: they are on the stick now, those that were there before among them."""
    left: tuple[Left, ...]
    """Receipts that were not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One stick and the link whose batches go onto it."""

    folder: Path
    keys: Keys
    held: HeldLink
    seen: dict[object, bool] = field(default_factory=dict)
    """Which files are as they were signed: kept by whoever knows that the stick stayed where it is."""

    def make(self, config: Config, *, limit: int = VOLUME) -> Exported:
        """Take the receipts, let go of what they are for, and write what is not there."""
        held, left = self.held, list[Left]()
        acknowledged = self._take_home(left)
        there = self._there()
        counted = _Counted(held.outbox.batches(config.batch.max_changes, beside=there))
        paths = write_bundle(
            self.folder,
            held.head,
            counted.encoded(),
            recipients=[held.theirs.sealing, *config.upstream.recovery],
            keys=self.keys,
            limit=limit,
        )
        return Exported(
            files=tuple(paths),
            batches=counted.batches,
            changes=counted.changes,
            acknowledged=acknowledged,
            waiting=held.outbox.waiting(),
            left=tuple(left),
        )

    def _take_home(self, left: list[Left]) -> int:
        """Take the receipts; bundles that they are for may leave the stick. Receipts that nobody can use keep nothing waiting."""
        held = self.held
        try:
            receipts = read_receipts(self.folder, node=held.node.name, keys=held.theirs) or ()
        except FormatError as error:
            left.append(Left(name=receipts_name(held.node.name), why=str(error), hint=error.hint))
            return 0
        taken = held.take_home(receipts)
        arrived = {one.receipt.incarnation.hex[:8]: one.receipt.number for one in receipts if one.link == held.name}
        for bundle in self._own(find_bundles(self.folder)):
            if bundle.name.last <= arrived.get(bundle.name.life, 0):
                remove_bundle(self.folder, bundle.name)
        return taken

    def _there(self) -> set[int]:
        """Say which batches of this life are on the stick as they should be; what is not whole leaves it.

        One that this database does not remember tells that it was restored: what is on the stick stays, and all that is
        pending goes anew.
        """
        found = find_bundles(self.folder)
        names = [bundle.name for bundle in self._own(found) if bundle.name.life == self._life]
        whole = {bundle.name for bundle in found.usable if bundle.name in names and self._is_whole(bundle)}
        if any(name.last > self.held.recorded() for name in whole):
            self.held.begin_life()
            return set()
        half = [named[0] for left in found.left if (named := read_name(left.name)) is not None]
        for name in {*names, *(name for name in half if self._is_own(name))} - whole:
            remove_bundle(self.folder, name)
        return {number for name in whole for number in range(name.first, name.last + 1)}

    def _own(self, found: Found) -> Iterator[Bundle]:
        """Give this node's own bundles, of any life."""
        own = self.keys.public.key_id
        return (one for one in found.usable if one.name.node == self.held.node.name and one.key_id == own)

    def _is_own(self, name: BundleName) -> bool:
        return (name.node, name.life) == (self.held.node.name, self._life)

    @property
    def _life(self) -> str:
        return self.held.node.incarnation.hex[:8]

    def _is_whole(self, bundle: Bundle) -> bool:
        with files.told(bundle.paths[0], "the stick was not read"):
            key = bundle.stamp()
        if key not in self.seen:
            self.seen[key] = is_whole(bundle, self.keys.public)
        return self.seen[key]


class _Counted:
    """Batches on their way onto a stick, and how many they were."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches = batches
        self.batches = 0
        self.changes = 0

    def encoded(self) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Give each by its number, as bytes."""
        with translated("source"):
            for batch in self._batches:
                self.batches += 1
                self.changes += batch.header.changes
                yield batch.header.number, _told(encode(batch))


def _told(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Read chunks from the source; what breaks there is told as it is."""
    with translated("source"):
        yield from chunks


def export(config: Config, folder: Path, *, limit: int = VOLUME) -> Exported:
    """Write all that the upstream has no receipt for, and that is not there yet, into a folder, sealed for it alone.

    First the receipts that are there are taken. Nothing is forgotten here: until a receipt is back every batch can be
    written again, byte for byte. Raises Interrupted while the service ships the same link.
    """
    keys = Keys.load(Path(config.node.keys))
    with held_link(config) as held:
        return Export(folder=folder, keys=keys, held=held).make(config, limit=limit)


def go_back(config: Config, folder: Path) -> bool:
    """Take the receipts in a folder for all that the upstream remembers, and send again what it has not."""
    with held_link(config) as held:
        receipts = read_receipts(folder, node=held.node.name, keys=held.theirs)
        if receipts is None:
            raise Refusal(
                f"no receipts for {held.node.name} are there",
                where=str(folder),
                why="what the upstream has is told by them alone",
                hint=f"dbsync bundle export {folder}   then, at the upstream: dbsync bundle import DIR",
            )
        return held.go_back(receipts)


def receive(config: Config, folder: Path) -> int:
    """Take the receipts for this node from a folder; give how many batches they acknowledge."""
    with held_link(config) as held:
        return held.take_home(read_receipts(folder, node=held.node.name, keys=held.theirs) or ())
