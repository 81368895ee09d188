"""Sticks that come to a server by themselves: what appears in a folder is brought in, and its receipts are written beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from dbsync.bundle import files
from dbsync.bundle.find import Found, find_bundles
from dbsync.bundle.names import SIGNATURE, BundleName, Kind, read_request_name, read_sealed_name
from dbsync.config.models import Config
from dbsync.errors import DbsyncError
from dbsync.service.bundles import Imported, bring_in
from dbsync.service.sticks import AGAIN, LOOK

log = structlog.get_logger()

PATIENCE = 60.0
"""Seconds in which a bundle that is being brought in may come to its end; what is not committed then comes again."""
_Files = tuple[tuple[str, int, int], ...]


@contextmanager
def taking_in(config: Config) -> Iterator[None]:
    """While inside, take in what appears in the folders of ``[sticks]``. No stick is the normal state."""
    if not config.sticks.folders:
        yield
        return
    stop = threading.Event()
    folders = [Folder(config=config, path=Path(path)) for path in config.sticks.folders]
    thread = threading.Thread(target=_watch, args=(folders, stop), name="sticks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE)


def _watch(folders: list[Folder], stop: threading.Event) -> None:
    while not stop.wait(LOOK):
        for folder in folders:
            if stop.is_set():
                return
            folder.look()


@dataclass(kw_only=True)
class Folder:
    """One folder, and what was done with the stick that is in it now."""

    config: Config
    path: Path
    _done: dict[BundleName, _Files] = field(default_factory=dict)
    """Bundles that were seen to the last byte, and what their files were."""
    _taken: set[str] = field(default_factory=set)
    """Sealed papers that were taken, by their files' names: each is written once."""
    _listed: object = None
    _next: float = 0.0
    """When what stays is worth another try, though nothing changed: its sender may be known by then."""
    _told: object = None

    def look(self) -> None:
        """Bring in what is new; whatever is in the way is told once, and tried again."""
        try:
            if not self._is_here():
                self._done.clear()
                self._taken.clear()
                self._listed = self._told = None
                return
            self._look()
        except DbsyncError as error:
            self._next = time.monotonic() + AGAIN
            self._tell(error, "stick_not_read", reason=str(error), hint=error.hint)

    def _is_here(self) -> bool:
        try:
            return self.path.is_dir()
        except OSError:  # it is being pulled
            return False

    def _look(self) -> None:
        found = find_bundles(self.path)
        now = self._stamps(found)
        asking = self._papers()
        listed = (tuple(now.items()), tuple(asking), found.left)
        if listed == self._listed and time.monotonic() < self._next:
            return
        arrived = self._listed is None
        self._listed, self._next = listed, time.monotonic() + AGAIN
        beside = {name for name, stamp in now.items() if self._done.get(name) == stamp}
        if len(beside) == len(now) and not asking and not arrived:
            return
        done = bring_in(self.config, self.path, beside=beside)
        self._done.update({one.name: now[one.name] for one in done.brought if one.name in now})
        self._taken.update(one.name.file() for one in done.lists)
        self._taken.update(one.name.file() for one in done.answered)
        self._say(done)

    def _papers(self) -> list[str]:
        """Name what is there beside bundles and was not taken yet: requests, sealed papers that are finished."""
        with files.told(self.path, "the folder cannot be read"):
            names = {path.name for path in self.path.iterdir()}
        finished = (name for name in names if _is_for_us(name) and name + SIGNATURE in names)
        return sorted({name for name in names if read_request_name(name)} | set(finished) - self._taken)

    def _stamps(self, found: Found) -> dict[BundleName, _Files]:
        with files.told(self.path, "the folder cannot be read"):
            return {bundle.name: bundle.stamp() for bundle in found.usable}

    def _say(self, done: Imported) -> None:
        for name in done.enrolled:
            log.info("node_enrolled", node=name)
        for one in done.brought:
            log.info(
                "stick_brought",
                node=one.node,
                batches=len(one.applied),
                known=one.known,
                changes=one.changes,
                held=one.held,
            )
        for box in done.lists:
            if box.new:
                log.info("list_kept", node=box.name.node, list=str(box.name.id))
        for answered in done.answered:
            if answered.new:
                log.info(
                    "comparison_answered",
                    node=answered.name.node,
                    tables=answered.tables,
                    differing=answered.differing,
                )
        for left in done.left:
            self._tell(left, "stick_left", file=left.name, reason=left.why, hint=left.hint)

    def _tell(self, what: object, event: str, **said: object) -> None:
        """Say something once in a row."""
        if str(what) != self._told:
            self._told = str(what)
            log.warning(event, folder=str(self.path), **said)


def _is_for_us(name: str) -> bool:
    """Say whether a file is a sealed paper that a node wrote."""
    found = read_sealed_name(name)
    return found is not None and found.kind is not Kind.ANSWER
