"""Certificates: a destination says, signed, up to where it has a node's changes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from dbsync.identity.forms import Form
from dbsync.identity.keys import Keys, PublicKeys, Signed
from dbsync.model.strict import exactly

_MEMBERS = frozenset(
    {
        "version", "destination", "node", "lineage", "incarnation", "link", "number", "hash", "applied_at", "waiting", "above", "at",
    }
)  # fmt: skip


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
    return _FORM.write(found, keys)


def read_certificate(signed: Signed, keys: PublicKeys) -> Certificate:
    """Read one by the destination whose keys these are. Raises FormatError for anything else."""
    return _FORM.read(signed, keys)


def _say(found: Certificate) -> Mapping[str, Any]:
    return {
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


def _understand(said: Mapping[str, Any]) -> Certificate:
    said = exactly(said, _MEMBERS)
    return Certificate(
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


_FORM = Form(name="the certificate", comment="dbsync certificate 1", say=_say, understand=_understand)
