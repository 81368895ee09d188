"""A Python that lacks what Windows lacks, to run dbsync in: no Windows is here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
LACKING = """
import asyncio, errno, fcntl, importlib, os, shutil, signal, socket, subprocess, sys, tempfile

opened, synced, reads_only = os.open, os.fsync, set()

def open_as_windows(path, flags, mode=0o777, **more):
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)
    return opened(path, flags, mode, **more)

def fsync_as_windows(descriptor):
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    synced(descriptor)

os.open, os.fsync = open_as_windows, fsync_as_windows
shutil._use_fd_functions = False
for module, names in {
    os: "O_DIRECTORY O_NOFOLLOW O_NONBLOCK geteuid getegid getuid getgid fchown chown fork killpg uname",
    signal: "SIGHUP SIGKILL SIGUSR1 SIGUSR2 SIGALRM",
    socket: "AF_UNIX",
}.items():
    for name in names.split():
        delattr(module, name)
for name in ("fcntl", "grp", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None
"""
"""What os.open and os.fsync refuse there is refused too."""


def python(code: str, folder: Path, *words: str) -> str:
    """Run code in it; give what it prints. It has to exit 0."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DBSYNC", "PG"))}
    command: Sequence[str] = [sys.executable, "-c", LACKING + code, *words]
    done = subprocess.run(
        command, cwd=folder, env={**kept, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def dbsync(folder: Path, *words: str) -> str:
    """Type a command in it."""
    return python("from dbsync.cli.main import run; run()", folder, *words)
