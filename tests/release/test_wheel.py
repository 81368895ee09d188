"""The wheel alone, in an empty environment far from any checkout, does what the quick start says."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from tests.docs.ground import Ground, ground
from tests.docs.manual import ROOT
from tests.docs.test_readme import README, blocks
from tests.release.tools import copy_checkout, locked_packages, tool
from tests.support.databases import ONE_MIXTURE

__all__ = ["ground"]

VERSION = "7.8.9.dev1"


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build everything that is released, out of a copy of the checkout that is no checkout of git."""
    copy = copy_checkout(tmp_path_factory.mktemp("release") / "dbsync")
    environ = {**os.environ, "DBSYNC_VERSION": VERSION}
    subprocess.run([sys.executable, str(copy / "packaging" / "dist.py")], env=environ, check=True, capture_output=True)
    return copy / "dist"


@pytest.fixture(scope="module")
def installed(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel and the locked packages it needs, nothing else; give the folder of its programs."""
    place = tmp_path_factory.mktemp("empty") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    (own,) = place.glob("lib/python*/site-packages")
    (own / "locked.pth").write_text(f"{locked_packages(tmp_path_factory) / 'usr' / 'lib' / 'dbsync'}\n")
    into = [sys.executable, "-m", "pip", "--python", str(place / "bin" / "python"), "--quiet", "install", "--no-deps"]
    subprocess.run([*into, str(wheel(released))], check=True)
    return place / "bin"


def wheel(released: Path) -> Path:
    (found,) = released.glob("*.whl")
    return found


@contextmanager
def looking(ground: Ground) -> Iterator[str]:
    """Type ``dbsync inspect``; give the address that it prints."""
    command = [str(ground.programs / "dbsync"), "inspect", "--port", "0"]
    process = subprocess.Popen(command, cwd=ground.folder, env=ground.environ, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


@ONE_MIXTURE
def test_the_wheel_does_what_the_quick_start_says(installed: Path, ground: Ground) -> None:
    here = replace(ground, programs=installed)
    assert here.sh("dbsync --version") == f"dbsync {VERSION}\n"
    assert str(ROOT) not in here.sh("python -c 'import sys, dbsync; print(dbsync.__file__, sys.path)'")
    (quick_start,) = blocks(README, "sh")
    _, *rest = quick_start.splitlines()
    assert "source and upstream agree" in here.sh("\n".join(rest))
    assert here.pair.upstream.value("SELECT name FROM clinic_subject WHERE identifier = 'S-1001'") == "Neema"
    here.pair.source.script("INSERT INTO clinic_subject (identifier, name) VALUES ('S-1002', 'Zawadi')")
    with looking(here) as address:
        shown = httpx2.get(address, follow_redirects=True)
    assert shown.status_code == 200
    assert "S-1002" in shown.text
    assert "1 change shipped" in here.sh("dbsync run --once")
    assert json.loads(here.sh("dbsync status --json"))
    assert (installed.parent / "share" / "man" / "man1" / "dbsync.1").is_file()
    assert (installed.parent / "share" / "bash-completion" / "completions" / "dbsync").is_file()
    assert "triggers removed" in here.sh("dbsync uninstall-triggers --drop-schema")


def test_the_wheel_holds_every_file_of_the_program(released: Path) -> None:
    held = set(zipfile.ZipFile(wheel(released)).namelist())
    sources = [path for path in (ROOT / "dbsync").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    statements = [f"dbsync/sql/{path.relative_to(ROOT / 'sql')}" for path in (ROOT / "sql").rglob("*.sql")]
    assert {str(path.relative_to(ROOT)) for path in sources} | set(statements) <= held
    assert not [name for name in held if name.startswith(("tests/", "docs/", "packaging/"))]


def test_the_sdist_holds_what_a_contributor_needs(released: Path) -> None:
    (sdist,) = released.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = ("Makefile", "tests/conftest.py", "docs/index.md", "docs/conf.py", "sql/apply.sql", "docker/Dockerfile")
    assert {*wanted, ".ci/run", ".importlinter", "packaging/version.py", "requirements.lock", "LICENSE"} <= held


def test_the_parts_list_names_every_part_and_the_hashes_are_true(released: Path) -> None:
    (listed,) = released.glob("*.cdx.json")
    document = json.loads(listed.read_text())
    locked = re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements-runtime.lock").read_text(), re.MULTILINE)
    assert [(part["name"], part["version"]) for part in document["components"]] == locked
    assert document["metadata"]["component"]["version"] == VERSION
    needs = {entry["ref"]: entry["dependsOn"] for entry in document["dependencies"]}
    assert {ref for refs in needs.values() for ref in refs} <= needs.keys()
    itself = {ref.split("/")[1].split("@")[0] for ref in needs[f"pkg:pypi/dbsync@{VERSION}"]}
    assert {"psycopg", "sqlalchemy", "typer"} <= itself
    (driver,) = (refs for ref, refs in needs.items() if ref.startswith("pkg:pypi/psycopg@"))
    assert any(ref.startswith("pkg:pypi/psycopg-binary@") for ref in driver)
    for line in (released / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((released / name).read_bytes()).hexdigest() == digest
    assert len((released / "SHA256SUMS").read_text().splitlines()) == 3


def test_what_dbsync_needs_is_locked_as_it_was_tested() -> None:
    sbom = tool("sbom")
    tested = {part.name: part for part in sbom.read_lock((ROOT / "requirements.lock").read_text())}
    needed = sbom.read_lock((ROOT / "requirements-runtime.lock").read_text())
    assert len(needed) > 30
    for part in needed:
        assert part.version == tested[part.name].version, "make lock"
        assert part.hashes == tested[part.name].hashes, "make lock"


@pytest.mark.parametrize(
    ("told", "said"), [("", "which version is it?"), ("7.8.9", "CHANGELOG.md has no part [7.8.9]")]
)
def test_nothing_is_released_without_a_name_or_without_words(tmp_path: Path, told: str, said: str) -> None:
    copy = copy_checkout(tmp_path / "dbsync")
    environ = {**os.environ, "DBSYNC_VERSION": told}
    command = [sys.executable, str(copy / "packaging" / "dist.py")]
    done = subprocess.run(command, env=environ, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert not (copy / "dist").exists()
