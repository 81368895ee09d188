"""Getting to know one another by stick: an invitation goes out, a request comes back. See docs/reference/bundle.md.

The code of the invitation is not on the stick: a person carries it another way. Half of it tells the node that the keys in the
invitation are its upstream's, the other half, sealed in the request, tells the upstream that the keys in there are the node's.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from dbsync.bundle import files
from dbsync.bundle.find import SIGNATURE_BYTES, Left
from dbsync.bundle.names import SIGNATURE, invitation_name, read_request_name, request_name
from dbsync.errors import FormatError, Refusal
from dbsync.identity.keys import Keys, PublicKeys

LARGEST = 10_000
INVITATION = "dbsync invitation 1"
REQUEST = "dbsync enrolment 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduced:
    """An upstream as its invitation says."""

    name: str
    keys: PublicKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A node that wants to come in, with its secret half of a code."""

    name: str
    secret: bytes
    keys: PublicKeys


def write_invitation(folder: Path, *, node: str, upstream: str, keys: Keys) -> Path:
    """Write what a node needs to know of its upstream; nothing of it is secret."""
    path = folder / invitation_name(node)
    public = keys.public
    data = _dump({"name": upstream, "node": node, "signing": public.signing, "sealing": public.sealing})
    _write(path, data, keys.sign(data, INVITATION), "the invitation was not written")
    return path


def read_invitation(folder: Path, *, node: str, head: bytes) -> Introduced:
    """Read the invitation of a node. Raises Refusal where there is none, or none by the one whose code it is."""
    path = folder / invitation_name(node)
    with files.told(folder, "the stick was not read"):
        files.refuse_link(folder)
        try:
            data, signature = _read(path)
        except FileNotFoundError:
            raise Refusal(
                f"no invitation for {node} is there",
                where=str(folder),
                hint=f"dbsync nodes invite {node} --stick DIR   (at the upstream)",
            ) from None
    try:
        said = _members(data, {"version", "name", "node", "signing", "sealing"})
        keys = PublicKeys(signing=said["signing"], sealing=said["sealing"])
    except (FormatError, ValueError):
        raise _refused(path, "it is damaged") from None
    if keys.fingerprint[: len(head)] != head or said["node"] != node:
        raise Refusal(
            "the invitation is not the one that the code stands for",
            where=str(path),
            why="it is another server's or for another node, an older one, or somebody has put it there",
            hint=f"dbsync nodes invite {node} --stick DIR   (at the upstream, for a new one and its code)",
        )
    if keys.verify(data, signature) != INVITATION:
        raise _refused(path, "the signature is for something else")
    return Introduced(name=said["name"], keys=keys)


def write_request(folder: Path, *, node: str, secret: bytes, keys: Keys, theirs: PublicKeys) -> Path:
    """Write a node's request to be let in: only its upstream can open it."""
    path = folder / request_name(node)
    public = keys.public
    code = base64.b32encode(secret).decode("ascii")
    said = {"name": node, "code": code, "signing": public.signing, "sealing": public.sealing}
    sealed = theirs.seal(_dump(said))
    _write(path, sealed, keys.sign(sealed, REQUEST), "the request was not written")
    return path


def find_requests(folder: Path, own: Keys) -> Iterator[tuple[Path, Request | Left]]:
    """Open the requests in a folder that are for us; what is none comes with its reason."""
    with files.told(folder, "the folder cannot be read"):
        paths = sorted(path for path in folder.iterdir() if read_request_name(path.name) is not None)
    for path in paths:
        yield path, _request(path, own)


def remove_request(path: Path) -> None:
    """Let a request that was granted leave the stick."""
    files.remove(path.with_name(path.name + SIGNATURE))
    files.remove(path)


def _request(path: Path, own: Keys) -> Request | Left:
    try:
        with files.told(path, "the request was not read"):
            sealed, signature = _read(path)
        return _opened(path, sealed, signature, own)
    except (FormatError, Refusal, files.Gone) as error:
        return Left(name=path.name, why=str(error), hint=error.hint)


def _opened(path: Path, sealed: bytes, signature: bytes, own: Keys) -> Request:
    try:
        said = _members(own.open(sealed), {"version", "name", "code", "signing", "sealing"})
        keys = PublicKeys(signing=said["signing"], sealing=said["sealing"])
        secret = base64.b32decode(said["code"])
    except (FormatError, ValueError):
        raise _refused(path, "it is not for us, or was damaged") from None
    if keys.verify(sealed, signature) != REQUEST or said["name"] != read_request_name(path.name):
        raise _refused(path, "it is not what its name and signature say")
    return Request(name=said["name"], secret=secret, keys=keys)


def _dump(said: Mapping[str, str]) -> bytes:
    return orjson.dumps({"version": 1, **said})


def _members(data: bytes, wanted: set[str]) -> dict[str, str]:
    found = orjson.loads(data)
    if not isinstance(found, dict) or set(found) != wanted or found.pop("version") != 1:
        raise ValueError("other members")
    if not all(isinstance(value, str) and value.isprintable() and value for value in found.values()):
        raise ValueError("other values")
    return found


def _write(path: Path, data: bytes, signature: bytes, what: str) -> None:
    signed = path.with_name(path.name + SIGNATURE)
    with files.told(path, what):
        files.refuse_link(path.parent)
        files.remove(signed)
        files.write(path, data)
        files.write(signed, signature)


def _read(path: Path) -> tuple[bytes, bytes]:
    return files.read(path, LARGEST), files.read(path.with_name(path.name + SIGNATURE), SIGNATURE_BYTES)


def _refused(path: Path, why: str) -> FormatError:
    return FormatError(
        f"{path.name} is not used", where="stick", why=why, hint="begin again: dbsync nodes invite NAME --stick DIR"
    )
