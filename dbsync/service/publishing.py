"""The way over a broker: what is committed is left there at once, and its receipts come back on a subject of the node's own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from dbsync.errors import DbsyncError
from dbsync.identity.keys import Keys
from dbsync.postgres import translated
from dbsync.pulse import PULSE
from dbsync.service.consigning import Consigning, Left
from dbsync.service.held import held_link
from dbsync.service.link import LinkState
from dbsync.service.post import Post
from dbsync.service.way import Seen, is_paused, refuse_if_paused, state_of
from dbsync.transport import broker

IDLE_FIRST = 0.02
"""Seconds to the first look after something went: batches under load are those of so long, and no smaller ones."""
IDLE_SHARE = 0.1
"""Of the time in which nothing came: so much passes until the next look."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Publishing:
    """Leaves batches at the broker that the configuration names."""

    post: Post

    def once(self) -> Seen:
        """Take receipts home and leave everything that is pending."""
        with self._consigning() as consigning:
            refuse_if_paused(consigning.held.reader, consigning.held.name)
            found = consigning.look()
            with translated("source"):
                self.post.upkeep.finish()
            waiting = consigning.held.waiting()
            self.post.word.on(LinkState.STOPPED)
        return Seen(
            state=LinkState.STOPPED,
            reason=_outstanding(waiting),
            changes=found.changes,
            acknowledged=found.acknowledged,
        )

    def stay(self) -> Iterator[None]:
        """Hold the connection, and leave whatever comes."""
        with self._consigning() as consigning:
            log.info("link_connected", link=consigning.held.name)
            yield from self._stay(consigning)

    def state_of(self, error: DbsyncError) -> LinkState:
        """Tell a broker that has no room from one that is away."""
        return LinkState.BROKER_FULL if isinstance(error, broker.Full) else state_of(error)

    @contextmanager
    def _consigning(self) -> Iterator[Consigning]:
        config = self.post.config
        keys = Keys.load(Path(config.node.keys))
        with (
            broker.opened(
                config.upstream.url,
                keys,
                node=config.node.name,
                ca=config.upstream.ca,
                silence=config.service.silence,
            ) as connection,
            held_link(config) as held,
        ):
            with translated("source"):
                self.post.upkeep.begin(held.reader.connection, config.retention)
            yield Consigning(config=config, keys=keys, held=held, broker=connection, stop=self.post.is_interrupted)

    def _stay(self, consigning: Consigning) -> Iterator[None]:
        post, begun = self.post, self.post.config
        quiet_since = time.monotonic()
        found = Left()
        while not post.stop.is_set():
            post.refresh()
            if post.config != begun:
                return
            with translated("source"):
                post.upkeep.purge(shipped=found.acknowledged > 0)
            found = self._look(consigning)
            post.care.take(post.config)
            if found.batches or found.acknowledged:
                quiet_since = time.monotonic()
            else:
                yield
            quiet = time.monotonic() - quiet_since
            post.stop.wait(min(max(IDLE_FIRST, quiet * IDLE_SHARE), post.config.service.poll_interval))

    def _look(self, consigning: Consigning) -> Left:
        """Do what is to be done unless somebody paused it, and leave word of it."""
        if is_paused(consigning.held.reader):
            self.post.word.on(LinkState.PAUSED)
            return Left()
        found = consigning.look()
        self.post.word.on(LinkState.STREAMING)
        PULSE.note_well()
        return found


def _outstanding(batches: int) -> str | None:
    return f"receipts outstanding for {batches:,} {'batch' if batches == 1 else 'batches'}" if batches else None
