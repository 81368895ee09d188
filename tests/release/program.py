"""Another version of dbsync: its own code, as git has it, with the packages that are installed here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from tests.docs.manual import ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A version of dbsync, unpacked."""

    code: Path

    @property
    def revision(self) -> str:
        """Give the revision of the schema that it makes."""
        return max(file.name for file in (self.code / "sql" / "migrations").glob("*.sql"))[:4]

    @property
    def environ(self) -> dict[str, str]:
        """Give what makes Python find this version before any other."""
        return {"PYTHONPATH": str(self.code), "PYTHONDONTWRITEBYTECODE": "1"}

    def type(self, folder: Path, *words: str) -> str:
        """Run one of its commands in a folder with a dbsync.toml; give what it prints. It has to exit 0."""
        command = [sys.executable, "-c", "from dbsync.cli.main import run; run()", *words]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DBSYNC", "PG"))}
        environ = kept | self.environ
        done = subprocess.run(command, cwd=folder, env=environ, check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout


PRESENT = Program(code=ROOT)


def has_history(commit: str) -> bool:
    """Say whether git is there and has a commit: a shallow clone and an sdist have not."""
    git = shutil.which("git")
    asked = [git or "git", "cat-file", "-e", f"{commit}^{{commit}}"]
    return git is not None and subprocess.run(asked, cwd=ROOT, check=False, capture_output=True).returncode == 0


def unpacked(commit: str, to: Path) -> Program:
    """Unpack the version of a commit into a folder that is not there yet."""
    git = shutil.which("git") or "git"
    archive = subprocess.run([git, "archive", commit, "dbsync", "sql"], cwd=ROOT, check=True, capture_output=True)
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(to, filter="data")
    return Program(code=to)
