"""One end while it is looked at: what came out, and what could not be looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import errors

from dbsync.check.finding import of_failure, ok
from dbsync.check.server import Server, Side
from dbsync.errors import DbsyncError, PrivilegeError
from dbsync.model.catalog import Catalog
from dbsync.model.findings import Finding
from dbsync.postgres import translated
from dbsync.statements import statement

Session = psycopg.Connection
Reached = Session | DbsyncError
"""A session of :func:`dbsync.postgres.connect`, or why there is none."""
PATIENCE = "10s"
"""How long one question to a database may take: a check is for people who wait for it."""


@dataclass(slots=True, kw_only=True)
class Examined:
    """One end, its findings so far, and what of it was not seen."""

    side: Side
    reached: Reached
    dsn: str
    server: Server | None = None
    revision: str | None = None
    catalog: Catalog | None = None
    findings: list[Finding] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    @property
    def session(self) -> Session | None:
        """Give the session, as long as it answers."""
        return None if isinstance(self.reached, DbsyncError) else self.reached

    def look(self, questions: Callable[[Session], Iterable[Finding]]) -> None:
        """Ask something that all the rest depends on; a failure is a finding too, and ends the questions to this side."""
        if isinstance(self.reached, DbsyncError):
            if not self.findings:
                self.findings.append(of_failure(self.reached, self.side))
            return
        try:
            with translated(self.side):
                self.findings.extend(questions(self.reached))
        except DbsyncError as failure:
            self.findings.append(of_failure(failure, self.side))
            self.reached = failure

    def glance(self, what: str, questions: Callable[[Session], Iterable[Finding]]) -> None:
        """Ask one thing by itself, read-only and with little patience. Where this role may not see it, that is told at the end."""
        if isinstance(self.reached, DbsyncError):
            return
        try:
            with translated(self.side), read_only(self.reached):
                found = list(questions(self.reached))
        except PrivilegeError as failure:
            self.unseen.append(f"{what} ({failure.why})")
        except DbsyncError as failure:
            self._miss(what, failure)
        else:
            self.findings.extend(one for one in found if one.code != _UNSEEN)
            self.unseen.extend(one.what for one in found if one.code == _UNSEEN)

    def finished(self) -> list[Finding]:
        """Give everything that was found, and in one line what could not be looked at."""
        if not self.unseen:
            return self.findings
        return [*self.findings, unseen(self.side, f"not looked at: {'; '.join(dict.fromkeys(self.unseen))}")]

    def _miss(self, what: str, failure: DbsyncError) -> None:
        """Go on after a question that took too long; after anything else there is nobody to ask."""
        if isinstance(failure.__cause__, errors.QueryCanceled | errors.LockNotAvailable):
            self.unseen.append(f"{what} (it took longer than {PATIENCE})")
            return
        self.findings.append(of_failure(failure, self.side))
        self.reached = failure


_UNSEEN = "not_looked_at"


def unseen(where: str, what: str) -> Finding:
    """Say what could not be looked at, and what would let it be."""
    return ok("not_looked_at", where, what)


@contextmanager
def read_only(session: Session) -> Iterator[None]:
    """Ask within one transaction that can write nothing and lasts no longer than somebody waits."""
    with session.transaction():
        session.execute(statement("check", "read_only").format(patience=PATIENCE))
        yield
