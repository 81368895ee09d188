"""Batches onto a stick: all that the upstream has no receipt for, and that is not on it yet."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dbsync import traces
from dbsync.batch.codec import encode
from dbsync.bundle import files
from dbsync.bundle.find import Bundle, Found, Left, find_bundles
from dbsync.bundle.names import BundleName, certificate_name, lists_name, read_name, receipts_name
from dbsync.bundle.papers import read_paper
from dbsync.bundle.read import is_whole
from dbsync.bundle.receipts import read_receipts
from dbsync.bundle.write import VOLUME, remove_bundle, write_bundle
from dbsync.config.models import Config
from dbsync.errors import FormatError, Interrupted, Refusal
from dbsync.identity.keys import Keys
from dbsync.model.batch import Batch
from dbsync.postgres import translated
from dbsync.service.comparing import Comparing
from dbsync.service.held import HeldLink, held_link
from dbsync.service.lists import Outgoing


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
    lists: int
    """Lists of checked boxes that are on the stick now and wait for the upstream's word."""
    arrived: int
    """Lists of which the stick says that the upstream has them."""
    asked: bool
    """Whether a question of a comparison is on the stick, and waits for its answer."""
    answered: bool
    """Whether the stick had the answer to the one before."""
    left: tuple[Left, ...]
    """What the upstream is said to have written, and was not used; and what is in the way of a comparison."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One stick and the link whose batches go onto it."""

    folder: Path
    keys: Keys
    held: HeldLink
    seen: dict[object, bool] = field(default_factory=dict)
    """Which files are as they were signed: kept by whoever knows that the stick stayed where it is."""
    stop: Callable[[], bool] = bool
    """Asked again and again: an export that is stopped raises Interrupted, and leaves nothing half done."""

    def make(self, config: Config, *, limit: int = VOLUME) -> Exported:
        """Take the receipts, let go of what they are for, and write what is not there."""
        held, left = self.held, list[Left]()
        acknowledged, arrived = self._take_home(left), self._take_lists_home(left)
        comparing = Comparing(config=config, held=held, keys=self.keys, stop=self.stop)
        answered = comparing.take_home(self.folder, left)
        recipients = held.recipients(config)
        there = self._there(recipients)
        with comparing.asking(left) as asking:
            until = asking.until if asking else None
            with held.outbox.batches(config.batch.max_changes, beside=there, until=until) as batches:
                counted = _Counted(batches, self.stop)
                paths = write_bundle(
                    self.folder,
                    held.head,
                    counted.encoded(),
                    recipients=recipients,
                    keys=self.keys,
                    limit=limit,
                )
            comparing.write(asking, left)
        asked = comparing.put_on(self.folder)
        lists = self._lists.put_on(self.folder)
        return Exported(
            files=tuple(paths),
            batches=counted.batches,
            changes=counted.changes,
            acknowledged=acknowledged,
            waiting=held.waiting(),
            lists=lists,
            arrived=arrived,
            asked=asked,
            answered=answered,
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
        self._learn(left)
        arrived = {one.receipt.incarnation.hex[:8]: one.receipt.number for one in receipts if one.link == held.name}
        for bundle in self._own(find_bundles(self.folder)):
            if bundle.name.last <= arrived.get(bundle.name.life, 0):
                remove_bundle(self.folder, bundle.name)
        return taken

    @property
    def _lists(self) -> Outgoing:
        return _outgoing(self.held, self.keys)

    def _take_lists_home(self, left: list[Left]) -> int:
        try:
            return _take_lists_home(self._lists, self.folder)
        except FormatError as error:
            left.append(Left(name=lists_name(self.held.node.name), why=str(error), hint=error.hint))
            return 0

    def _learn(self, left: list[Left]) -> None:
        """Note what the stick tells of the tiers above."""
        name = certificate_name(self.held.node.name)
        try:
            self.held.learn(read_paper(self.folder / name, "the certificate was not read"))
        except FormatError as error:
            left.append(Left(name=name, why=str(error), hint=error.hint))

    def _there(self, recipients: Collection[str]) -> set[int]:
        """Say which batches of this life are on the stick as they should be; what is not whole, or sealed for others, leaves it.

        One that this database does not remember tells that it was restored: what is on the stick stays, and all that is
        pending goes anew.
        """
        found = find_bundles(self.folder)
        names = [bundle.name for bundle in self._own(found) if bundle.name.life == self._life]
        whole = {bundle.name for bundle in found.usable if bundle.name in names and self._is_whole(bundle)}
        if any(name.last > self.held.recorded() for name in whole):
            self.held.begin_life()
            return set()
        whole -= {one.name for one in found.usable if not self.held.is_for(one.mark, recipients)}
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

    def __init__(self, batches: Iterable[Batch], stop: Callable[[], bool]) -> None:
        self._batches = batches
        self._stop = stop
        self.batches = 0
        self.changes = 0

    def encoded(self) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Give each by its number, as bytes."""
        with translated("source"):
            for batch in self._batches:
                self.batches += 1
                self.changes += batch.header.changes
                since = traces.now()
                yield batch.header.number, self._chunks(batch)
                with traces.of("export", batch.header, since=since):
                    pass  # it is written by now

    def _chunks(self, batch: Batch) -> Iterator[bytes]:
        """Read from the source; what breaks there is told as it is."""
        with translated("source"):
            for chunk in encode(batch):
                if self._stop():
                    raise Interrupted("the export was stopped", where="stick", why="the service was told to end")
                yield chunk


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What a stick brought home."""

    acknowledged: int
    """Batches."""
    arrived: int
    """Lists of checked boxes."""


def receive(config: Config, folder: Path) -> Received:
    """Take what the upstream wrote for this node from a folder: receipts, and which lists it has."""
    keys = Keys.load(Path(config.node.keys))
    with held_link(config) as held:
        acknowledged = held.take_home(read_receipts(folder, node=held.node.name, keys=held.theirs) or ())
        return Received(acknowledged=acknowledged, arrived=_take_lists_home(_outgoing(held, keys), folder))


def _outgoing(held: HeldLink, keys: Keys) -> Outgoing:
    return Outgoing(connection=held.reader.connection, node=held.node.name, keys=keys, theirs=held.theirs)


def _take_lists_home(own: Outgoing, folder: Path) -> int:
    return own.take_home(read_paper(folder / lists_name(own.node), "the paper of lists was not read"))
