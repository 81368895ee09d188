"""Writing a bundle: sealed for its destination as it is made, split into volumes, signed, and finished by its signatures."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import pyrage
from pyrage import x25519

from dbsync.bundle import files
from dbsync.bundle.marks import mark
from dbsync.bundle.names import SIGNATURE, BundleName, is_of
from dbsync.bundle.stream import Batches, Head, write_stream
from dbsync.errors import DbsyncError, Exhausted
from dbsync.identity.keys import Keys

VOLUME = 1 << 30
"""Bytes of a volume, unless told otherwise; a FAT32 stick ends at 4 GiB - 1."""
PARTIAL = ".{node}.{life}-{volume}.partial"
"""Two nodes may write into one folder at the same time."""


def write_bundle(
    folder: Path, head: Head, batches: Batches, *, recipients: Sequence[str], keys: Keys, limit: int = VOLUME
) -> list[Path]:
    """Write batches into a folder, sealed for the age recipients; give the files, none where there were no batches.

    Nothing is there in the clear at any moment. What is cut anywhere, by a stick that is pulled or full, leaves nothing that
    looks finished: the signatures come last. Raises Unreachable, Exhausted or Refusal with the reason.
    """
    seen = _Seen(batches)
    volumes = _Volumes(folder, limit, head)
    try:
        with files.told(folder, "the bundle was not written"):
            files.sync_folder(folder)
            _tidy(folder, head)
            first = seen.first()
            if first is None:
                return []
            plain = _Reader(write_stream(head, seen.again()))
            with volumes:
                _seal(plain, volumes, [x25519.Recipient.from_str(r) for r in recipients])
            name = BundleName.of(head.node, head.incarnation, first, seen.last)
            return _finished(folder, name, volumes, keys, mark(recipients))
    except BaseException:
        volumes.remove()
        raise


def _seal(plain: _Reader, volumes: _Volumes, recipients: Sequence[x25519.Recipient]) -> None:
    """Seal, and raise what went wrong at either end: age tells only that something did, and of its last write not even that."""
    why = ""
    try:
        pyrage.encrypt_io(plain, volumes, recipients)
    except pyrage.EncryptError as error:
        why = str(error)
    trouble = volumes.trouble or plain.trouble
    if trouble is None and why:
        trouble = Exhausted("the bundle was not written", where="age", why=why)
    if trouble is not None:
        raise trouble


def _finished(folder: Path, name: BundleName, volumes: _Volumes, keys: Keys, sealed_for: str) -> list[Path]:
    """Give the volumes their names, then sign each: without its signature none is taken for whole.

    What is signed is read from the stick, so it must be what was written: a stick may be worn, or somebody's device.
    """
    single = len(volumes.paths) == 1
    paths = [folder / name.file(0 if single else place) for place in range(1, len(volumes.paths) + 1)]
    remove_bundle(folder, name)
    for old, new in zip(volumes.paths, paths, strict=True):
        files.finish(old, new)
    for place, (path, written) in enumerate(zip(paths, volumes.hashes, strict=True), start=1):
        with files.opened(path) as file:
            back = _ReadBack(file)
            signature = keys.signing.sign(
                back, untrusted_comment=sealed_for, trusted_comment=comment(name, place, len(paths))
            )
        if back.hash.digest() != written.digest():
            raise files.Gone(
                "the bundle was not written",
                where=str(path),
                why="the stick gives back other bytes than were written onto it",
                hint="another stick",
            )
        files.write(path.with_name(path.name + SIGNATURE), bytes(signature) + b"\n")
    return paths


def _tidy(folder: Path, head: Head) -> None:
    """Remove what this node did not finish, in this life or one before: the stick was pulled."""
    begun = re.compile(rf"\.{re.escape(head.node)}\.[0-9a-f]{{8}}-\d+\.partial")
    for entry in os.scandir(folder):
        if begun.fullmatch(entry.name):
            files.remove(folder / entry.name)


def remove_bundle(folder: Path, name: BundleName) -> None:
    """Remove every file of a bundle, also of an earlier writing in other volumes: signatures first, for they finish it."""
    with files.told(folder, "the folder cannot be read"):
        before = [entry.name for entry in os.scandir(folder) if is_of(name, entry.name)]
    for file in sorted(before, key=lambda file: not file.endswith(SIGNATURE)):
        files.remove(folder / file)


def comment(name: BundleName, volume: int, volumes: int) -> str:
    """Say what a signature is of; it is signed as well.

    >>> comment(BundleName(node="field-07", life="3f2a9c1d", first=5, last=9), 1, 2)
    'dbsync bundle 1: field-07.3f2a9c1d.000005-000009.dbsync, volume 1 of 2'
    """
    return f"dbsync bundle 1: {name.file()}, volume {volume} of {volumes}"


class _Seen:
    """Batches on their way, with the first number known before the first is written and the last one behind the last."""

    def __init__(self, batches: Batches) -> None:
        self._batches = iter(batches)
        self._ahead: tuple[int, Iterable[bytes]] | None = None
        self.last = 0

    def first(self) -> int | None:
        self._ahead = next(self._batches, None)
        return None if self._ahead is None else self._ahead[0]

    def again(self) -> Iterator[tuple[int, Iterable[bytes]]]:
        while self._ahead is not None:
            self.last = self._ahead[0]
            yield self._ahead
            self._ahead = next(self._batches, None)


class _Reader:
    """Chunks as a file that is read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = b""
        self.trouble: Exception | None = None
        """What went wrong where they come from."""

    def read(self, size: int = -1) -> bytes:
        while not self._held:
            try:
                chunk = next(self._chunks, None)
            except Exception as error:
                self.trouble = error
                raise
            if chunk is None:
                return b""
            self._held = chunk
        count = len(self._held) if size < 0 else size
        taken, self._held = self._held[:count], self._held[count:]
        return taken


class _ReadBack:
    """A file on the stick, and what came out of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        return data


class _Volumes:
    """A file that goes on in the next one where it reaches a limit; all under temporary names."""

    def __init__(self, folder: Path, limit: int, head: Head) -> None:
        self._folder = folder
        self._head = head
        self._limit = limit
        self._stack = ExitStack()
        self._file: BinaryIO | None = None
        self._left = 0
        self.paths: list[Path] = []
        self.hashes: list[hashlib._Hash] = []
        self.trouble: DbsyncError | None = None
        """What went wrong in here, where age only tells that something did."""

    def write(self, data: bytes) -> int:
        try:
            with files.told(self._folder, "the bundle was not written"):
                self._write(memoryview(data))
        except DbsyncError as error:
            self.trouble = error
            raise
        return len(data)

    def flush(self) -> None:
        if self._file is not None:
            self._file.flush()

    def remove(self) -> None:
        """Leave nothing of it."""
        for path in self.paths:
            files.remove(path)

    def __enter__(self) -> _Volumes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._stack.__exit__(kind, error, None)

    def _write(self, data: memoryview) -> None:
        while data:
            if not self._left:
                self._next()
            assert self._file is not None
            part = data[: self._left]
            self._file.write(part)
            self.hashes[-1].update(part)
            self._left -= len(part)
            data = data[len(part) :]

    def _next(self) -> None:
        self._stack.close()
        name = PARTIAL.format(node=self._head.node, life=self._head.incarnation.hex[:8], volume=len(self.paths) + 1)
        path = self._folder / name
        self.paths.append(path)
        self.hashes.append(hashlib.sha256())
        self._file = self._stack.enter_context(files.begun(path))
        self._left = self._limit
