"""What is on a stick: bundles that are whole, of any nodes, and what is not usable, with a reason."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dbsync.bundle import files
from dbsync.bundle.marks import marked
from dbsync.bundle.names import SIGNATURE, BundleName, read_name
from dbsync.errors import FormatError
from dbsync.identity.keys import signer

SIGNATURE_BYTES = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """The files of a bundle that seems whole. Nothing of it is believed before it is opened."""

    name: BundleName
    paths: tuple[Path, ...]
    key_id: str
    """By whose key it says it is signed."""
    mark: str | None = None
    """For whom its writer says that it is sealed, all of it; None where that is not told."""

    def stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Tell its files from others of their names, without reading them. Raises OSError."""
        found = [(path.name, path.stat(follow_symlinks=False)) for path in self.paths]
        return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """Something on a stick that is not used, and why."""

    name: str
    why: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a folder holds."""

    usable: tuple[Bundle, ...]
    """By node and life, each life's by their first number."""
    left: tuple[Left, ...]
    """What looks like a bundle and is none, or not yet."""


def find_bundles(folder: Path) -> Found:
    """Look through a folder, not below it. Whatever is not called as a bundle is not looked at."""
    volumes: dict[BundleName, dict[int, Path]] = defaultdict(dict)
    bad: list[Left] = []
    with files.told(folder, "the folder cannot be read"):
        files.refuse_link(folder)
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    for entry in entries:
        found = read_name(entry.name)
        if found is None:
            continue
        if not entry.is_file(follow_symlinks=False):
            bad.append(Left(name=entry.name, why="it is no ordinary file", hint="another stick"))
            continue
        volumes[found[0]][found[1]] = Path(entry.path)
    good: list[Bundle] = []
    for name, parts in volumes.items():
        judged = _judged(name, parts)
        if isinstance(judged, Bundle):
            good.append(judged)
        else:
            bad.append(judged)
    good.sort(key=lambda bundle: (bundle.name.node, bundle.name.life, bundle.name.first, bundle.name.last))
    return Found(usable=tuple(good), left=tuple(bad))


def _judged(name: BundleName, parts: Mapping[int, Path]) -> Bundle | Left:
    again = "copy it again, or let the node export again"
    if sorted(parts) not in ([0], list(range(1, len(parts) + 1))):
        return Left(name=name.file(), why="a volume of it is missing, or of another export", hint=again)
    paths = tuple(parts[place] for place in sorted(parts))
    key_ids, told = set(), set()
    for path in paths:
        signature = path.with_name(path.name + SIGNATURE)
        try:
            read = files.read(signature, SIGNATURE_BYTES)
            key_ids.add(signer(read))
            told.add(marked(read))
        except PermissionError:
            let = f"chmod a+r {path.parent}/*   (as who may: what is on it is sealed)"
            return Left(name=path.name, why="this account may not read it", hint=let)
        except (OSError, ValueError, FormatError):
            return Left(name=path.name, why="its signature is not there, or is none: it was not finished", hint=again)
    if len(key_ids) != 1:
        return Left(name=name.file(), why="its volumes are signed by different keys", hint=again)
    return Bundle(name=name, paths=paths, key_id=key_ids.pop(), mark=told.pop() if len(told) == 1 else None)
