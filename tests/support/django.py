"""The clinic's Django project on databases of a test's choice.

Django knows one set of databases a process, so that each of these runs in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from pathlib import Path

from tests.support.servers import Servers

_ROOT = Path(__file__).parent.parent.parent
SCENARIO_NAMES = [
    "save",
    "bulk_create",
    "bulk_update",
    "update",
    "get_or_create",
    "cascade",
    "savepoints",
    "recreate",
    "rename",
    "many_to_many",
    "users",
    "generic",
    "history",
    "inheritance",
    "keyless",
    "late_parent",
]
"""Those of tests.clinic.scenarios, which cannot be imported here; test_clinic.py holds both together."""


def migrate(dsn: str, first_id: int = 1) -> None:
    """Give a database the clinic's schema and seeds; content types and permissions begin at ``first_id``."""
    _python("-m", "django", "migrate", "--verbosity=0", dsn=dsn, CLINIC_FIRST_ID=str(first_id))


def orm(dsn: str, *scenarios: str, prefix: str = "field-01") -> None:
    """Run scenarios of tests.clinic.scenarios by name, or ``all``, against a database."""
    _python("-m", "tests.clinic.run", dsn, prefix, *scenarios, dsn=dsn)


def orm_code(dsn: str, code: str) -> None:
    """Run a piece of Python against a database, with Django set up and the clinic's models imported."""
    setup = "import django; django.setup()\nfrom tests.clinic.models import *\nfrom tests.clinic.scenarios import *\n"
    _python("-c", setup + code, dsn=dsn)


def run_in(project: str, dsn: str, *arguments: str) -> None:
    """Run Python with the settings of another project, by their module's name, on a database."""
    _python(*arguments, dsn=dsn, DJANGO_SETTINGS_MODULE=project)


def clinic_template(servers: Servers, version: int, variant: str = "a") -> str:
    """Give the name of a database to clone: migrated once per worker, version and variant.

    Every variant has ids of its own for seeds, content types and permissions. Clones of one variant share them.
    """
    if (version, variant) not in servers.templates:
        name = f"clinic_template_{variant}"
        dsn = servers.cluster(version).create_database(name)
        migrate(dsn, first_id=1 if variant == "a" else 1000 + zlib.crc32(variant.encode()) % 1_000_000)
        servers.templates[version, variant] = name
    return servers.templates[version, variant]


def _python(*arguments: str, dsn: str, **environment: str) -> None:
    settings = {"CLINIC_DSN": dsn, "DJANGO_SETTINGS_MODULE": "tests.clinic.settings"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=_ROOT,
        env={**os.environ, **settings, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}{done.stderr}"
