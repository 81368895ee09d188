"""dbsync where Django is not installed: everything but the guest's own package is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
WITHOUT = """
import importlib, pkgutil, sys

class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"django", "simple_history"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Nowhere())
"""
MODULES = """
import dbsync
GUESTS = ("dbsync.contrib.", "dbsync.demo.clinic", "dbsync.migrations")
names = [found.name for found in pkgutil.walk_packages(dbsync.__path__, "dbsync.", onerror=lambda name: None)
         if not found.name.startswith(GUESTS)]
for name in names:
    importlib.import_module(name)
print(len(names))
"""
HELPS = """
from typer.testing import CliRunner
from dbsync.cli.main import app
from dbsync.cli.shelf import PLACES
for words in [[], *([name] for name in PLACES)]:
    done = CliRunner().invoke(app, [*words, "--help"])
    assert done.exit_code == 0, (words, done.output)
print(len(PLACES))
"""


def without_django(code: str) -> str:
    """Run code in a process in which Django cannot be imported."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_module_but_the_guests_own_is_imported_without_django() -> None:
    assert int(without_django(MODULES)) > 200


def test_every_command_has_its_help_without_django() -> None:
    assert int(without_django(HELPS)) > 25
