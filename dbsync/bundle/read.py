"""Reading a bundle: copied from the stick, its signatures checked, then unsealed as it is read."""

from __future__ import annotations

import queue
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import minisign
import pyrage

from dbsync.bundle import files
from dbsync.bundle.find import SIGNATURE_BYTES, Bundle
from dbsync.bundle.names import SIGNATURE
from dbsync.bundle.stream import Stream, refused
from dbsync.bundle.write import comment
from dbsync.errors import FormatError
from dbsync.identity.keys import Keys, PublicKeys

AHEAD = 16
"""Chunks that are unsealed before they are asked for."""
COPIED = 1 << 20
"""Bytes that are copied at once."""
_NOT_READ = "the bundle was not read"
_NO_COPY = "there is no room for a copy of the bundle"


class NotForUs(FormatError):
    """A bundle that is as its sender signed it, and that our key does not open: it was sealed for somebody else."""


@contextmanager
def open_bundle(bundle: Bundle, *, own: Keys, sender: PublicKeys) -> Iterator[Stream]:
    """Give what is in a bundle that was sealed to us and signed by its sender. Raises FormatError for any other.

    It is copied first, sealed as it is: what was checked is what is read, whatever the stick does meanwhile. Each batch
    in it has a hash of its own; that none is missing is known at the end.
    """
    with _room() as room:
        copies = [_copied(path, room) for path in bundle.paths]
        _check(bundle, copies, sender)
        with _unsealed(copies, own) as chunks:
            stream = Stream(chunks)
            head = stream.head
            if (head.node, head.incarnation.hex[:8]) != (bundle.name.node, bundle.name.life):
                raise refused("it is not what its name says", f"it holds batches of {head.node}")
            yield stream


def is_whole(bundle: Bundle, sender: PublicKeys) -> bool:
    """Say whether every file of a bundle is as its sender signed it, and can be read."""
    try:
        with files.told(bundle.paths[0], _NOT_READ):
            _check(bundle, bundle.paths, sender)
    except (FormatError, files.Gone):
        return False
    return True


@contextmanager
def _room() -> Iterator[Path]:
    with files.told_here(_NO_COPY):
        room = tempfile.TemporaryDirectory(prefix="dbsync-")
    with room as path:
        yield Path(path)


def _copied(path: Path, room: Path) -> Path:
    """Copy a file and its signature, and tell which end is in trouble."""
    copy, signature = room / path.name, path.with_name(path.name + SIGNATURE)
    with files.told(path, _NOT_READ):
        source = files.opened(path)
    with source, files.told_here(_NO_COPY), copy.open("xb") as target:
        while chunk := _next(source, path):
            target.write(chunk)
    with files.told(signature, _NOT_READ):
        signed = files.read(signature, SIGNATURE_BYTES)
    with files.told_here(_NO_COPY):
        (room / signature.name).write_bytes(signed)
    return copy


def _next(source: BinaryIO, path: Path) -> bytes:
    with files.told(path, _NOT_READ):
        return source.read(COPIED)


def _check(bundle: Bundle, copies: Sequence[Path], sender: PublicKeys) -> None:
    key = minisign.PublicKey.from_base64(sender.signing)
    for place, copy in enumerate(copies, start=1):
        try:
            signature = minisign.Signature.from_file(copy.with_name(copy.name + SIGNATURE))
            with files.opened(copy) as file:
                key.verify(file, signature)
        except (minisign.Error, minisign.ParseError, minisign.VerifyError) as error:
            raise refused("its signature is not its sender's, or it was changed", str(error)) from None
        if signature.trusted_comment != comment(bundle.name, place, len(copies)):
            raise refused("its signature is for another file", signature.trusted_comment[:200])


def _not_for_us(error: pyrage.DecryptError) -> NotForUs:
    return NotForUs(
        "it cannot be unsealed",
        where="bundle",
        why=f"it is not for us, or was sealed badly ({error})",
        hint="let the node export again: nothing of it was forgotten there",
    )


@contextmanager
def _unsealed(copies: Sequence[Path], own: Keys) -> Iterator[Iterator[bytes]]:
    """Unseal in a thread: age hands out what it has, and batches are read as they are wanted."""
    pipe = _Pipe()

    def work() -> None:
        with _Joined(copies) as sealed:
            try:
                with files.told_here("the copy of the bundle was not read"):
                    pyrage.decrypt_io(sealed, pipe, [own.sealing])
                pipe.end(None)
            except pyrage.DecryptError as error:
                pipe.end(_not_for_us(error))
            except BaseException as error:  # whoever reads is told, in his own thread
                pipe.end(error)

    thread = threading.Thread(target=work, name="unsealing", daemon=True)
    thread.start()
    try:
        yield pipe.chunks()
    finally:
        pipe.stop()
        thread.join()


class _Pipe:
    """What one thread writes and another reads, a little ahead."""

    def __init__(self) -> None:
        self._queue: queue.Queue[bytes | BaseException | None] = queue.Queue(AHEAD)
        self._stopped = threading.Event()

    def write(self, data: bytes) -> int:
        self._put(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits in here."""

    def end(self, error: BaseException | None) -> None:
        with suppress(BrokenPipeError):
            self._put(error)

    def chunks(self) -> Iterator[bytes]:
        while (found := self._queue.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found

    def stop(self) -> None:
        self._stopped.set()

    def _put(self, item: bytes | BaseException | None) -> None:
        while not self._stopped.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=0.1)
                return
        raise BrokenPipeError


class _Joined:
    """Volumes as one file."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = iter(paths)
        self._file: BinaryIO | None = None

    def read(self, size: int = -1) -> bytes:
        while True:
            if self._file is None:
                path = next(self._paths, None)
                if path is None:
                    return b""
                self._file = path.open("rb")
            data = self._file.read(size)
            if data:
                return data
            self._file.close()
            self._file = None

    def __enter__(self) -> _Joined:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._file is not None:
            self._file.close()
