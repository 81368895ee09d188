"""Rounds: every laptop whose address is known is visited again and again, several at a time, for most are elsewhere."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog

from dbsync.errors import DbsyncError, Unreachable
from dbsync.relay.places import Places
from dbsync.relay.pulling import Pulled, Pulling

WORKERS = 4
"""Laptops that are visited at the same time."""
LOOK = 0.5
"""Seconds between two looks whose turn it is."""
AGAIN = 5.0
"""Seconds between two tries to reach a laptop, and after something was taken from one."""
IDLE = 15.0
"""Seconds between two visits while nothing waits there."""
REFUSED = 60.0
"""Seconds until somebody who did not let us in is asked again."""

log = structlog.get_logger()


@dataclass(kw_only=True)
class Rounds:
    """Keeps visiting. An address that is told meanwhile has its turn at once."""

    places: Places
    pulling: Pulling
    _due: dict[str, float] = field(default_factory=dict)
    """When each address has its next turn."""
    _told: dict[str, str] = field(default_factory=dict)
    """What was last said to be in the way at each."""

    def run(self, stop: threading.Event) -> None:
        """Visit until told to stop; a bug in a visit is raised."""
        under_way: dict[str, Future[float]] = {}
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="visit") as pool:
            while not stop.wait(LOOK):
                for url, visit in list(under_way.items()):
                    if visit.done():
                        del under_way[url]
                        self._due[url] = time.monotonic() + visit.result()
                for place in self.places.all():
                    if place.url not in under_way and time.monotonic() >= self._due.get(place.url, 0.0):
                        under_way[place.url] = pool.submit(self.visit, place.url)

    def visit(self, url: str) -> float:
        """Visit once; give the seconds until the next visit."""
        try:
            pulled = visited(self.places, self.pulling, url)
        except DbsyncError as error:
            self._tell(url, error)
            return max(AGAIN if error.try_again else REFUSED, _asked_for(error))
        self._told.pop(url, None)
        return AGAIN if pulled.bundles else IDLE

    def _tell(self, url: str, error: DbsyncError) -> None:
        """Say once what somebody has to mend; that a laptop is elsewhere is no news."""
        if not error.try_again and self._told.get(url) != str(error):
            self._told[url] = str(error)
            log.warning("laptop_refuses", url=url, reason=str(error), hint=error.hint)


def visited(places: Places, pulling: Pulling, url: str) -> Pulled:
    """Visit a laptop, and note how it went. Raises what was in the way."""
    try:
        pulled = pulling.visit(url)
    except DbsyncError as error:
        places.troubled(url, str(error))
        raise
    places.visited(url, pulled.node)
    return pulled


def _asked_for(error: DbsyncError) -> float:
    return (error.after or 0.0) if isinstance(error, Unreachable) else 0.0
