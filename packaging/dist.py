"""What is released, into dist/: ``make dist`` runs this.

The sdist is made of the checkout, and the wheel of the sdist: so the sdist has all that it takes. Beside them lie the parts list and the
hashes of all. The same commit gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import sbom
from version import ROOT, UNKNOWN, version


def build(root: Path, to: Path) -> list[Path]:
    """Make everything that is released of a checkout, in an empty folder; give the files."""
    to.mkdir(parents=True)
    (sdist,) = _hatchling(root, to, "sdist")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        (unpacked,) = Path(folder).iterdir()
        (wheel,) = _hatchling(unpacked, to, "wheel")
        told = version(unpacked)
    parts = to / f"dbsync-{told}.cdx.json"
    parts.write_text(
        json.dumps(sbom.document(told, sbom.read_lock((root / sbom.LOCK.name).read_text())), indent=1) + "\n"
    )
    files = [sdist, wheel, parts]
    hashes = to / "SHA256SUMS"
    hashes.write_text("".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files))
    return [*files, hashes]


def _hatchling(root: Path, to: Path, target: str) -> list[Path]:
    before = set(to.iterdir())
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(to)]
    subprocess.run(command, cwd=root, check=True, stdout=subprocess.DEVNULL)
    return [file for file in to.iterdir() if file not in before]


def main() -> int:
    """Make it in dist/ of this checkout, which must not be there, and say what came out."""
    what, hint = _in_the_way(version())
    if what:
        print(f"dist: {what}\n  try    {hint}", file=sys.stderr)
        return 1
    for file in build(ROOT, ROOT / "dist"):
        print(os.path.relpath(file, ROOT))
    return 0


def _in_the_way(told: str) -> tuple[str, str]:
    if told == UNKNOWN:
        return "this is no checkout that git can read; which version is it?", "DBSYNC_VERSION=0.2.0 make dist"
    if ".dev" not in told and f"## [{told}]" not in (ROOT / "CHANGELOG.md").read_text():
        return (
            f"CHANGELOG.md has no part [{told}]",
            f"move what is new from [Unreleased] to [{told}], and tag that commit",
        )
    return "", ""


if __name__ == "__main__":
    sys.exit(main())
