"""What a service has at hand whatever its route: the configuration of now, the flags, what is kept in order beside shipping."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import structlog

from dbsync import tally
from dbsync.config.models import Config
from dbsync.errors import DbsyncError
from dbsync.service.care import Care
from dbsync.service.flags import SLICE, Flag
from dbsync.service.upkeep import Upkeep
from dbsync.service.word import Word

if TYPE_CHECKING:
    from dbsync.service.relays import Met

log = structlog.get_logger()


@dataclass(kw_only=True)
class Post:
    """The place from which one node's changes are shipped.

    ``reload`` is asked after SIGHUP for the configuration as it is then, its triggers installed.
    """

    config: Config
    reload: Callable[[], Config] | None = None
    stop: Flag = field(default_factory=Flag)
    reread: Flag = field(default_factory=Flag)
    upkeep: Upkeep = field(default_factory=Upkeep)
    care: Care = field(default_factory=Care)
    word: Word = field(init=False)
    met: list[Met] = field(default_factory=list, init=False)
    """The relays that were in reach when the upstream was not, at the last look."""

    def __post_init__(self) -> None:
        self._speak_anew()

    def _speak_anew(self) -> None:
        self.word = Word(config=lambda: self.config)

    def is_interrupted(self) -> bool:
        """Say whether something else than shipping is to be done first."""
        return self.stop.is_set() or self.reread.is_set()

    def refresh(self) -> None:
        """Read the configuration again, if that was asked for."""
        if not self.reread.is_set():
            return
        self.reread.clear()
        if self.reload is None:
            return
        before = self.config
        try:
            self.config = self.reload()
            log.info("configuration_reloaded")
        except DbsyncError as error:
            log.error("configuration_refused", reason=str(error), hint="the tables stay as they were")
        if self.config.upstream.label != before.upstream.label:
            replace(self.word, config=lambda: before).stopped(held=True)
            self._speak_anew()

    def sleep(self, seconds: float) -> None:
        """Wait for the next attempt; a new configuration is read meanwhile, for its tables are to be captured now."""
        end = time.monotonic() + seconds
        while not self.stop.is_set() and time.monotonic() < end:
            self.refresh()
            self.stop.wait(min(SLICE, seconds))

    def visit_relays(self) -> bool:
        """Hand over to whoever is in reach while the upstream is not; say whether anybody was."""
        if not self.config.relays:
            return False
        from dbsync.service import relays  # noqa: PLC0415 - HTTP takes long to import, and few nodes have relays

        try:
            met = relays.visit(self.config)
        except DbsyncError as error:
            log.warning("relays_not_visited", reason=str(error))
            return False
        for one in met:
            if one.trouble is not None and not one.trouble.try_again:
                log.warning("relay_refused", relay=one.relay, reason=str(one.trouble), hint=one.trouble.hint)
        self.met = [one for one in met if one.trouble is None]
        for one in self.met:
            tally.count_carried(self.config.node.name, self.config.upstream.label, "relay", one.changes)
        return bool(self.met)
