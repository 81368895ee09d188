"""The service: one link, shipped until told to stop. An unreachable upstream is a state, not a crash."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FrameType

import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from dbsync import schema
from dbsync.bundle import files
from dbsync.changelog.reader import Reader
from dbsync.config.fields import Route
from dbsync.config.models import Config
from dbsync.errors import DbsyncError, Exhausted, IdentityConflict, LinkHalted, NotAdmitted, Refusal, Unreachable
from dbsync.postgres import connect, translated
from dbsync.service import relays, routes
from dbsync.service.care import Care
from dbsync.service.flags import SLICE, Flag
from dbsync.service.held import held_link
from dbsync.service.link import Link, LinkState, set_state
from dbsync.service.lives import at_home
from dbsync.service.notify import notify
from dbsync.service.sticks import LOOK, Seen, Sticks
from dbsync.service.upkeep import Upkeep
from dbsync.silence import let_server_notice

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


@dataclass(kw_only=True)
class Service:
    """Ships one node's changes to its upstream until :attr:`stop` is set.

    ``reload`` is asked after SIGHUP for the configuration as it is then, its triggers installed.
    """

    config: Config
    reload: Callable[[], Config] | None = None
    stop: Flag = field(default_factory=Flag)
    reread: Flag = field(default_factory=Flag)
    met: list[relays.Met] = field(default_factory=list, init=False)
    """The relays that were in reach when the upstream was not, at the last look."""
    filled: Seen | None = field(default=None, init=False)
    """What became of the stick, where that is the route, at the last look."""
    _state: LinkState = LinkState.NEW
    _told: str | None = None
    """What was said of the stick last."""
    _upkeep: Upkeep = field(default_factory=Upkeep)
    _care: Care = field(default_factory=Care)
    _trouble: DbsyncError | None = None
    """What is in the way now, as it was said."""

    def run_once(self) -> int:
        """Ship everything pending; give the number of changes. Raises what stood in the way, having left word of it.

        Where there is no route and a relay is in reach, :attr:`met` says what it took, and nothing is raised.
        """
        try:
            self._upkeep.tidy(self.config)
            self._care.take(self.config)
            shipped = self._once()
        except DbsyncError as error:
            self._leave_word(error)
            if not (error.try_again and self._visit_relays()):
                raise
            return 0
        if self.filled is None:
            self._set_state(LinkState.STOPPED)
        return shipped

    def _once(self) -> int:
        if self.config.upstream.route is Route.FILE:
            return self._fill_once(Sticks(config=self.config, stop=self.stop.is_set))
        with self._link() as link:
            self._refuse_if_paused(link.reader)
            shipped = link.ship(self.stop.is_set)
            link.tend()
            with translated("source"):
                self._upkeep.finish()
        return shipped

    def run(self) -> None:
        """Ship until stopped, trying again with growing pauses whatever is away or in the way.

        Raises what no waiting mends, having left word of it: rights, another schema version.
        """
        notify("READY=1")
        try:
            self._run()
        except DbsyncError as error:
            self._leave_word(error)
            raise
        finally:
            notify("STOPPING=1")
        self._set_state(LinkState.STOPPED, str(self._trouble) if self._trouble else self._told)

    def _run(self) -> None:
        while not self.stop.is_set():
            for attempt in Retrying(
                retry=retry_if_exception(_worth_waiting),
                stop=lambda _: self.stop.is_set(),
                retry_error_callback=lambda _: None,
                wait=self._pause,
                sleep=self._sleep,
                before_sleep=self._before_sleep,
            ):
                with attempt:
                    self._attempt()

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
        """Connect, catch up, and stay until something breaks.

        Comes back when stopped, when the configuration is another one, and when something broke after all was shipped:
        then the pauses begin anew.
        """
        caught_up = False
        try:
            if not self.stop.is_set():
                self._upkeep.tidy(self.config)
                for _ in self._stay():
                    caught_up = True
        except DbsyncError as error:
            if not (caught_up and _worth_waiting(error)):
                raise
            self._say(error)
            self._sleep(_asked_for(error))

    def _stay(self) -> Iterator[None]:
        """Hold the route and ship whatever comes; yield whenever nothing is left."""
        if self.config.upstream.route is Route.FILE:
            yield from self._fill_sticks(Sticks(config=self.config, stop=self.stop.is_set))
            return
        with self._link() as link:
            log.info("link_connected", link=link.name)
            yield from self._stream(link)

    def _fill_once(self, sticks: Sticks) -> int:
        """Do with the stick what is to be done; raise what is wrong with it."""
        if not sticks.is_here():
            raise sticks.missing()
        with held_link(self.config) as held:
            self._refuse_if_paused(held.reader)
            seen = sticks.look(held)
            with translated("source"):
                self._upkeep.begin(held.reader.connection, self.config.retention)
                self._upkeep.finish()
        if seen.trouble is not None:
            raise seen.trouble
        self.filled = seen
        self._tell(seen)
        return seen.changes

    def _fill_sticks(self, sticks: Sticks) -> Iterator[None]:
        """Wait for the stick, and do with it what is to be done while it is in; no stick is the normal state."""
        while not self.stop.is_set():
            if sticks.is_here():
                yield from self._while_here(sticks)
            self._reread()
            if self.config != sticks.config:
                return
            self._tell(sticks.away())
            self._upkeep.tidy(self.config)
            self._care.take(self.config)
            if sticks.relays_are_due():
                self._visit_relays()
            yield
            self.stop.wait(LOOK)

    def _while_here(self, sticks: Sticks) -> Iterator[None]:
        with held_link(self.config) as held:
            with translated("source"):
                self._upkeep.begin(held.reader.connection, self.config.retention)
            while not self.stop.is_set() and sticks.is_here():
                self._reread()
                if self.config != sticks.config:
                    return
                seen = Seen(state=LinkState.PAUSED) if self._is_paused(held.reader) else sticks.look(held)
                self._tell(seen)
                with translated("source"):
                    self._upkeep.purge(shipped=seen.acknowledged > 0)
                self._care.take(self.config)
                yield
                self.stop.wait(LOOK)

    def _tell(self, seen: Seen) -> None:
        """Leave word of a stick when it is another one than before."""
        if self._trouble is not None or (seen.state, seen.reason) != (self._state, self._told):
            self._trouble, self._told = None, seen.reason
            self._set_state(seen.state, seen.reason)
            log.info("stick_looked_at", link=self.config.upstream.label, state=seen.state.value, reason=seen.reason)

    def _stream(self, link: Link) -> Iterator[None]:
        """Ship whatever comes; yield whenever nothing is left."""
        begun = self.config
        quiet_since = time.monotonic()
        tend_at = -math.inf
        shipped = 0
        while not self.stop.is_set():
            self._reread()
            if self.config != begun:
                return
            with translated("source"):  # before shipping, which stops when the next turn is due
                self._upkeep.purge(shipped=shipped > 0)
            shipped = self._ship(link)
            if not shipped:
                yield
            elif link.held:
                tend_at = -math.inf
            if time.monotonic() >= tend_at:  # also while there is always more to ship
                tend_at = time.monotonic() + _tend(link)
            self._care.take(self.config)
            if shipped:
                quiet_since = time.monotonic()
                continue
            quiet = time.monotonic() - quiet_since
            self.stop.wait(min(max(IDLE_FIRST, quiet * IDLE_SHARE), self.config.service.poll_interval))

    def _ship(self, link: Link) -> int:
        """Ship what is pending unless somebody paused it, and leave word of it; a halt is over when something went."""
        paused = self._is_paused(link.reader)
        state = LinkState.PAUSED if paused else LinkState.STREAMING
        if self._trouble is None or (self._trouble.try_again and not isinstance(self._trouble, Exhausted)):
            self._on(state)
        begun = time.monotonic()
        shipped = (
            0
            if paused
            else link.ship(lambda: self._interrupted() or self._upkeep.is_due(begun) or self._is_paused(link.reader))
        )
        self._on(state)
        return shipped

    def _on(self, state: LinkState) -> None:
        """Leave word of a state once, when it begins."""
        if self._state is not state or self._trouble is not None:
            self._trouble = None
            self._set_state(state)

    @contextmanager
    def _link(self) -> Iterator[Link]:
        config = self.config
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
                self._upkeep.begin(source, config.retention)
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

    def _interrupted(self) -> bool:
        return self.stop.is_set() or self.reread.is_set()

    def _refuse_if_paused(self, reader: Reader) -> None:
        if self._is_paused(reader):
            raise Refusal(
                "shipping is paused",
                where=self.config.upstream.label,
                why="somebody typed dbsync pause; changes wait safely in the source",
                hint="dbsync resume",
            )

    def _is_paused(self, reader: Reader) -> bool:
        with translated("source"):
            return reader.paused()

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

    def _pause(self, state: RetryCallState) -> float:
        """Give the seconds until the next attempt: ever more, and never fewer than the other side asks for."""
        growing = wait_random_exponential(multiplier=0.5, max=self.config.service.retry_max)
        return max(growing(state), _asked_for(state.outcome.exception() if state.outcome else None))

    def _sleep(self, seconds: float) -> None:
        """Wait for the next attempt; a new configuration is read meanwhile, for its tables are to be captured now."""
        end = time.monotonic() + seconds
        while not self.stop.is_set() and time.monotonic() < end:
            self._reread()
            self.stop.wait(min(SLICE, seconds))

    def _before_sleep(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, DbsyncError):
            self._say(error)
            if error.try_again:
                self._visit_relays()

    def _visit_relays(self) -> bool:
        """Hand over to whoever is in reach while the upstream is not; say whether anybody was."""
        if not self.config.relays:
            return False
        try:
            met = relays.visit(self.config)
        except DbsyncError as error:
            log.warning("relays_not_visited", reason=str(error))
            return False
        for one in met:
            if one.trouble is not None and not one.trouble.try_again:
                log.warning("relay_refused", relay=one.relay, reason=str(one.trouble))
        self.met = [one for one in met if one.trouble is None]
        return bool(self.met)

    def _say(self, error: DbsyncError) -> None:
        """Say what is in the way once, not at every attempt; a route that is away may be away in changing words."""
        self._leave_word(error)
        before, self._trouble = self._trouble, error
        if before is not None and (str(error) == str(before) or (error.try_again and before.try_again)):
            return
        log.warning(
            "link_unreachable" if error.try_again else "link_halted",
            link=self.config.upstream.label,
            reason=str(error),
            hint="changes wait safely in the source",
        )

    def _leave_word(self, error: DbsyncError) -> None:
        state = LinkState.UNREACHABLE if error.try_again else LinkState.HALTED
        if isinstance(error, files.Gone):
            state = LinkState.AWAITED
        elif isinstance(error, Exhausted) and self.config.upstream.route is Route.FILE and error.where != "source":
            state = LinkState.FULL
        self._set_state(state, str(error), quietly=error.where == "source")

    def _set_state(self, state: LinkState, reason: str | None = None, *, quietly: bool = False) -> None:
        """Leave word in the source; ``quietly`` where it is the source that is in trouble, and may be able to or not."""
        self._state = state
        try:
            with connect(self.config.node.source, name="source") as source:
                set_state(source, self.config.upstream.label, state, reason)
        except DbsyncError as error:
            if not quietly:
                log.warning("state_not_recorded", state=state.value, reason=str(error))


def _tend(link: Link) -> float:
    """Look at what waits upstream; give the seconds until it is worth another look."""
    begun = time.monotonic()
    link.tend()
    took = time.monotonic() - begun
    return min(max(TEND, took / TEND_SHARE), TEND_LATEST)


def _worth_waiting(error: BaseException) -> bool:
    return isinstance(error, DbsyncError) and (
        error.try_again or isinstance(error, LinkHalted | IdentityConflict | NotAdmitted)
    )


def _asked_for(error: BaseException | None) -> float:
    """Give the seconds for which the other side wants to be left alone."""
    return (error.after or 0.0) if isinstance(error, Unreachable) else 0.0
