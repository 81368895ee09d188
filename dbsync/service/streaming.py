"""The way over a line: the link is held, and whatever is committed is shipped at once; each batch brings its receipt."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import structlog

from dbsync import schema
from dbsync.changelog.reader import Reader
from dbsync.errors import DbsyncError
from dbsync.postgres import connect, let_server_notice, translated
from dbsync.pulse import PULSE
from dbsync.service import routes
from dbsync.service.link import Link, LinkState
from dbsync.service.lives import at_home
from dbsync.service.post import Post
from dbsync.service.way import Seen, is_paused, refuse_if_paused, state_of

IDLE_FIRST = 0.002
"""Seconds to the first look after something was shipped."""
IDLE_SHARE = 0.1
"""Of the time in which nothing came: so much passes until the next look, and no change waits much longer than that."""
TEND = 5.0
"""Seconds between two looks at what waits in quarantine upstream."""
TEND_SHARE = 0.1
"""Of the time: looking at an upstream far away takes no more of it."""
TEND_LATEST = 60.0
"""Seconds after which it is looked at all the same."""
CLAIM_PATIENCE = 5.0
"""Seconds in which the server notices that a service before this one was killed."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Streaming:
    """Ships over the line that the configuration asks for."""

    post: Post

    def once(self) -> Seen:
        """Ship everything pending."""
        with self.link() as link:
            refuse_if_paused(link.reader, link.name)
            shipped = link.ship(self.post.stop.is_set)
            link.tend()
            with translated("source"):
                self.post.upkeep.finish()
            self.post.word.on(LinkState.STOPPED)
        return Seen(state=LinkState.STOPPED, changes=shipped)

    def stay(self) -> Iterator[None]:
        """Hold the line and ship whatever comes."""
        with self.link() as link:
            log.info("link_connected", link=link.name)
            yield from self._stream(link)

    def state_of(self, error: DbsyncError) -> LinkState:
        """Say whether the line is away, or something is wrong."""
        return state_of(error)

    @contextmanager
    def link(self) -> Iterator[Link]:
        """Open the line, and agree with the upstream on what it has."""
        config = self.post.config
        with ExitStack() as stack:
            silence = config.service.silence
            source = stack.enter_context(
                connect(config.node.source, name="source", application="dbsync reader", silence=silence)
            )
            schema.require(source, "source")
            node = at_home(source, config.node.name)
            transport = stack.enter_context(routes.transport(config, node, source))
            with translated("source"):
                reader = Reader(
                    source,
                    node=node.name,
                    lineage=node.lineage,
                    incarnation=node.incarnation,
                    link=config.upstream.label,
                )
                reader.claim(CLAIM_PATIENCE)
                let_server_notice(source, silence)
                self.post.upkeep.begin(source, config.retention)
            link = Link(
                node=node,
                name=config.upstream.label,
                reader=reader,
                transport=transport,
                max_changes=config.batch.max_changes,
            )
            link.settle()
            link.meet()
            yield link

    def _stream(self, link: Link) -> Iterator[None]:
        post = self.post
        begun = post.config
        quiet_since = time.monotonic()
        tend_at = -math.inf
        shipped = 0
        while not post.stop.is_set():
            post.refresh()
            if post.config != begun:
                return
            with translated("source"):  # before shipping, which stops when the next turn is due
                post.upkeep.purge(shipped=shipped > 0)
            shipped = self._ship(link)
            if post.word.state is LinkState.STREAMING:
                PULSE.note_well()
            if not shipped:
                yield
            elif link.held:
                tend_at = -math.inf
            if time.monotonic() >= tend_at:  # also while there is always more to ship
                tend_at = time.monotonic() + _tend(link)
            post.care.take(post.config)
            if shipped:
                quiet_since = time.monotonic()
                continue
            quiet = time.monotonic() - quiet_since
            post.stop.wait(min(max(IDLE_FIRST, quiet * IDLE_SHARE), post.config.service.poll_interval))

    def _ship(self, link: Link) -> int:
        """Ship what is pending unless somebody paused it, and leave word of it; a halt is over when something went."""
        word, upkeep = self.post.word, self.post.upkeep
        if word.state is LinkState.STREAMING and word.trouble is None and _is_idle(link.reader):
            return 0
        paused = is_paused(link.reader)
        state = LinkState.PAUSED if paused else LinkState.STREAMING
        if not word.stands():
            word.on(state)
        begun = time.monotonic()
        shipped = (
            0
            if paused
            else link.ship(lambda: self.post.is_interrupted() or upkeep.is_due(begun) or is_paused(link.reader))
        )
        word.on(state)
        return shipped


def _is_idle(reader: Reader) -> bool:
    with translated("source"):
        return reader.is_idle()


def _tend(link: Link) -> float:
    """Look at what waits upstream; give the seconds until it is worth another look."""
    begun = time.monotonic()
    link.tend()
    took = time.monotonic() - begun
    return min(max(TEND, took / TEND_SHARE), TEND_LATEST)
