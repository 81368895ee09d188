"""What POSIX has and Windows lacks, asked for in one place: where it is missing, what it guards is left to the system.

See docs/how-to/windows.md for what that means.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

try:
    import resource
except ModuleNotFoundError:
    _HAS_LIMITS = False
else:
    _HAS_LIMITS = True

NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
"""To open no symbolic link that somebody else laid; on Windows only an administrator can lay one."""
NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)
"""To wait for nobody at the other end of what was taken for a file."""
HAS_OWNERS: bool = hasattr(os, "geteuid")
"""Files have an owner and a mode; on Windows they have lists of who may what, which they take from their folder."""
RELOAD: signal.Signals | None = getattr(signal, "SIGHUP", None)
"""What tells a service to read its configuration again; None: it is started anew."""
_FOLDER: int | None = getattr(os, "O_DIRECTORY", None)


def raise_open_files(wanted: int) -> int:
    """Let this process have so many files and connections open, or as many as it may ask for; give how many that are."""
    if not _HAS_LIMITS:
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return wanted if soft == resource.RLIM_INFINITY else min(soft, wanted)


def let_be_read(descriptor: int) -> None:
    """Let every account read a file, whatever this process's mask for new files is.

    A file system without modes refuses to set any, and lets read whom its mount lets.
    """
    if HAS_OWNERS:
        with suppress(OSError):
            os.fchmod(descriptor, 0o644)


def sync_folder(folder: Path) -> None:
    """Have a folder's names on the disk. Raises OSError for what is none, and for a link to one.

    Where folders cannot be opened the file system sees to it: NTFS keeps a journal of its names.
    """
    if _FOLDER is None:
        refuse_none(folder)
        return
    descriptor = os.open(folder, os.O_RDONLY | _FOLDER | NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_none(folder: Path) -> None:
    """Raise OSError for what is no folder, or one that may not be entered."""
    if _FOLDER is None:
        os.scandir(folder).close()
        return
    os.close(os.open(folder, os.O_RDONLY | _FOLDER | NOFOLLOW))
