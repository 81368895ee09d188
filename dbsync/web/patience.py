"""HTTP/1.1 for whoever asks in time: uvicorn by itself waits without end for a request that does not come."""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

HEAD = 30.0
"""Seconds from the beginning of a connection, or from the first byte behind an answer, until a head is whole."""
SLOWEST = 256
"""Bytes a second at which a body has to come in the long run."""


class Patient(H11Protocol):
    """Closes a connection on which no request has come in time: so many may be open, and silent ones would keep everybody out."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Wait for the first request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Take what came; what is a part of a head only does not prolong the wait for the rest."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        super().connection_lost(exc)
        self._let_be()

    def _watch(self) -> None:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # none before the first request
        if cycle is not None and not cycle.response_complete:
            self._let_be()
        elif self._late is None:
            self._late = self.loop.call_later(HEAD, self.timeout_keep_alive_handler)

    def _let_be(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def allowed(silence: float, size: int) -> float:
    """Give the seconds within which a body must have come so far, of which so many bytes are here."""
    return silence + size / SLOWEST
