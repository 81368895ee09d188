"""The stick route: whenever the folder is there, receipts are taken from it and what has none is written onto it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import structlog

from dbsync.bundle import files, sealed
from dbsync.bundle.names import Kind, lists_name, receipts_name
from dbsync.config.models import Config
from dbsync.errors import DbsyncError, Exhausted, Interrupted
from dbsync.identity.keys import Keys
from dbsync.postgres import translated
from dbsync.service.comparison import Store
from dbsync.service.export import Export, Exported
from dbsync.service.held import HeldLink
from dbsync.service.link import LinkState
from dbsync.service.way import Seen
from dbsync.tally import count_carried
from dbsync.verify.words import counted

LOOK = 1.0
"""Seconds between two looks for the stick, and at what is on it."""
AGAIN = 60.0
"""Seconds between two writings onto a stick that stays: each makes files of its own."""

log = structlog.get_logger()


@dataclass(kw_only=True)
class Sticks:
    """The stick of one link, in the folder that ``upstream.url`` names."""

    config: Config
    stop: Callable[[], bool]
    _waiting: int = 0
    """Batches without a receipt, when a stick was last here."""
    _files: dict[object, bool] = field(default_factory=dict)
    _receipts: object = None
    _wish: datetime | None = None
    """The comparison that was to be begun at the last look."""
    _next: float = 0.0
    _visit: float = 0.0
    _seen: Seen | None = None

    @property
    def folder(self) -> Path:
        """Give the folder. It is on the stick: without that it is not there."""
        return self.config.upstream.folder

    def is_here(self) -> bool:
        """Say whether the stick is in."""
        try:
            return self.folder.is_dir()
        except OSError:  # it is being pulled, or will not be read
            return False

    def missing(self) -> files.Gone:
        """Make the error for somebody who wants it now."""
        return files.Gone(
            "no stick is in",
            where=str(self.folder),
            why="this folder is not there",
            hint="put the stick in; on a new one make the folder first   (changes wait safely in the source)",
        )

    def relays_are_due(self) -> bool:
        """Say, every now and then, that middlemen are worth a visit while the stick is away."""
        if time.monotonic() < self._visit:
            return False
        self._visit = time.monotonic() + AGAIN
        return bool(self.config.relays)

    def away(self) -> Seen:
        """Say that it is not."""
        self._forget()
        on_it = (
            f"; {counted(self._waiting, 'batch', 'batches')} left with it, and wait for receipts"
            if self._waiting
            else ""
        )
        return Seen(state=LinkState.AWAITED, reason=f"{self.folder} is not there{on_it}")

    def look(self, held: HeldLink) -> Seen:
        """Take receipts and write what is new, unless that was done a moment ago. Trouble of the stick is no error here."""
        receipts, wish = self._stamp(held), self._wished(held)
        new = receipts != self._receipts or wish not in (None, self._wish)
        if self._seen is not None and not new and time.monotonic() < self._next:
            return self._seen
        self._wish = wish
        keys = Keys.load(Path(self.config.node.keys))
        try:
            done = Export(folder=self.folder, keys=keys, held=held, seen=self._files, stop=self.stop).make(self.config)
        except files.Gone as error:
            return self._pulled(error)
        except Interrupted:
            if not self.stop():
                raise
            return self._seen or Seen(state=LinkState.STOPPED)
        except Exhausted as error:
            if error.where == "source":
                raise
            return self._keep(Seen(state=LinkState.FULL, reason=_full(error), trouble=error), receipts)
        except files.Unfit as error:
            return self._keep(Seen(state=LinkState.HALTED, reason=str(error), trouble=error), receipts)
        self._waiting = done.waiting
        self._say(done)
        return self._keep(self._done(done), receipts)

    def _pulled(self, error: files.Gone) -> Seen:
        self._forget()
        return Seen(state=LinkState.AWAITED, reason=f"it was pulled too early, or fails: {error}", trouble=error)

    def _keep(self, seen: Seen, receipts: object) -> Seen:
        self._seen = Seen(state=seen.state, reason=seen.reason, trouble=seen.trouble)
        self._receipts, self._next = receipts, time.monotonic() + AGAIN
        return seen

    def _forget(self) -> None:
        """Know nothing of a stick that may be another one when it is back."""
        self._seen = None
        self._files.clear()

    def _done(self, done: Exported) -> Seen:
        link = self.config.upstream.label
        batches = done.waiting and counted(done.waiting, "batch", "batches")
        lists = done.lists and counted(done.lists, "list of a checked box", "lists of checked boxes")
        receipts = " and ".join(found for found in (batches, lists) if found)
        outstanding = [f"receipt outstanding for {receipts}"] if receipts else []
        outstanding += ["answer outstanding to a comparison"] if done.asked else []
        if not outstanding:
            return Seen(state=LinkState.UP_TO_DATE, acknowledged=done.acknowledged)
        return Seen(
            state=LinkState.WRITTEN,
            reason=f"{', '.join(outstanding)}: take the stick to {link}, and bring it back",
            changes=done.changes,
            acknowledged=done.acknowledged,
        )

    def _say(self, done: Exported) -> None:
        link = self.config.upstream.label
        if done.acknowledged:
            log.info("receipts_taken", link=link, batches=done.acknowledged)
        if done.arrived:
            log.info("lists_arrived", link=link, lists=done.arrived)
        if done.files:
            count_carried(self.config.node.name, link, "stick", done.changes)
            log.info("stick_written", link=link, batches=done.batches, changes=done.changes)
        for left in done.left:
            log.warning("receipts_refused", link=link, file=left.name, reason=left.why, hint=left.hint)

    def _stamp(self, held: HeldLink) -> object:
        """Say which papers of the upstream are there, without reading them."""
        node = held.node.name
        try:
            answers = [name.file() for name in sealed.found(self.folder, Kind.ANSWER, node)]
        except DbsyncError:  # as below
            answers = []
        return tuple((name, _stamp(self.folder / name)) for name in (receipts_name(node), lists_name(node), *answers))

    def _wished(self, held: HeldLink) -> datetime | None:
        with translated("source"):
            return Store(connection=held.reader.connection, link=held.name).wish()


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat(follow_symlinks=False)
    except OSError:  # none, or none that can be read: that is found out
        return None
    return found.st_size, found.st_mtime_ns


def _full(error: Exhausted) -> str:
    return f"it has no room for what is pending: make some, or take another stick ({error.why})"
