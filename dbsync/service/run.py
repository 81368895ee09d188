"""The service: one link, shipped until told to stop. An unreachable upstream is a state, not a crash."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FrameType

import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from dbsync import schema
from dbsync.apply.applier import Applier
from dbsync.changelog.reader import Reader
from dbsync.config.models import Config
from dbsync.errors import DbsyncError, LinkHalted
from dbsync.postgres import connect, translated
from dbsync.service import node as nodes
from dbsync.service.link import Link, LinkState, set_state
from dbsync.service.notify import notify
from dbsync.transport.direct import Direct

IDLE_FIRST = 0.01
"""Seconds to the first look after something was shipped; each further look waits twice as long."""
PURGE_BITES = 50

log = structlog.get_logger()


@dataclass(kw_only=True)
class Service:
    """Ships one node's changes to its upstream until :attr:`stop` is set.

    ``reload`` is asked after SIGHUP for the configuration as it is then, its triggers installed.
    """

    config: Config
    reload: Callable[[], Config] | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    reread: threading.Event = field(default_factory=threading.Event)
    _said: str = ""

    def run_once(self) -> int:
        """Ship everything pending; give the number of changes. Raises what stood in the way, having left word of it."""
        try:
            with self._link() as link:
                shipped = link.ship(self.stop.is_set)
                self._purge(link)
        except DbsyncError as error:
            self._leave_word(error)
            raise
        self._set_state(LinkState.STOPPED)
        return shipped

    def run(self) -> None:
        """Ship until stopped, trying again with growing pauses whatever is away or in the way."""
        notify("READY=1")
        while not self.stop.is_set():
            for attempt in Retrying(
                retry=retry_if_exception(lambda error: _worth_waiting(error) and not self.stop.is_set()),
                wait=wait_random_exponential(multiplier=0.5, max=self.config.service.retry_max),
                sleep=self._sleep,
                before_sleep=self._say,
                reraise=True,
            ):
                with attempt:
                    self._attempt()
        notify("STOPPING=1")
        self._set_state(LinkState.STOPPED)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """While inside, SIGTERM and SIGINT finish the batch and stop, SIGHUP rereads the configuration."""

        def on_stop(_number: int, _frame: FrameType | None) -> None:
            self.stop.set()

        def on_hangup(_number: int, _frame: FrameType | None) -> None:
            self.reread.set()

        before = {
            number: signal.signal(number, handler)
            for number, handler in ((signal.SIGTERM, on_stop), (signal.SIGINT, on_stop), (signal.SIGHUP, on_hangup))
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _attempt(self) -> None:
        """Connect, catch up, and stay until something breaks. Comes back when stopped, or when shipping broke off."""
        with self._link() as link:
            link.ship(self._interrupted)
            self._said = ""
            self._set_state(LinkState.STREAMING)
            log.info("link_connected", link=link.name)
            self._stream(link)

    def _stream(self, link: Link) -> None:
        pause = IDLE_FIRST
        paused = False
        unpurged = True
        while not self.stop.is_set():
            self._reread()
            now_paused = self._is_paused(link)
            if now_paused != paused:
                paused = now_paused
                self._set_state(LinkState.PAUSED if paused else LinkState.STREAMING)
            shipped = 0 if paused else link.ship(self._interrupted)
            if shipped:
                pause = IDLE_FIRST
                unpurged = True
                continue
            if unpurged and pause >= self.config.service.poll_interval:
                unpurged = self._purge(link, bites=1)
            self.stop.wait(pause)
            pause = min(pause * 2, self.config.service.poll_interval)

    @contextmanager
    def _link(self) -> Iterator[Link]:
        config = self.config
        with ExitStack() as stack:
            source = stack.enter_context(connect(config.node.source, name="source", application="dbsync reader"))
            schema.require(source, "source")
            with translated("source"):
                node = nodes.read(source)
            upstream = stack.enter_context(
                connect(config.upstream.url, name="upstream", application=f"dbsync {node.name}")
            )
            schema.require(upstream, "upstream")
            with translated("source"):
                reader = Reader(source, node=node.name, incarnation=node.incarnation, link=config.upstream.label)
            with translated("upstream"):
                transport = Direct(Applier(upstream))
            link = Link(
                node=node,
                name=config.upstream.label,
                reader=reader,
                transport=transport,
                max_changes=config.batch.max_changes,
            )
            link.settle()
            yield link

    def _interrupted(self) -> bool:
        return self.stop.is_set() or self.reread.is_set()

    def _is_paused(self, link: Link) -> bool:
        with translated("source"):
            return link.reader.paused()

    def _reread(self) -> None:
        if not self.reread.is_set():
            return
        self.reread.clear()
        if self.reload is None:
            return
        try:
            self.config = self.reload()
            log.info("configuration_reloaded")
        except DbsyncError as error:
            log.error("configuration_refused", reason=str(error), hint="the tables stay as they were")

    def _purge(self, link: Link, bites: int = PURGE_BITES) -> bool:
        """Purge up to ``bites`` times; say whether there may be more."""
        with translated("source"):
            return all(link.reader.purge() for _ in range(bites))

    def _sleep(self, seconds: float) -> None:
        self.stop.wait(seconds)

    def _say(self, state: RetryCallState) -> None:
        """Say what is in the way once, not at every attempt."""
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, DbsyncError):
            return
        self._leave_word(error)
        if str(error) != self._said:
            self._said = str(error)
            event = "link_halted" if isinstance(error, LinkHalted) else "link_unreachable"
            log.warning(
                event, link=self.config.upstream.label, reason=str(error), hint="changes wait safely in the source"
            )

    def _leave_word(self, error: DbsyncError) -> None:
        state = LinkState.UNREACHABLE if error.try_again else LinkState.HALTED
        if error.where != "source":
            self._set_state(state, str(error))

    def _set_state(self, state: LinkState, reason: str | None = None) -> None:
        try:
            with connect(self.config.node.source, name="source") as source:
                set_state(source, self.config.upstream.label, state, reason)
        except DbsyncError as error:
            log.warning("state_not_recorded", state=state.value, reason=str(error))


def _worth_waiting(error: BaseException) -> bool:
    return isinstance(error, DbsyncError) and (error.try_again or isinstance(error, LinkHalted))
