"""Certificates: a destination says, signed, up to where it has a node's changes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from dbsync.errors import FormatError
from dbsync.identity.keys import Keys, PublicKeys, Signed

COMMENT = "dbsync certificate 1"
_MEMBERS = frozenset(
    {
        "version",
        "destination",
        "node",
        "lineage",
        "incarnation",
        "link",
        "number",
        "hash",
        "applied_at",
        "waiting",
        "above",
        "at",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a destination has of one life of a node: every batch up to one, which the hash names with all before it."""

    destination: str
    node: str
    lineage: UUID
    incarnation: UUID
    link: str
    number: int
    hash: bytes
    applied_at: datetime
    waiting: int
    """Changes of the node that wait there in quarantine: received, and not in its tables."""
    above: Mapping[str, int | None]
    """Up to which batch each tier above it has everything; None where that cannot be told."""
    at: datetime


def write_certificate(found: Certificate, keys: Keys) -> Signed:
    """Write and sign one."""
    data = _dump(found)
    return Signed(data=data, signature=keys.sign(data, COMMENT))


def read_certificate(signed: Signed, keys: PublicKeys) -> Certificate:
    """Read one by the destination whose keys these are. Raises FormatError for anything else."""
    if keys.verify(signed.data, signed.signature) != COMMENT:
        raise _refused("the signature is for something else")
    try:
        said: dict[str, Any] = orjson.loads(signed.data)
        if set(said) != _MEMBERS:
            raise ValueError("other members")
        found = Certificate(
            destination=said["destination"],
            node=said["node"],
            lineage=UUID(said["lineage"]),
            incarnation=UUID(said["incarnation"]),
            link=said["link"],
            number=int(said["number"]),
            hash=bytes.fromhex(said["hash"]),
            applied_at=datetime.fromisoformat(said["applied_at"]),
            waiting=said["waiting"],
            above={name: None if number is None else int(number) for name, number in said["above"].items()},
            at=datetime.fromisoformat(said["at"]),
        )
        same = _dump(found) == signed.data
    except (ValueError, TypeError, KeyError, AttributeError):
        raise _refused("it cannot be read") from None
    if not same:
        raise _refused("it is not written as version 1 writes it")
    return found


def _dump(found: Certificate) -> bytes:
    return orjson.dumps(
        {
            "version": 1,
            "destination": found.destination,
            "node": found.node,
            "lineage": str(found.lineage),
            "incarnation": str(found.incarnation),
            "link": found.link,
            "number": str(found.number),
            "hash": found.hash.hex(),
            "applied_at": found.applied_at.isoformat(),
            "waiting": found.waiting,
            "above": {name: None if number is None else str(number) for name, number in found.above.items()},
            "at": found.at.isoformat(),
        }
    )


def _refused(why: str) -> FormatError:
    return FormatError("the certificate is not believed", where="certificate", why=why)
