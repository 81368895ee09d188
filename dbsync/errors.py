"""Every error dbsync raises, in one tree.

    DbsyncError                      70  a bug in dbsync, if raised bare
    ├── UsageError                    2  the command's words are off
    ├── ConfigError                  78  dbsync.toml cannot be used
    ├── Refusal                       1  the answer is no (a check failed, a guard held)
    │   ├── LinkHalted                1  a change cannot be applied; nothing after it is
    │   ├── IdentityConflict          1  two sources use one node's name, or a batch changed after it was sent
    │   └── NotAdmitted               1  the other side does not know this node's key, or wants no more of it
    ├── PrivilegeError               78  a role lacks a right; the hint is SQL to paste
    ├── SchemaVersionError           78  the dbsync schema there is missing, older or newer
    ├── FormatError                  78  bytes that no version 1 reader accepts
    └── Unreachable                  69  no route to a database now          (try again)
        ├── Exhausted                69  it answers, and has no room for this  (try again)
        ├── OtherVersion             69  it answers, and does not know what was asked  (try again)
        └── Interrupted              75  the work was cut and can be repeated (try again)
            └── LinkTaken            75  another dbsync ships over the link now (try again)

Foreign exceptions are translated once, at the edge that met them
(:func:`dbsync.postgres.translate`). A message never holds row values; keys may be named.
"""

from __future__ import annotations

import traceback
from typing import ClassVar


class DbsyncError(Exception):
    """An error with its four parts: what, where, why, and what to type next.

    ``what`` says what did not happen, ``where`` names the file, table or database, ``why`` gives the
    reason in words, ``hint`` is the command (or SQL) to type next.
    """

    exit_code: ClassVar[int] = 70
    try_again: ClassVar[bool] = False

    def __init__(self, what: str, *, where: str = "", why: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        reason = f" ({self.why})" if self.why else ""
        return f"{place}{self.what}{reason}"


class UsageError(DbsyncError):
    """The command's words are off."""

    exit_code = 2


class ConfigError(DbsyncError):
    """dbsync.toml cannot be used as it stands."""

    exit_code = 78


class Refusal(DbsyncError):
    """The answer is no: a check failed or a guard held."""

    exit_code = 1


class LinkHalted(Refusal):
    """A change cannot be applied upstream, and nothing after it will be until the cause is mended.

    ``waits_for_row`` says that it refers to a row which is not upstream (yet): a larger batch may bring it along.
    """

    waits_for_row: bool = False


class IdentityConflict(Refusal):
    """Two sources speak with one node's name, or a batch is not what it was when it was first sent."""


class NotAdmitted(Refusal):
    """The other side does not know this node, or its operator has revoked it. He can mend that while it waits.

    ``revoked`` is what the other side itself says, signed.
    """

    revoked: bool = False


class PrivilegeError(DbsyncError):
    """A role lacks a right; the hint is the SQL that grants it."""

    exit_code = 78


class SchemaVersionError(DbsyncError):
    """The dbsync schema in a database is missing, or of another version than this program."""

    exit_code = 78


class FormatError(DbsyncError):
    """Bytes that a version 1 reader does not accept."""

    exit_code = 78


class Unreachable(DbsyncError):
    """A database, or the server before it, cannot be reached now; nothing is lost, the work waits.

    ``after`` is how many seconds the other side asks to be left alone, where it said so.
    """

    exit_code = 69
    try_again = True
    after: float | None = None


class Exhausted(Unreachable):
    """A server answers but lacks what the work needs: disk, memory, time. That it answers mends nothing."""


class OtherVersion(Unreachable):
    """A dbsync answers that does not know what was asked of it: one end is older."""


class Interrupted(Unreachable):
    """The work was cut in the middle and can be repeated as it is."""

    exit_code = 75


class LinkTaken(Interrupted):
    """Another dbsync ships over the link now. How that link is, is for the other one to say."""

    def __init__(self, link: str) -> None:
        super().__init__(
            f"another dbsync ships the link {link} now",
            where="source",
            why="two at once would send the same changes",
            hint="dbsync status   (shows how far it is)",
        )


def place_of(error: Exception) -> str:
    """Say where in the program an exception was raised; its own words may hold a row's values."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].name}, line {frames[-1].lineno}" if frames else ""
