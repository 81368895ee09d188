"""One server, as a session sees it: version, role in replication, dbsync's schema, the right to make it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import psycopg
from psycopg.rows import class_row

from dbsync.check.finding import error, ok, warning
from dbsync.check.wording import identifier
from dbsync.config.listening import WebConfig
from dbsync.model.findings import Finding
from dbsync.postgres import installer
from dbsync.statements import statement

OLDEST = 150000
"""Of PostgreSQL, as ``server_version_num``: the oldest that dbsync is tested with."""

Side = Literal["source", "upstream"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What ``sql/check.sql`` says of a server and the role that asks."""

    version: int
    version_text: str
    in_recovery: bool
    read_only: bool
    database: str
    role: str
    backend: int
    encoding: str
    identity: str
    started: datetime
    """When the server did: a copy of a cluster keeps its identity, and both may be in use."""
    has_schema: bool
    has_owner: bool
    is_member: bool
    can_make_roles: bool
    can_make_schemas: bool
    can_make_temporary_tables: bool
    is_replicator: bool = False
    is_of_pages: bool = False
    """It may serve the pages."""
    may_look: bool = True
    """Into the schema dbsync."""
    missing_roles: Sequence[str] = ()
    """Of those that an installation makes."""
    read_only_by: str = "default"
    """Where a session has that from, as pg_settings says it."""
    open_schemas: Sequence[str] = ()
    """Of those that are searched for names without a schema, those in which everybody may make what he likes."""
    login: str = ""
    """The role that connected; the role of the session may be another."""

    @property
    def installs(self) -> bool:
        """Say whether this role is the one that installs; the service's may ship and apply only."""
        return self.is_member or not self.is_replicator


def ask(connection: psycopg.Connection) -> Server:
    """Ask a server about itself."""
    with connection.cursor(row_factory=class_row(Server)) as cursor:
        cursor.execute(statement("check", "server"), {})
        found = cursor.fetchone()
    assert found is not None
    return found


def of_server(side: Side, server: Server) -> Iterator[Finding]:
    """Find what keeps a server from being a source or an upstream at all."""
    if server.version < OLDEST:
        what = f"PostgreSQL {server.version_text} is too old: dbsync needs {OLDEST // 10000} or newer"
        yield error("server_too_old", side, what, "upgrade the server")
    else:
        yield ok("connected", side, f"{server.database}, PostgreSQL {server.version_text}, as role {server.role}")
    if server.in_recovery:
        remedy = "name its primary in dbsync.toml; of several, host=ONE,OTHER target_session_attrs=read-write finds it"
        yield error("hot_standby", side, "this server is a hot standby: nothing can be written", remedy)
    elif server.read_only:
        yield error("read_only", side, "sessions are read-only here: nothing can be written", _to_write(server))


def of_open_schemas(side: Side, server: Server) -> Iterator[Finding]:
    """Find where others may put what dbsync's statements take for PostgreSQL's own (CVE-2018-1058)."""
    if server.open_schemas:
        names = ", ".join(map(identifier, server.open_schemas))
        yield warning(
            "schema_open",
            side,
            f"everybody may make functions and operators in {names}, where names are looked up: one that fits better than"
            f" PostgreSQL's own would run with the rights of role {server.role}",
            f"REVOKE CREATE ON SCHEMA {names} FROM PUBLIC;",
        )


def _to_write(server: Server) -> str:
    """Say what ends that sessions are read-only, so that it can be pasted into one that is."""
    if server.read_only_by in ("client", "command line"):
        return "take default_transaction_read_only out of the connection string in dbsync.toml, the service file or PGOPTIONS"
    database, role = identifier(server.database), identifier(server.login)
    setting = {
        "user": f"ALTER ROLE {role} RESET default_transaction_read_only",
        "database user": f"ALTER ROLE {role} IN DATABASE {database} RESET default_transaction_read_only",
    }.get(server.read_only_by, f"ALTER DATABASE {database} SET default_transaction_read_only = off")
    return f"BEGIN READ WRITE; {setting}; COMMIT;"


