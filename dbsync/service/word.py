"""What is said of a link: in the source, where ``status`` finds it, and in the log. Each thing is said once.

In the source only who has the link says how it is, and who finds it free: a second service beside the first knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from dbsync.config.models import Config
from dbsync.errors import DbsyncError, Exhausted, LinkTaken
from dbsync.postgres import connect
from dbsync.service.link import LinkState, set_state

KEPT = "changes wait safely in the source"

log = structlog.get_logger()


@dataclass(kw_only=True)
class Word:
    """What was said last, of the upstream that the configuration names now."""

    config: Callable[[], Config]
    state: LinkState = LinkState.NEW
    reason: str | None = None
    """Why, where no trouble is the reason."""
    trouble: DbsyncError | None = None
    """What is in the way now, as it was said."""
    unrecorded: bool = False
    """The source had no connection left for it, or was away: it is left once more."""

    def on(self, state: LinkState, reason: str | None = None, *, held: bool = True) -> bool:
        """Leave word of a state when it begins; whatever was in the way is over. Says whether there was anything to say.

        Whoever calls it has the link, or has not ``held`` it.
        """
        if self.trouble is None and (state, reason) == (self.state, self.reason):
            if self.unrecorded:
                self._record(state, reason, held=held, quietly=True)
            return False
        self.trouble, self.reason = None, reason
        self._record(state, reason, held=held)
        return True

    def stopped(self, *, held: bool = False) -> None:
        """Leave word that nothing goes on any more, and of what was the matter when it ended."""
        if not isinstance(self.trouble, LinkTaken):
            self._record(LinkState.STOPPED, str(self.trouble) if self.trouble else self.reason, held=held)

    def leave(self, error: DbsyncError, state: LinkState) -> None:
        """Leave word of what is in the way for whoever asks for the status."""
        if not isinstance(error, LinkTaken):
            self._record(state, str(error), held=False, quietly=error.where == "source")

    def say(self, error: DbsyncError, state: LinkState) -> None:
        """Say what is in the way once, not at every attempt; a route that is away may be away in changing words."""
        self.leave(error, state)
        before, self.trouble = self.trouble, error
        if before is not None and (str(error) == str(before) or _is_more_of(error, before)):
            return
        if isinstance(error, LinkTaken):
            log.warning(
                "link_taken",
                link=self.config().upstream.label,
                reason=str(error),
                hint="this one waits until that one ends; dbsync status   shows how far it is",
            )
            return
        log.warning(
            "link_unreachable" if error.try_again else "link_halted",
            link=self.config().upstream.label,
            reason=str(error),
            hint=f"{KEPT}   {error.hint}" if error.hint and not error.try_again else KEPT,
        )

    def stands(self) -> bool:
        """Say whether what is in the way is so until a batch has gone: that somebody answers mends nothing of it."""
        return self.trouble is not None and (not self.trouble.try_again or isinstance(self.trouble, Exhausted))

    def has_no_room(self) -> bool:
        """Say whether what is in the way is that a disk is full, or that no connection, memory or lock is left."""
        return isinstance(self.trouble, Exhausted) or self.state is LinkState.FULL

    def _record(self, state: LinkState, reason: str | None, *, held: bool, quietly: bool = False) -> None:
        """Leave word in the source; ``quietly`` where it is the source that is in trouble, and may be able to or not."""
        self.state = state
        config = self.config()
        try:
            with connect(config.node.source, name="source") as source:
                set_state(source, config.upstream.label, state, reason, held=held)
            self.unrecorded = False
        except LinkTaken:
            self.unrecorded = True  # how it is the other one says, until it ends
        except DbsyncError as error:
            self.unrecorded = True
            if not quietly:
                log.warning("state_not_recorded", state=state.value, reason=str(error))


def _is_more_of(error: DbsyncError, before: DbsyncError) -> bool:
    return error.try_again and before.try_again and isinstance(error, LinkTaken) == isinstance(before, LinkTaken)
