"""Commands that somebody waits for do not import what they have no use for."""

from __future__ import annotations

import subprocess
import sys

from alembic.config import Config
from alembic.script import ScriptDirectory

from dbsync import schema

HEAVY = ("alembic", "sqlalchemy", "django", "structlog", "tomlkit", "prometheus_client", "dbsync.demo.server")


def imported(module: str, among: tuple[str, ...]) -> str:
    """Say which of some modules come along with one."""
    code = f"import sys; import {module}; print([name for name in {among!r} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_help_and_status_import_nothing_heavy() -> None:
    assert imported("dbsync.cli.main", HEAVY) == "[]\n"


def test_the_service_counts_nothing_unless_somebody_may_ask() -> None:
    assert imported("dbsync.service.run, dbsync.service.watch", ("prometheus_client", "opentelemetry")) == "[]\n"


def test_the_service_ships_over_a_line_of_postgresql_without_what_other_routes_need() -> None:
    others = (
        "httpx2",
        "nats",
        "minisign",
        "pyrage",
        "cryptography",
        "dbsync.bundle",
        "dbsync.web",
        "dbsync.service.sticks",
    )
    assert imported("dbsync.service.run, dbsync.service.streaming", others) == "[]\n"


def test_revision_that_the_program_needs_is_the_head_of_the_migrations() -> None:
    configuration = Config()
    configuration.set_main_option("script_location", "dbsync:migrations")
    configuration.set_main_option("path_separator", "os")
    assert schema.head() == ScriptDirectory.from_config(configuration).get_current_head()
