"""The one who looks how a node stands, and tells whoever wants to hear: in a thread, so that nothing ever waits for him."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from dbsync.alerts import hooks
from dbsync.alerts.book import Book, Standing
from dbsync.alerts.conditions import Condition
from dbsync.alerts.hooks import HookFailed, Message
from dbsync.alerts.kept import Shelf
from dbsync.config.watching import AlertsConfig
from dbsync.errors import DbsyncError, place_of

LOOK = 15.0
"""Seconds between two looks at the most."""
BEAT = 60.0
"""Seconds between two heartbeats."""
PATIENCE = 2.0
"""Seconds in which a look that is under way may end when the program does; who is told then may not be."""

log = structlog.get_logger()


@dataclass(kw_only=True)
class Watcher:
    """Watches one program of a node, or a relay. :meth:`look` again and again, from one thread."""

    config: AlertsConfig
    node: str
    shelf: Shelf
    conditions: Callable[[], Iterable[Condition]]
    """Says what is the matter now."""
    is_well: Callable[[], bool]
    """Says whether the program did what it is for, lately."""
    _book: Book | None = None
    _beat_at: float = 0.0
    _beat_trouble: str | None = None

    @property
    def pause(self) -> float:
        """Give the seconds until the next look."""
        return min(LOOK, max(self.config.settle_seconds / 4, 1.0))

    def look(self) -> None:
        """See how things stand, tell what is to be told, and give a sign of life to whoever waits for one."""
        self._beat()
        if not self.config.hooks:
            return
        now = time.time()
        book = self._book = self._book or self._opened()
        book.note(self.conditions(), now)
        changed = False
        for standing, hook in book.due(now):
            self._tell(standing, hook, now)
            changed = True
        if changed:
            self._keep(book)

    def _opened(self) -> Book:
        """Take up what stood when this program ended."""
        standing: list[Standing] = []
        try:
            standing = self.shelf.take_up()
        except DbsyncError as error:
            log.warning("alerts_not_read", reason=str(error))
        return Book(self.config.hooks, self.config.settle_seconds, standing)

    def _keep(self, book: Book) -> None:
        try:
            self.shelf.keep(book.standing.values())
        except DbsyncError as error:
            log.warning("alerts_not_kept", reason=str(error))

    def _tell(self, standing: Standing, hook: str, now: float) -> None:
        message = self._message(standing, now)
        told = {"alert": message.alert, "subject": message.subject, "state": message.state, "hook": hook}
        try:
            hooks.tell(self.config, hook, message)
        except HookFailed as error:
            Book.failed(standing, f"{hook}: {error}")
            log.warning("alert_not_told", **told, reason=str(error), hint="dbsync alerts test")
            return
        Book.heard(standing, hook, now)
        log.info("alert_told", **told)

    def _message(self, standing: Standing, now: float) -> Message:
        condition = standing.condition
        return Message(
            node=self.node,
            alert=condition.kind.value,
            subject=condition.subject,
            state="over" if standing.over else "firing",
            severity=condition.severity.value,
            what=condition.what,
            hint=condition.hint,
            since=_text(standing.since),
            at=_text(now),
        )

    def _beat(self) -> None:
        """Say that all is well, if it is; what is in the way is said once, and tried again."""
        if self.config.heartbeat is None or time.monotonic() < self._beat_at or not self.is_well():
            return
        self._beat_at = time.monotonic() + BEAT
        trouble = None
        try:
            hooks.beat(self.config.heartbeat)
        except HookFailed as error:
            trouble = str(error)
        if trouble is not None and trouble != self._beat_trouble:
            log.warning("heartbeat_failed", reason=trouble)
        self._beat_trouble = trouble


@contextmanager
def looking(watcher: Watcher) -> Iterator[None]:
    """While inside, look again and again."""
    stop = threading.Event()
    thread = threading.Thread(target=_look_on, args=(watcher, stop), name="alerts", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(PATIENCE)


def _look_on(watcher: Watcher, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            watcher.look()
        except Exception as error:  # the last edge: a bug in here keeps no change waiting
            log.error("alerts_failed", error=type(error).__name__, place=place_of(error))
        stop.wait(watcher.pause)


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
