"""The version of what is built here, told by git's tags: ``python3 packaging/version.py`` prints it.

A tag ``v0.2.0`` is version 0.2.0. What comes after it is a preview of the next one and names its commit: 0.2.1.dev5+g1a2b3c4, with
``.dirty`` behind it where files differ from that commit. Hatchling asks here for each wheel, sdist and editable install; the
container and the Debian package have no git at hand and are told by the environment variable ``DBSYNC_VERSION``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIRST = "0.1.0"
"""What is worked towards before there is any tag."""
UNKNOWN = "0+unknown"
"""A folder that is neither told, nor an sdist, nor a checkout that git can read; nothing is released under it."""

_TAGGED = re.compile(
    r"v(?P<release>\d+(?:\.\d+)*(?:(?:a|b|rc)\d+)?)-(?P<since>\d+)-(?P<commit>g[0-9a-f]+)(?P<dirty>-dirty)?"
)


def version(root: Path = ROOT) -> str:
    """Give the version: as told, else the sdist's own, else the checkout's."""
    return os.environ.get("DBSYNC_VERSION") or _of_sdist(root) or _of_checkout(root) or UNKNOWN


def from_tag(described: str) -> str:
    """Make a version of what ``git describe --tags --long --dirty`` says.

    >>> from_tag("v0.2.0-0-g1a2b3c4"), from_tag("v0.2.0-5-g1a2b3c4"), from_tag("v0.3.0rc1-0-g1a2b3c4-dirty")
    ('0.2.0', '0.2.1.dev5+g1a2b3c4', '0.3.0rc2.dev0+g1a2b3c4.dirty')
    """
    found = _TAGGED.fullmatch(described)
    if found is None:
        raise ValueError(f"no version can be read from the tag in {described!r}: tags are v1.2.3")
    if found["since"] == "0" and not found["dirty"]:
        return found["release"]
    ahead = re.sub(r"\d+$", lambda last: str(int(last[0]) + 1), found["release"])
    return f"{ahead}.dev{found['since']}+{found['commit']}{'.dirty' if found['dirty'] else ''}"


def _of_sdist(root: Path) -> str | None:
    written = root / "PKG-INFO"
    found = re.search(r"^Version: (.+)$", written.read_text(), re.MULTILINE) if written.is_file() else None
    return found[1] if found else None


def _of_checkout(root: Path) -> str | None:
    if not (root / ".git").exists():  # else a checkout around this folder would speak for it
        return None
    tagged = _git(root, "describe", "--tags", "--long", "--dirty", "--match=v[0-9]*")
    if tagged:
        return from_tag(tagged)
    commit = _git(root, "describe", "--always", "--dirty", "--exclude=*")
    count = _git(root, "rev-list", "--count", "HEAD")
    return f"{FIRST}.dev{count}+g{commit.replace('-', '.')}" if commit and count else None


def _git(root: Path, *words: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run([git, *words], cwd=root, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout.strip() if done.returncode == 0 else None


if __name__ == "__main__":
    print(version())
