"""A Debian package with all that dbsync needs beside Python, into build/deb: ``make deb`` runs this.

It holds a folder of packages for the Python it was made with, each checked against requirements-runtime.lock, and a program that uses
that folder alone. Nothing is fetched or made when it is installed. nfpm writes the package; it needs no Debian to do so.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from version import ROOT, version

OWN = ROOT / "packaging" / "deb"
UNITS = ROOT / "packaging" / "systemd"
LIB = Path("usr/lib/dbsync")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_LAUNCHER = """\
#!/usr/bin/python{python} -I
import sys

sys.path.insert(0, "/{lib}")
from dbsync.cli.main import run  # noqa: E402

run()
"""


def debian_version(told: str) -> str:
    """Say a version as Debian sorts it: a preview comes before what it leads to.

    >>> debian_version("0.2.0"), debian_version("0.3.0rc1"), debian_version("0.2.1.dev5+g1a2b3c4")
    ('0.2.0', '0.3.0~rc1', '0.2.1~dev5+g1a2b3c4')
    """
    return re.sub(r"\.?(dev|a|b|rc)(?=\d)", r"~\1", told, count=1)


def units() -> list[Path]:
    """Give the units of the package: of all programs but the one whose library it does not hold."""
    return [unit for unit in sorted(UNITS.glob("*.service")) if unit.name != "dbsync-apply.service"]


def packages(tree: Path) -> None:
    """Put the locked packages into the tree."""
    _pip(tree, "--require-hashes", "--only-binary", ":all:", "-r", str(ROOT / "requirements-runtime.lock"))
    shutil.rmtree(tree / LIB / "bin", ignore_errors=True)
    _compile(tree, tree / LIB)


def program(tree: Path, told: str) -> None:
    """Put dbsync itself into a tree that has its packages, and what the package has beside it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
        environ = {**os.environ, "DBSYNC_VERSION": told}
        subprocess.run(command, cwd=ROOT, env=environ, check=True, stdout=subprocess.DEVNULL)
        for before in (tree / LIB).glob("dbsync*"):
            shutil.rmtree(before)
        (wheel,) = Path(folder).glob("*.whl")
        _pip(tree, str(wheel))
    shutil.rmtree(tree / LIB / "bin", ignore_errors=True)
    _compile(tree, tree / LIB / "dbsync")
    _beside(tree)


def write(tree: Path, told: str, to: Path) -> Path:
    """Write the package of a tree; give its file."""
    major, minor = sys.version_info[:2]
    environ = {
        **os.environ,
        "DEB_VERSION": debian_version(told),
        "DEB_ARCH": _ARCHITECTURES[os.uname().machine],
        "PYTHON_FROM": f"{major}.{minor}",
        "PYTHON_BELOW": f"{major}.{minor + 1}",
    }
    to.mkdir(parents=True, exist_ok=True)
    path = to / f"dbsync_{environ['DEB_VERSION']}_{environ['DEB_ARCH']}.deb"
    nfpm = Path(sysconfig.get_path("scripts")) / "nfpm"
    command = [str(nfpm), "package", "--config", str(OWN / "nfpm.yaml"), "--packager", "deb", "--target", str(path)]
    subprocess.run(command, cwd=tree.parent, env=environ, check=True, stdout=subprocess.DEVNULL)
    return path


def main() -> int:
    """Make it in build/deb of this checkout, and say what came out."""
    folder = ROOT / "build" / "deb"
    shutil.rmtree(folder, ignore_errors=True)
    tree, told = folder / "tree", version()
    packages(tree)
    program(tree, told)
    print(os.path.relpath(write(tree, told, folder), ROOT))
    return 0


def _pip(tree: Path, *what: str) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--quiet",
        "install",
        "--no-deps",
        "--no-compile",
    ]
    subprocess.run([*command, "--upgrade", "--target", str(tree / LIB), *what], check=True)


def _compile(tree: Path, what: Path) -> None:
    """Compile once and for all: the service must not write there, and files' times are not kept by every tool."""
    command = [sys.executable, "-m", "compileall", "-q", "-j", "0", "-s", str(tree), "-p", "/"]
    subprocess.run([*command, "--invalidation-mode", "unchecked-hash", str(what)], check=True)


def _beside(tree: Path) -> None:
    launcher = _LAUNCHER.format(python=".".join(map(str, sys.version_info[:2])), lib=LIB)
    for path, text in {
        "usr/bin/dbsync": launcher,
        "etc/default/dbsync": (OWN / "default").read_text(),
        "etc/dbsync/pg_service.conf": (OWN / "pg_service.conf").read_text(),
        "usr/share/doc/dbsync/copyright": (ROOT / "LICENSE").read_text(),
        "usr/share/doc/dbsync/README.md": (ROOT / "README.md").read_text(),
        "usr/share/doc/dbsync/changelog": (ROOT / "CHANGELOG.md").read_text(),
        **{f"lib/systemd/system/{unit.name}": unit.read_text() for unit in units()},
    }.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    for made in [tree, *tree.rglob("*")]:
        made.chmod(0o755 if made.is_dir() or made.stat().st_mode & stat.S_IXUSR else 0o644)
    scripts = tree.parent / "scripts"
    scripts.mkdir(exist_ok=True)
    for name in ("postinst", "prerm", "postrm"):
        shutil.copy(OWN / name, scripts)


if __name__ == "__main__":
    sys.exit(main())
