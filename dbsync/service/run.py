"""The service: one link, shipped until told to stop. An unreachable upstream is a state, not a crash."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from dbsync import posix, tally
from dbsync.config.fields import Route
from dbsync.config.models import Config
from dbsync.errors import (
    DbsyncError,
    IdentityConflict,
    LinkHalted,
    NotAdmitted,
    PrivilegeError,
    Refusal,
    SchemaVersionError,
    Unreachable,
)
from dbsync.service.care import Care
from dbsync.service.extras import require_nats
from dbsync.service.flags import Flag, raised_by
from dbsync.service.notify import notify
from dbsync.service.post import Post
from dbsync.service.way import Seen, Way

if TYPE_CHECKING:
    from dbsync.service.relays import Met


class Service:
    """Ships one node's changes to its upstream until :attr:`stop` is set, by whatever way the configuration names.

    ``reload`` is asked after SIGHUP for the configuration as it is then, its triggers installed.
    """

    def __init__(self, *, config: Config, reload: Callable[[], Config] | None = None, care: Care | None = None) -> None:
        self._post = Post(config=config, reload=reload, care=care or Care())
        self.done: Seen | None = None
        """What became of it, where everything went by the way that the configuration names."""

    @property
    def config(self) -> Config:
        """Give the configuration as it is now."""
        return self._post.config

    @property
    def stop(self) -> Flag:
        """Give the flag that ends it."""
        return self._post.stop

    @property
    def met(self) -> list[Met]:
        """Give the relays that were in reach when the upstream was not, at the last look."""
        return self._post.met

    def run_once(self) -> int:
        """Ship everything pending; give the number of changes. Raises what stood in the way, having left word of it.

        Where there is no route and a relay is in reach, :attr:`met` says what it took, and nothing is raised.
        """
        post = self._post
        try:
            post.upkeep.tidy(self.config)
            post.care.take(self.config)
            self.done = self._way.once()
        except DbsyncError as error:
            post.word.leave(error, self._way.state_of(error))
            if not (error.try_again and post.visit_relays()):
                raise
            return 0
        return self.done.changes

    def run(self) -> None:
        """Ship until stopped, trying again with growing pauses whatever is away or in the way.

        Raises what somebody has to mend here, having left word of it: a right in the source, its schema, the configuration.
        """
        notify("READY=1")
        try:
            self._run()
        except DbsyncError as error:
            self._post.word.leave(error, self._way.state_of(error))
            raise
        finally:
            notify("STOPPING=1")
        self._post.word.stopped()

    @contextmanager
    def signals(self) -> Iterator[None]:
        """While inside, SIGTERM and SIGINT finish the batch and stop, SIGHUP rereads the configuration."""
        flags = {signal.SIGTERM: self.stop, signal.SIGINT: self.stop}
        if posix.RELOAD is not None:
            flags[posix.RELOAD] = self._post.reread
        with raised_by(flags):
            yield

    def has_no_room(self) -> bool:
        """Say whether what is in the way is that a disk is full, or that no connection, memory or lock is left."""
        return self._post.word.has_no_room()

    @property
    def _way(self) -> Way:
        return chosen_way(self._post)

    def _run(self) -> None:
        while not self.stop.is_set():
            for attempt in Retrying(
                retry=retry_if_exception(_worth_waiting),
                stop=lambda _: self.stop.is_set(),
                retry_error_callback=lambda _: None,
                wait=self._pause,
                sleep=self._post.sleep,
                before_sleep=self._before_sleep,
            ):
                with attempt:
                    self._attempt()

    def _attempt(self) -> None:
        """Take the way, catch up, and stay until something breaks.

        Comes back when stopped, when the configuration is another one, and when something broke after all was shipped:
        then the pauses begin anew.
        """
        caught_up = False
        try:
            if not self.stop.is_set():
                self._post.upkeep.tidy(self.config)
                for _ in self._way.stay():
                    caught_up = True
        except DbsyncError as error:
            if not (caught_up and _worth_waiting(error)):
                raise
            self._say(error)
            self._post.sleep(_asked_for(error))

    def _pause(self, state: RetryCallState) -> float:
        """Give the seconds until the next attempt: ever more, and never fewer than the other side asks for."""
        growing = wait_random_exponential(multiplier=0.5, max=self.config.service.retry_max)
        return max(growing(state), _asked_for(state.outcome.exception() if state.outcome else None))

    def _before_sleep(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, DbsyncError):
            self._say(error)
            tally.count_pause(self.config.node.name, self.config.upstream.label)
            if error.try_again:
                self._post.visit_relays()

    def _say(self, error: DbsyncError) -> None:
        self._post.word.say(error, self._way.state_of(error))


def chosen_way(post: Post) -> Way:
    """Give the way that the configuration names. What another one needs is not imported: it takes long."""
    if post.config.upstream.route is Route.FILE:
        from dbsync.service.visiting import Visiting  # noqa: PLC0415

        return Visiting(post)
    if post.config.upstream.route is Route.NATS:
        require_nats()
        from dbsync.service.publishing import Publishing  # noqa: PLC0415

        return Publishing(post)
    from dbsync.service.streaming import Streaming  # noqa: PLC0415

    return Streaming(post)


def _worth_waiting(error: BaseException) -> bool:
    return isinstance(error, DbsyncError) and (
        error.try_again or isinstance(error, LinkHalted | IdentityConflict | NotAdmitted) or _is_mended_there(error)
    )


def _is_mended_there(error: DbsyncError) -> bool:
    """Say whether the upstream lacks something that its own people can give it, while nobody is near this node."""
    return error.where == "upstream" and isinstance(error, PrivilegeError | SchemaVersionError | Refusal)


def _asked_for(error: BaseException | None) -> float:
    """Give the seconds for which the other side wants to be left alone."""
    return (error.after or 0.0) if isinstance(error, Unreachable) else 0.0
