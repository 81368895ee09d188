"""dbsync's own schema in a database: made and upgraded by alembic, owned by the NOLOGIN role ``dbsync``.

Alembic and SQLAlchemy take most of a second to import: only what makes or upgrades the schema does.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from dbsync.errors import SchemaVersionError
from dbsync.postgres import ENCODING, connect, installer, our_settings, translate, translated
from dbsync.statements import folder, statement

if TYPE_CHECKING:
    from alembic.config import Config as AlembicConfig

OWNER = "dbsync"


def head() -> str:
    """Give the schema revision that this program needs: the number of the last file in sql/migrations."""
    return max(file.name.partition("_")[0] for file in (folder() / "migrations").glob("*.sql"))


def version(connection: psycopg.Connection) -> str | None:
    """Give the revision of the dbsync schema in a database; None where there is none."""
    row = connection.execute("SELECT pg_catalog.to_regclass('dbsync.alembic_version') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        return None
    found = connection.execute("SELECT version_num FROM dbsync.alembic_version").fetchone()
    return str(found[0]) if found else None


def require(connection: psycopg.Connection, where: str, command: str | None = None) -> None:
    """Refuse a database whose dbsync schema is missing, older or newer than this program.

    ``command`` installs it; unless it is given, the one for the source or the upstream.
    """
    with translated(where):
        found = version(connection)
    if found == head():
        return
    command_ = f"dbsync {command or installer(where)}"
    if found is None:
        raise SchemaVersionError(
            "dbsync is not installed in this database", where=where, why="it has no schema dbsync", hint=command_
        )
    if found < head():
        raise SchemaVersionError(
            f"the dbsync schema there is of revision {found}",
            where=where,
            why=f"this program needs revision {head()}",
            hint=command_,
        )
    raise SchemaVersionError(
        f"the dbsync schema there is of revision {found}",
        where=where,
        why=f"that is newer than this program's {head()}",
        hint="upgrade dbsync on this machine",
    )


def upgrade(dsn: str, where: str) -> bool:
    """Bring the dbsync schema of a database to this program's revision; say whether anything was done.

    Role, schema, tables and the revision's number are one transaction.
    """
    with connect(dsn, name=where, pooled=True) as connection, translated(where):
        before = version(connection)
        if before == head():
            return False
        if before is not None and before > head():
            require(connection, where)
    from alembic import command  # noqa: PLC0415 - see above
    from sqlalchemy import create_engine, pool, text  # noqa: PLC0415
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    engine = create_engine("postgresql+psycopg://", creator=lambda: _as_we_do(dsn), poolclass=pool.NullPool)
    try:
        with translated(where), engine.begin() as target:
            first = [statement("install", name) for name in ("alone", "owner", "schema", "as_owner")]
            for part in (our_settings(), *first):
                target.execute(text(_escaped(part.as_string(None))))
            configuration = _alembic()
            configuration.attributes["connection"] = target
            command.upgrade(configuration, "head")
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.Error):
            raise translate(error.orig, where) from error
        raise
    return True


def _as_we_do(dsn: str) -> psycopg.Connection:
    """Connect for alembic, which asks things of its own at once; the settings are the transaction's, for there may be a pooler."""
    connection = psycopg.connect(dsn, client_encoding=ENCODING)
    connection.execute(our_settings())
    return connection


def rehearse(connection: psycopg.Connection, since: str | None = None) -> None:
    """Make the schema (or what came after a revision) inside the caller's transaction, to be rolled back.

    For printing what depends on it.
    """
    for name in ("owner", "schema", "as_owner"):
        connection.execute(statement("install", name))
    if since is None:
        connection.execute("CREATE TABLE dbsync.alembic_version (version_num text)")
    for file in sorted((folder() / "migrations").glob("*.sql")):
        if file.name.partition("_")[0] > (since or ""):
            connection.execute(file.read_text(encoding="utf-8"))  # our own files
    connection.execute("RESET ROLE")


def upgrade_sql(since: str | None = None) -> str:
    """Give the SQL of :func:`upgrade` for an empty database, or one at a revision, for a DBA to read or run."""
    from alembic import command  # noqa: PLC0415 - see above

    printed = io.StringIO()
    configuration = _alembic()
    configuration.output_buffer = printed
    command.upgrade(configuration, f"{since}:head" if since else "head", sql=True)
    lead = "\n".join(statement("install", name).as_string(None) for name in ("owner", "schema", "as_owner"))
    script = printed.getvalue().replace("%%", "%")  # alembic doubles them, as for a driver that takes parameters
    return f"BEGIN;\n{lead}\n{script.replace('BEGIN;', '', 1)}"


def run_file(name: str) -> None:
    """Run ``sql/migrations/<name>.sql`` inside a revision."""
    from alembic import op  # noqa: PLC0415 - see above

    op.execute(_escaped((folder() / "migrations" / f"{name}.sql").read_text(encoding="utf-8")))


def _escaped(script: str) -> str:
    return script.replace(":", r"\:")


def _alembic() -> AlembicConfig:
    from alembic.config import Config as AlembicConfig  # noqa: PLC0415 - see above

    configuration = AlembicConfig()
    configuration.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    configuration.set_main_option("path_separator", "os")
    return configuration
