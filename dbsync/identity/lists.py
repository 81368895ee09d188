"""Lists of a box checked against the data, signed by the node or relay on which that was done. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pyrage
from pyrage import x25519

from dbsync.identity.forms import Form
from dbsync.identity.keys import Keys, PublicKeys, Signed, signer
from dbsync.model.strict import exactly, filled, items, text

LARGEST = 4 << 20
"""Bytes of a sealed list."""
_MEMBERS = frozenset(
    {"version", "id", "by", "checked_by", "table", "column", "at", "both", "missing_from_data", "missing_from_box"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedList:
    """What was in the box and what was in the data, by the identifiers in one column of a table."""

    id: UUID
    by: str
    """The node or relay that signed it."""
    checked_by: str
    """The person, as he named himself."""
    table: str
    column: str
    at: datetime
    both: tuple[str, ...]
    missing_from_data: tuple[str, ...]
    missing_from_box: tuple[str, ...]


def write_list(found: CheckedList, keys: Keys) -> Signed:
    """Write and sign one."""
    return _FORM.write(found, keys)


def read_list(signed: Signed, keys: PublicKeys) -> CheckedList:
    """Read one by whoever has these keys. Raises FormatError for anything else."""
    return _FORM.read(signed, keys)


def told_list(data: bytes) -> CheckedList:
    """Read one whose signature was checked before. Raises FormatError for what is none."""
    return _FORM.told(data)


def signed_by(signed: Signed) -> str:
    """Say by whose key a list says it is. Raises FormatError for what is no signature."""
    try:
        return signer(signed.signature)
    except ValueError:
        raise _FORM.refused("it is not signed") from None


def pack_list(signed: Signed) -> bytes:
    """Put one and its signature together, to be sealed: what was found in a box is as confidential on the way as the data."""
    both = {"data": signed.data, "signature": signed.signature}
    return orjson.dumps({name: base64.b64encode(value).decode("ascii") for name, value in both.items()})


def unpack_list(packed: bytes) -> Signed:
    """Take one out of what was sealed. Nothing of it is believed yet. Raises FormatError for what is none."""
    try:
        said = exactly(orjson.loads(packed), {"data", "signature"})
        return Signed(
            data=base64.b64decode(text(said["data"]), validate=True),
            signature=base64.b64decode(text(said["signature"]), validate=True),
        )
    except (ValueError, TypeError):
        raise _FORM.refused("it cannot be read") from None


def seal_list(signed: Signed, theirs: PublicKeys) -> bytes:
    """Seal one for its upstream."""
    return bytes(pyrage.encrypt(pack_list(signed), [x25519.Recipient.from_str(theirs.sealing)]))


def open_list(sealed: bytes, own: Keys) -> Signed:
    """Open one that was sealed for us. Nothing of it is believed yet. Raises FormatError for any other."""
    try:
        packed = pyrage.decrypt(sealed, [own.sealing])
    except pyrage.DecryptError:
        raise _FORM.refused("it is not for us, or was damaged") from None
    return unpack_list(packed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """Which lists of a node its upstream has: the newest that came there."""

    destination: str
    node: str
    lists: tuple[UUID, ...]


def write_arrived(found: Arrived, keys: Keys) -> Signed:
    """Say it, signed by the upstream: until then a node keeps a list as one that waits."""
    return _ARRIVED.write(found, keys)


def read_arrived(signed: Signed, *, node: str, keys: PublicKeys) -> Arrived:
    """Read what the upstream whose keys these are says to a node. Raises FormatError for anything else."""
    found = _ARRIVED.read(signed, keys)
    if found.node != node:
        raise _ARRIVED.refused("it is another node's")
    return found


def _say(found: CheckedList) -> Mapping[str, Any]:
    return {
        "version": 1,
        "id": str(found.id),
        "by": found.by,
        "checked_by": found.checked_by,
        "table": found.table,
        "column": found.column,
        "at": found.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "both": list(found.both),
        "missing_from_data": list(found.missing_from_data),
        "missing_from_box": list(found.missing_from_box),
    }


def _understand(said: Mapping[str, Any]) -> CheckedList:
    said = exactly(said, _MEMBERS)
    return CheckedList(
        id=UUID(text(said["id"])),
        by=filled(said["by"]),
        checked_by=filled(said["checked_by"]),
        table=filled(said["table"]),
        column=filled(said["column"]),
        at=datetime.fromisoformat(text(said["at"])),
        both=tuple(map(text, items(said["both"]))),
        missing_from_data=tuple(map(text, items(said["missing_from_data"]))),
        missing_from_box=tuple(map(text, items(said["missing_from_box"]))),
    )


_FORM = Form(name="the list", comment="dbsync list 1", say=_say, understand=_understand)


def _say_arrived(found: Arrived) -> Mapping[str, Any]:
    return {
        "version": 1,
        "destination": found.destination,
        "node": found.node,
        "lists": [str(one) for one in found.lists],
    }


def _understand_arrived(said: Mapping[str, Any]) -> Arrived:
    said = exactly(said, {"version", "destination", "node", "lists"})
    return Arrived(
        destination=filled(said["destination"]),
        node=filled(said["node"]),
        lists=tuple(UUID(text(one)) for one in items(said["lists"])),
    )


_ARRIVED = Form(
    name="the paper of lists",
    comment="dbsync lists 1",
    say=_say_arrived,
    understand=_understand_arrived,
    hint="import the stick at its destination again",
)
