"""Commands that somebody waits for do not import what they have no use for."""

from __future__ import annotations

import subprocess
import sys

from alembic.config import Config
from alembic.script import ScriptDirectory

from dbsync import schema

HEAVY = ("alembic", "sqlalchemy", "django", "structlog", "tomlkit", "dbsync.demo.server")


def test_help_and_status_import_nothing_heavy() -> None:
    code = f"import sys; import dbsync.cli.main; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_revision_that_the_program_needs_is_the_head_of_the_migrations() -> None:
    configuration = Config()
    configuration.set_main_option("script_location", "dbsync:migrations")
    configuration.set_main_option("path_separator", "os")
    assert schema.head() == ScriptDirectory.from_config(configuration).get_current_head()
