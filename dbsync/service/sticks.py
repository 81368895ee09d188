"""The stick route: whenever the folder is there, receipts are taken from it and what has none is written onto it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from dbsync.bundle import files
from dbsync.bundle.names import receipts_name
from dbsync.config.models import Config
from dbsync.errors import DbsyncError, Exhausted
from dbsync.identity.keys import Keys
from dbsync.service.export import Export, Exported
from dbsync.service.held import HeldLink
from dbsync.service.link import LinkState
from dbsync.verify.words import counted

LOOK = 1.0
"""Seconds between two looks for the stick, and at what is on it."""
AGAIN = 60.0
"""Seconds between two writings onto a stick that stays: each makes files of its own."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a look came to, in words for ``status``."""

    state: LinkState
    reason: str | None = None
    changes: int = 0
    """Written now."""
    acknowledged: int = 0
    """Batches whose receipts were there."""
    trouble: DbsyncError | None = None
    """What is wrong with the stick."""


@dataclass(kw_only=True)
class Sticks:
    """The stick of one link, in the folder that ``upstream.url`` names."""

    config: Config
    _waiting: int = 0
    """Batches without a receipt, when a stick was last here."""
    _files: dict[object, bool] = field(default_factory=dict)
    _receipts: object = None
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
        receipts = self._stamp(held)
        if self._seen is not None and receipts == self._receipts and time.monotonic() < self._next:
            return self._seen
        keys = Keys.load(Path(self.config.node.keys))
        try:
            done = Export(folder=self.folder, keys=keys, held=held, seen=self._files).make(self.config)
        except files.Gone as error:
            return self._pulled(error)
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
        if not done.waiting:
            return Seen(state=LinkState.UP_TO_DATE, acknowledged=done.acknowledged)
        batches = counted(done.waiting, "batch", "batches")
        return Seen(
            state=LinkState.WRITTEN,
            reason=f"receipt outstanding for {batches}: take the stick to {link}, and bring it back",
            changes=done.changes,
            acknowledged=done.acknowledged,
        )

    def _say(self, done: Exported) -> None:
        link = self.config.upstream.label
        if done.acknowledged:
            log.info("receipts_taken", link=link, batches=done.acknowledged)
        if done.files:
            log.info("stick_written", link=link, batches=done.batches, changes=done.changes)
        for left in done.left:
            log.warning("receipts_refused", link=link, file=left.name, reason=left.why, hint=left.hint)

    def _stamp(self, held: HeldLink) -> object:
        """Say which receipts are there, without reading them."""
        try:
            found = (self.folder / receipts_name(held.node.name)).stat(follow_symlinks=False)
        except OSError:  # none, or none that can be read: that is found out
            return None
        return found.st_size, found.st_mtime_ns


def _full(error: Exhausted) -> str:
    return f"it has no room for what is pending: make some, or take another stick ({error.why})"
