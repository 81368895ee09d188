"""The programs in packaging/, as modules; a copy of the checkout to build in; the packages that dbsync needs, installed once."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.manual import ROOT

_MADE = (".git", ".venv", "build", "dist", "_version.py", "__pycache__", ".*_cache", ".hypothesis", "node_modules")


def tool(name: str) -> ModuleType:
    """Import packaging/<name>.py."""
    spec = importlib.util.spec_from_file_location(f"packaging_{name}", ROOT / "packaging" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def copy_checkout(to: Path) -> Path:
    """Copy what a checkout has, without what is made in it: a build writes beside its sources."""
    return Path(shutil.copytree(ROOT, to, ignore=shutil.ignore_patterns(*_MADE), symlinks=True))


def locked_packages(made: pytest.TempPathFactory) -> Path:
    """Give a tree in which the locked packages are, installed as ``make deb`` does, once for all workers. Nobody changes it."""
    base = made.getbasetemp()
    tree = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "locked"
    with tree.with_suffix(".turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not tree.exists():
            partial = tree.with_suffix(".partial")
            script = "import sys, deb; from pathlib import Path; deb.packages(Path(sys.argv[1]))"
            environ = {**os.environ, "PYTHONPATH": str(ROOT / "packaging")}
            subprocess.run([sys.executable, "-c", script, str(partial)], env=environ, check=True)
            partial.rename(tree)
    return tree
