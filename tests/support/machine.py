"""This computer's own Debian to install packages on, and to forget: nothing that is written there stays.

A mount namespace with an overlay over the root: what is read is the real system, what is written is in memory. The folders /tmp and
/dev are the real ones, so that sockets and test folders can be reached from both sides.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.support.servers import REQUIRE

_BEGIN = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs {room}
mkdir {room}/upper {room}/work {room}/root
mount -t overlay overlay -o lowerdir=/,upperdir={room}/upper,workdir={room}/work {room}/root
for shared in proc sys dev tmp; do mount --rbind /$shared {room}/root/$shared; done
echo ready
exec cat
"""


class Machine:
    """One to be thrown away: ``with Machine(folder) as machine:``."""

    def __init__(self, folder: Path) -> None:
        self._room = folder / "machine"
        self._room.mkdir()

    def __enter__(self) -> Self:
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", _BEGIN.format(room=self._room)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "ready\n":
            _, why = self._holder.communicate(timeout=30)
            pytest.skip(f"no file system can be laid over this one: {why.strip()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._holder.communicate(timeout=30)  # its input ends, and with it the last who knew this namespace

    def command(self, *words: str, user: str = "root", environ: dict[str, str] | None = None) -> list[str]:
        """Give the words that run a command there, with nothing of this process's environment."""
        plain = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        settings = [f"{name}={value}" for name, value in {**plain, **(environ or {})}.items()]
        there = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", "chroot", str(self._room / "root")]
        return [*there, "runuser", "-u", user, "--", "env", "-i", "--chdir=/", *settings, *words]

    def run(self, *words: str, user: str = "root", environ: dict[str, str] | None = None) -> str:
        """Run one that has to exit 0; give what it says on both ways."""
        done = subprocess.run(
            self.command(*words, user=user, environ=environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}"
        return done.stdout

    def sh(self, script: str, *, user: str = "root") -> str:
        """Run lines of a shell."""
        return self.run("sh", "-ec", script, user=user)


def needs_debian(python: str) -> None:
    """Skip the test where no package for this Python can be installed; what only has to be installed itself is a failure in CI."""
    if os.getuid() != 0:
        pytest.skip("only root can install a package")
    for program in ("dpkg", "unshare", "nsenter", "adduser", f"/usr/bin/python{python}"):
        if shutil.which(program) is None:
            _without(f"{program} is not installed")


def _without(reason: str) -> None:
    if os.environ.get(REQUIRE):
        pytest.fail(reason)
    pytest.skip(reason)
