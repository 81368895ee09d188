"""Change a setting in a dbsync.toml; comments, order and everything else stay as they were."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import tomlkit

from dbsync import posix
from dbsync.config.insert import with_setting
from dbsync.config.load import read_text
from dbsync.errors import ConfigError


def set_upstream(path: Path, url: str, name: str | None = None) -> None:
    """Write another ``[upstream] url``, and a name if one is given, into a file, whole or not at all.

    Raises ConfigError where it cannot be written.
    """
    document = tomlkit.parse(read_text(path))
    section = document.setdefault("upstream", tomlkit.table())
    section["url"] = url
    text = tomlkit.dumps(document)
    if name is not None:
        beside = with_setting(text, "upstream", f"name = {tomlkit.item(name).as_string()}")
        section["name"] = name
        wanted = tomlkit.dumps(document)  # as it is to be understood; below the comments that lead the next section
        text = beside if _means(beside) == _means(wanted) else wanted
    write(path, text)


def _means(text: str) -> dict[str, Any] | None:
    """Read a text; None for one that is no TOML, as where a name stands twice."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def add_relay(path: Path, url: str, name: str) -> None:
    """Add an entry to ``[[relays]]`` of a file, whole or not at all. Raises ConfigError where it cannot be written."""
    document = tomlkit.parse(read_text(path))
    entry = tomlkit.table()
    entry.update({"url": url, "name": name})
    document.setdefault("relays", tomlkit.aot()).append(entry)
    write(path, tomlkit.dumps(document))


def write(path: Path, text: str) -> None:
    """Write a file's text anew, whole or not at all. Raises ConfigError where it cannot be written."""
    try:
        _replace(path.resolve(), text.encode())
    except OSError as error:
        raise ConfigError(
            "the configuration was not written", where=str(path), why=(error.strerror or str(error)).lower()
        ) from None


def _replace(path: Path, data: bytes) -> None:
    """Put a new file in an old one's place, with its owner and mode."""
    before = path.stat()
    beside = path.with_name(f".{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | posix.NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if posix.HAS_OWNERS:
                _own_as(before, descriptor)
            file.flush()
            os.fsync(descriptor)
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise


def _own_as(before: os.stat_result, descriptor: int) -> None:
    if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode))
