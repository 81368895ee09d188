"""Who may look: whoever started the page, in one browser of this computer. Pure.

The address with its token is printed once, on the terminal of him who started it. It opens the page once and becomes a cookie that no
other site can send along. The name in ``Host`` must be this computer's: a page elsewhere can let its own name point here.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field
from urllib.parse import urlsplit

COOKIE = "dbsync_inspect"
NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})


@dataclass(slots=True)
class Door:
    """Lets one browser in."""

    port: int
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    _session: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    _used: bool = False

    def enter(self, token: str) -> str | None:
        """Give the session for the token, which is good once; None for any other."""
        if self._used or not hmac.compare_digest(token.encode(), self.token.encode()):
            return None
        self._used = True
        return self._session

    def admits(self, session: str | None) -> bool:
        """Say whether this is the browser that was let in."""
        return session is not None and hmac.compare_digest(session.encode(), self._session.encode())

    def is_here(self, host: str) -> bool:
        """Say whether a request was meant for this computer.

        >>> (
        ...     Door(8484).is_here("127.0.0.1:8484"),
        ...     Door(8484).is_here("evil.example:8484"),
        ...     Door(8484).is_here("127.0.0.1"),
        ... )
        (True, False, False)
        """
        name, _, port = host.rpartition(":")
        return name in NAMES and port == str(self.port)

    def is_ours(self, origin: str | None) -> bool:
        """Say whether a form was sent by our own page.

        >>> (
        ...     Door(8484).is_ours("http://localhost:8484"),
        ...     Door(8484).is_ours("http://evil.example"),
        ...     Door(8484).is_ours(None),
        ... )
        (True, False, False)
        """
        return origin is not None and self.is_here(urlsplit(origin).netloc)
