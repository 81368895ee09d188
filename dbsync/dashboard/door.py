"""The door: who logs in, which browser is whose, and when it is out again.

A browser holds a random number, the database its hash: whoever reads the table is nobody. After five wrong passwords each further try
for a name has to wait, twice as long each time, up to :data:`LONGEST_WAIT`; a right one is refused as well until then.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import psycopg

from dbsync.config.listening import WebConfig
from dbsync.dashboard.passwords import fits
from dbsync.dashboard.users import Role
from dbsync.statements import statement

FREE = 5
"""Wrong passwords that cost nothing."""
LONGEST_WAIT = 300.0
"""Seconds."""
TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Somebody who is logged in, in one browser."""

    name: str
    role: Role
    sees_values: bool
    """The values of rows may be shown to him."""
    token: str

    @property
    def form_token(self) -> str:
        """Give what each form of ours carries: only this browser's pages can know it, and it tells nothing of the token."""
        return hashlib.sha256(f"form {self.token}".encode()).hexdigest()

    def sent(self, form_token: str) -> bool:
        """Say whether a form was made for this browser."""
        return hmac.compare_digest(form_token.encode(), self.form_token.encode())

    @property
    def browser(self) -> bytes:
        """Name the browser, without what lets it in."""
        return _hash(self.token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What came of a name and a password."""

    known: bool
    """The name is somebody's, and he did not have to wait."""
    token: str | None = None
    """What lets his browser in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Lets people in who have a password, and knows them again."""

    connections: Callable[[], AbstractContextManager[psycopg.Connection]]
    config: WebConfig

    def log_in(self, name: str, password: str) -> Tried:
        """Let a browser in for a right password; not for a wrong one, a name that nobody has, or one that has to wait."""
        with self.connections() as connection:
            kept = connection.execute(
                statement("web", "count_try"), {"name": name, "free": FREE, "longest": LONGEST_WAIT}
            ).fetchone()
        if not fits(kept[0] if kept else None, password):  # meanwhile nobody's connection is kept
            return Tried(known=kept is not None)
        token = secrets.token_urlsafe(TOKEN_BYTES)
        with self.connections() as connection, connection.transaction():
            connection.execute(statement("web", "forget_sessions"), self._limits)
            connection.execute(statement("web", "right_password"), {"name": name})
            connection.execute(statement("web", "begin_session"), {"token": _hash(token), "name": name})
        return Tried(known=True, token=token)

    def visitor(self, token: str | None, *, looks: bool = True) -> Visitor | None:
        """Say who a browser is; None for one that is not, or no longer, logged in. Without ``looks`` it is not used by that."""
        if not token:
            return None
        with self.connections() as connection:
            row = connection.execute(statement("web", "visitor"), {"token": _hash(token), **self._limits}).fetchone()
            if row is None:
                return None
            name, role, sees_values, stale = row
            if looks and stale:
                connection.execute(statement("web", "use_session"), {"token": _hash(token)})
        return Visitor(name=name, role=Role(role), sees_values=sees_values and self.config.show_values, token=token)

    def log_out(self, token: str) -> None:
        """Forget a browser."""
        with self.connections() as connection:
            connection.execute(statement("web", "end_session"), {"token": _hash(token)})

    @property
    def _limits(self) -> dict[str, float]:
        return {"idle": self.config.idle_seconds, "longest": self.config.longest_seconds}


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