def of_both(source: Server, upstream: Server) -> Iterator[Finding]:
    """Find what is wrong with two servers together."""
    if (source.identity, source.started) == (upstream.identity, upstream.started):
        yield error("same_database", "dbsync.toml", "source and upstream are the same database", "mend [upstream] url")
    if source.encoding != upstream.encoding:
        what = f"the source is encoded in {source.encoding}, the upstream in {upstream.encoding}"
        yield warning(
            "encoding_differs",
            "upstream",
            what,
            "give both UTF8: a character that the upstream's encoding lacks halts the link, and dbsync verify cannot compare",
        )


def of_schema(side: Side, server: Server, found: str | None, expected: str) -> Iterator[Finding]:
    """Compare the revision of dbsync's own schema with the one this program needs."""
    command = f"dbsync {installer(side)}"
    if found is None:
        yield warning("not_installed", side, "dbsync is not installed here yet", command)
        yield from _of_installing(side, server)
    elif found < expected:
        what = f"the dbsync schema is of revision {found}, and this program needs {expected}"
        yield error("schema_outdated", side, what, command)
    elif found > expected:
        what = f"the dbsync schema is of revision {found}, newer than this program's {expected}"
        yield error("schema_newer", side, what, "upgrade dbsync on this machine")


def of_membership(side: Side, server: Server) -> Iterator[Finding]:
    """Find whether the role may ship and apply where dbsync is installed, and install it where it is not."""
    if not server.has_owner or server.is_member or (server.has_schema and server.is_replicator):
        return
    if server.has_schema and "dbsync_replicator" not in server.missing_roles:
        yield error(
            "privilege_member",
            side,
            f"role {server.role} is no member of the role dbsync_replicator, which may ship and apply",
            f"GRANT dbsync_replicator TO {identifier(server.role)};",
        )
    else:
        yield error(
            "privilege_member",
            side,
            f"role {server.role} is no member of the role dbsync, which owns dbsync's schema",
            f"GRANT dbsync TO {identifier(server.role)};",
        )


def of_pages(side: Side, server: Server, config: WebConfig) -> Iterator[Finding]:
    """Find whether the role may serve the pages that dbsync.toml asks for; ``dbsync serve`` does not start without that right."""
    may = server.is_member or server.is_of_pages
    if config.is_wanted and server.has_schema and not may and "dbsync_web" not in server.missing_roles:
        yield error(
            "privilege_pages",
            side,
            f"role {server.role} is no member of the role dbsync_web, which serves the pages",
            f"GRANT dbsync_web TO {identifier(server.role)};",
        )


def of_temporary(side: Side, server: Server) -> Iterator[Finding]:
    """Find whether batches can be staged."""
    if not server.can_make_temporary_tables:
        yield error(
            "privilege_temporary",
            side,
            f"role {server.role} may make no temporary tables, where batches are cut and staged",
            f"GRANT TEMPORARY ON DATABASE {identifier(server.database)} TO {identifier(server.role)};",
        )


def _of_installing(side: Side, server: Server) -> Iterator[Finding]:
    if server.missing_roles and not server.can_make_roles:
        made = " ".join(f"CREATE ROLE {name} NOLOGIN;" for name in server.missing_roles)
        yield error(
            "privilege_role",
            side,
            f"role {server.role} may make no roles, and dbsync's things belong to roles of their own",
            f"{made} GRANT dbsync_capture TO dbsync; GRANT dbsync TO {identifier(server.role)};",
        )
    if not server.has_schema and not server.can_make_schemas:
        yield error(
            "privilege_schema",
            side,
            f"role {server.role} may make no schema in {server.database}",
            f"GRANT CREATE ON DATABASE {identifier(server.database)} TO {identifier(server.role)};",
        )
