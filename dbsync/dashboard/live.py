"""Live pages: one look at the database for all browsers, as long as any listens, and to each only what has changed.

A browser that reads slowly is sent the newest of each part when it comes to it, so nothing piles up. What is sent is the same for
everybody who may look: no values, and no forms.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field

import structlog
from anyio.to_thread import run_sync
from starlette.responses import Response, StreamingResponse

from dbsync.errors import DbsyncError, Unreachable, place_of

PARTS = frozenset({"health", "badge", "link", "nodes", "nodes-full", "tables", "plots", "away"})
PAUSE = 2.0
"""Seconds between two looks ..."""
SHARE = 20
"""... and no fewer than so many times what the last one took."""
BREATH = 15.0
"""Seconds after which something is sent, if only to find out that nobody reads it any more."""
MOST = 64
"""Streams at the same time."""
EACH = 3
"""Streams of one browser. It keeps no more than six lines to one server, and pages want some of them."""
END = "end"

log = structlog.get_logger()


@dataclass(eq=False, slots=True, kw_only=True)
class Listener:
    """One page in one browser."""

    browser: bytes
    wanted: frozenset[str]
    waiting: dict[str, str] = field(default_factory=dict)
    """Parts that were not sent yet, each as it is now."""
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False

    def offer(self, parts: Mapping[str, str]) -> None:
        """Have these sent, as far as the page shows them."""
        new = {name: html for name, html in parts.items() if name in self.wanted}
        if new:
            self.waiting |= new
            self.woken.set()

    def end(self) -> None:
        """Have the stream end."""
        self.ended = True
        self.woken.set()

    async def next(self) -> dict[str, str]:
        """Wait for something to send; nothing after a while, to breathe."""
        try:
            async with asyncio.timeout(BREATH):
                await self.woken.wait()
        except TimeoutError:
            return {}
        self.woken.clear()
        parts, self.waiting = self.waiting, {}
        return parts


@dataclass(kw_only=True)
class Live:
    """All that listen. To be used on the server's event loop, but for what it is given: that runs in threads."""

    look: Callable[[Collection[str]], Mapping[str, str]]
    """Renders parts of pages."""
    _listeners: list[Listener] = field(default_factory=list)
    _last: dict[str, str] = field(default_factory=dict)
    _beating: asyncio.Task[None] | None = None
    _stopped: bool = False

    def listen(self, browser: bytes, wanted: Collection[str], still_in: Callable[[], bool]) -> Response:
        """Send a browser the parts that it shows, whenever they change, until it is ``still_in`` no more."""
        if len(self._listeners) >= MOST or self._stopped:
            raise Unreachable(
                "too many pages are live at this moment", where="web", hint="reload the page to see how things are"
            )
        listener = Listener(browser=browser, wanted=PARTS & {*wanted, "away"})
        return StreamingResponse(
            self._stream(listener, still_in), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
        )

    def stop(self) -> None:
        """End all streams, and begin none any more."""
        self._stopped = True
        for listener in self._listeners:
            listener.end()

    async def _stream(self, listener: Listener, still_in: Callable[[], bool]) -> AsyncIterator[bytes]:
        self._join(listener)
        checked = time.monotonic()
        try:
            yield b"retry: 2000\n\n"
            while not listener.ended:
                parts = await listener.next()
                if time.monotonic() > checked + BREATH:
                    checked = time.monotonic()
                    if not await run_sync(still_in):
                        break
                yield b"".join(event(name, html) for name, html in parts.items()) or b": \n\n"
            if not self._stopped:  # a server that is begun again is found by the browser itself
                yield event(END, "")
        finally:
            self._listeners.remove(listener)

    def _join(self, listener: Listener) -> None:
        own = [one for one in self._listeners if one.browser == listener.browser and not one.ended]
        if len(own) >= EACH:
            own[0].end()
        self._listeners.append(listener)
        listener.offer(self._last)
        if self._beating is None or self._beating.done():
            self._last = {}  # from before everybody left
            listener.waiting.clear()
            self._beating = asyncio.get_running_loop().create_task(self._beat())

    async def _beat(self) -> None:
        """Look as long as anybody listens."""
        while self._listeners and not self._stopped:
            begun = time.monotonic()
            wanted = frozenset[str]().union(*(one.wanted for one in self._listeners))
            parts = await run_sync(self._look, wanted)
            changed = {name: html for name, html in parts.items() if self._last.get(name) != html}
            self._last |= changed
            for listener in self._listeners:
                listener.offer(changed)
            await asyncio.sleep(max(PAUSE, SHARE * (time.monotonic() - begun)))

    def _look(self, wanted: frozenset[str]) -> Mapping[str, str]:
        """Look, and say on the page what is in the way."""
        try:
            return {**self.look(wanted - {"away"}), "away": ""}
        except DbsyncError as error:
            return {
                "away": "Not live: the database is out of reach. It is tried again." if error.try_again else "Not live."
            }
        except Exception as error:  # the last edge: the page says it, the log says where
            log.error("live_failed", error=type(error).__name__, place=place_of(error))
            return {"away": "Not live: a bug in dbsync."}


def event(name: str, html: str) -> bytes:
    r"""Write one event, as HTML's section on server-sent events has it.

    >>> event("health", "all\nwell")
    b'event: health\ndata: all\ndata: well\n\n'
    """
    lines = "".join(f"data: {line}\n" for line in html.splitlines() or [""])
    return f"event: {name}\n{lines}\n".encode()
