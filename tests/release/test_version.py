"""A build is called what its tag says, else what comes next and at which commit; and never something that is not so."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.release.tools import tool

version = tool("version")
Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """Give git, in a checkout with one commit."""
    program = shutil.which("git")
    if program is None:
        pytest.skip("git is not installed")
    monkeypatch.delenv("DBSYNC_VERSION", raising=False)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")

    def run(*words: str) -> str:
        known = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        return subprocess.run(
            [program, *known, *words], cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    run("init", "--quiet")
    commit(run, tmp_path)
    return run


def commit(git: Git, folder: Path) -> str:
    """Commit another state of a file; give the short name of the commit."""
    file = folder / "file"
    file.write_text(file.read_text() + "x" if file.exists() else "x")
    git("add", "file")
    git("commit", "--quiet", "--message=more")
    return git("rev-parse", "--short", "HEAD").strip()


def test_a_tag_is_the_version(git: Git, tmp_path: Path) -> None:
    git("tag", "v0.2.0")
    assert version.version(tmp_path) == "0.2.0"


def test_what_comes_after_a_tag_is_a_preview_of_the_next_version(git: Git, tmp_path: Path) -> None:
    git("tag", "--annotate", "v0.2.9", "--message=0.2.9")
    name = commit(git, tmp_path)
    assert version.version(tmp_path) == f"0.2.10.dev1+g{name}"


def test_an_untagged_checkout_is_a_preview_of_the_first(git: Git, tmp_path: Path) -> None:
    name = commit(git, tmp_path)
    assert version.version(tmp_path) == f"{version.FIRST}.dev2+g{name}"


def test_what_differs_from_its_commit_says_so(git: Git, tmp_path: Path) -> None:
    name = git("rev-parse", "--short", "HEAD").strip()
    (tmp_path / "file").write_text("edited")
    assert version.version(tmp_path) == f"{version.FIRST}.dev1+g{name}.dirty"
    git("tag", "v0.2.0")
    assert version.version(tmp_path) == f"0.2.1.dev0+g{name}.dirty"


def test_a_tag_that_is_no_version_is_left_alone(git: Git, tmp_path: Path) -> None:
    git("tag", "before-the-move")
    assert version.version(tmp_path).startswith(f"{version.FIRST}.dev1+g")
    git("tag", "v2-or-so")
    with pytest.raises(ValueError, match=r"tags are v1\.2\.3"):
        version.version(tmp_path)


def test_an_sdist_knows_its_version_wherever_it_is_unpacked(git: Git, tmp_path: Path) -> None:
    git("tag", "v9.9.9")
    unpacked = tmp_path / "dbsync-0.2.0"
    unpacked.mkdir()
    assert version.version(unpacked) == version.UNKNOWN, "the checkout around it is not its own"
    (unpacked / "PKG-INFO").write_text("Metadata-Version: 2.4\nName: dbsync\nVersion: 0.2.0\n\nVersion: 1\n")
    assert version.version(unpacked) == "0.2.0"


def test_what_is_told_counts(git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git("tag", "v0.2.0")
    monkeypatch.setenv("DBSYNC_VERSION", "0.3.0")
    assert version.version(tmp_path) == "0.3.0"


def test_without_git_the_version_is_unknown(git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert version.version(tmp_path) == version.UNKNOWN


def test_a_checkout_that_git_cannot_read_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBSYNC_VERSION", raising=False)
    (tmp_path / ".git").write_text("gitdir: /nowhere")
    assert version.version(tmp_path) == version.UNKNOWN


@pytest.mark.parametrize(
    ("described", "meant"),
    [
        ("v0.2.0-0-g1a2b3c4", "0.2.0"),
        ("v1.10-3-g1a2b3c4", "1.11.dev3+g1a2b3c4"),
        ("v0.3.0rc1-0-g1a2b3c4", "0.3.0rc1"),
        ("v0.3.0rc1-2-g1a2b3c4", "0.3.0rc2.dev2+g1a2b3c4"),
    ],
)
def test_versions_follow_their_tags(described: str, meant: str) -> None:
    assert version.from_tag(described) == meant
