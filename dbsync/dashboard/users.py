"""Who may log in to the pages: made, changed and taken away by whoever owns dbsync's schema, never by the pages themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import psycopg
from psycopg.rows import class_row

from dbsync import schema
from dbsync.config.models import Config
from dbsync.dashboard.passwords import hashed
from dbsync.errors import Refusal
from dbsync.postgres import connect, translated
from dbsync.statements import statement


class Role(StrEnum):
    """What somebody may do."""

    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody who may log in."""

    name: str
    role: Role
    sees_values: bool
    made_at: datetime
    made_by: str
    seen_at: datetime | None
    """When he logged in last."""
    failures: int
    """Wrong passwords since."""
    browsers: int
    """In which he is logged in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """A line of the audit log."""

    id: int
    at: datetime
    who: str
    address: str
    what: str
    command: str
    result: str | None
    """None for what is under way, or was when its process ended."""


def users(config: Config) -> tuple[User, ...]:
    """Give everybody who may log in."""
    with _database(config) as connection:
        rows = connection.execute(statement("web", "users")).fetchall()
    return tuple(
        User(
            name=name,
            role=Role(role),
            sees_values=sees_values,
            made_at=made_at,
            made_by=made_by,
            seen_at=seen_at,
            failures=failures,
            browsers=browsers,
        )
        for name, role, sees_values, made_at, made_by, seen_at, failures, browsers in rows
    )


def add(config: Config, name: str, password: str, *, role: Role, sees_values: bool) -> None:
    """Let somebody log in. Raises Refusal where there is one of that name."""
    said = {"name": name, "password": hashed(password), "role": role.value, "sees_values": sees_values}
    with _database(config) as connection:
        if connection.execute(statement("web", "add_user"), said).rowcount != 1:
            raise Refusal(
                f"there is a user {name} already",
                where="web",
                hint=f"dbsync web users password {name}   (a new password)",
            )


def change(config: Config, name: str, *, role: Role | None, sees_values: bool | None) -> None:
    """Change what somebody may; it counts from his next page on."""
    said = {"name": name, "role": None if role is None else role.value, "sees_values": sees_values}
    _must(config, "change_user", name, said)


def change_password(config: Config, name: str, password: str) -> None:
    """Give somebody a new password, and log him out everywhere."""
    _must(config, "change_password", name, {"name": name, "password": hashed(password)})


def remove(config: Config, name: str) -> None:
    """Let somebody log in no more, and log him out everywhere; what he did stays in the audit log."""
    _must(config, "remove_user", name, {"name": name})


def deeds(config: Config, limit: int) -> tuple[Deed, ...]:
    """Give the newest lines of the audit log, the newest first."""
    with _database(config) as connection:
        return newest_deeds(connection, limit)


def newest_deeds(connection: psycopg.Connection, limit: int, before: int | None = None) -> tuple[Deed, ...]:
    """Give the same in a session; only those ``before`` one of them, where that is said."""
    with connection.cursor(row_factory=class_row(Deed)) as cursor:
        return tuple(cursor.execute(statement("web", "deeds"), {"limit": limit, "before": before}).fetchall())


def _must(config: Config, name: str, user: str, said: Mapping[str, object]) -> None:
    with _database(config) as connection:
        if connection.execute(statement("web", name), said).rowcount != 1:
            raise Refusal(f"there is no user {user}", where="web", hint="dbsync web users list")


@contextmanager
def _database(config: Config) -> Iterator[psycopg.Connection]:
    where = "upstream" if config.above is None else "source"
    with connect(config.node.source, name=where) as connection:
        schema.require(connection, where)
        with translated(where):
            yield connection
