"""The way on a stick: it is there or not, and while it is, receipts are taken from it and what has none is written onto it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from dbsync.bundle import files
from dbsync.errors import DbsyncError, Exhausted
from dbsync.postgres import translated
from dbsync.pulse import PULSE
from dbsync.service.held import held_link
from dbsync.service.link import LinkState
from dbsync.service.post import Post
from dbsync.service.sticks import LOOK, Sticks
from dbsync.service.way import Seen, is_paused, refuse_if_paused, state_of

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Visiting:
    """Does with the stick what is to be done, whenever the folder is there that ``upstream.url`` names."""

    post: Post

    def once(self) -> Seen:
        """Do it now; no stick, and what is wrong with one, is in the way."""
        post, sticks = self.post, self._sticks()
        if not sticks.is_here():
            raise sticks.missing()
        with held_link(post.config) as held:
            refuse_if_paused(held.reader, held.name)
            seen = sticks.look(held)
            with translated("source"):
                post.upkeep.begin(held.reader.connection, post.config.retention)
                post.upkeep.finish()
            if seen.trouble is None:
                self._tell(seen)
        if seen.trouble is not None:
            raise seen.trouble
        return seen

    def stay(self) -> Iterator[None]:
        """Wait for the stick, and do it while it is in; no stick is the normal state, and no trouble of one is an error."""
        post, sticks = self.post, self._sticks()
        while not post.stop.is_set():
            if sticks.is_here():
                yield from self._while_here(sticks)
            if post.stop.is_set():
                return  # what was said last is so: the stick is in, or was when anybody looked
            post.refresh()
            if post.config != sticks.config:
                return
            self._tell(sticks.away(), held=False)
            post.upkeep.tidy(post.config)
            post.care.take(post.config)
            if sticks.relays_are_due():
                post.visit_relays()
            yield
            post.stop.wait(LOOK)

    def state_of(self, error: DbsyncError) -> LinkState:
        """Tell a stick that is not there, or full, from other trouble."""
        if isinstance(error, files.Gone):
            return LinkState.AWAITED
        if isinstance(error, Exhausted) and error.where != "source":
            return LinkState.FULL
        return state_of(error)

    def _sticks(self) -> Sticks:
        return Sticks(config=self.post.config, stop=self.post.stop.is_set)

    def _while_here(self, sticks: Sticks) -> Iterator[None]:
        post = self.post
        with held_link(post.config) as held:
            with translated("source"):
                post.upkeep.begin(held.reader.connection, post.config.retention)
            while not post.stop.is_set() and sticks.is_here():
                post.refresh()
                if post.config != sticks.config:
                    return
                seen = Seen(state=LinkState.PAUSED) if is_paused(held.reader) else sticks.look(held)
                self._tell(seen)
                with translated("source"):
                    post.upkeep.purge(shipped=seen.acknowledged > 0)
                post.care.take(post.config)
                yield
                post.stop.wait(LOOK)

    def _tell(self, seen: Seen, *, held: bool = True) -> None:
        """Leave word of a stick when it is another one than before."""
        if seen.trouble is None and seen.state is not LinkState.PAUSED:
            PULSE.note_well()
        if not self.post.word.on(seen.state, seen.reason, held=held):
            return
        said = {"link": self.post.config.upstream.label, "state": seen.state.value, "reason": seen.reason}
        if seen.trouble is None:
            log.info("stick_looked_at", **said)
        else:
            log.warning("stick_looked_at", **said, hint=seen.trouble.hint)
