"""Receipts on a stick: a small file a node, signed by the destination."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from dbsync.bundle import files
from dbsync.bundle.find import SIGNATURE_BYTES
from dbsync.bundle.names import SIGNATURE, receipts_name
from dbsync.errors import FormatError
from dbsync.identity.keys import Keys, PublicKeys, Signed
from dbsync.model.batch import Receipt

LARGEST = 1 << 20
_MEMBERS = frozenset({"incarnation", "link", "number", "hash", "applied_at", "held"})
COMMENT = "dbsync receipts 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A receipt and the link it is for."""

    link: str
    receipt: Receipt


def write_receipts(folder: Path, *, destination: str, node: str, receipts: Sequence[Carried], keys: Keys) -> Path:
    """Write a node's receipts, in place of those that are there."""
    path = folder / receipts_name(node)
    signed = sign_receipts(destination=destination, node=node, receipts=receipts, keys=keys)
    signature = path.with_name(path.name + SIGNATURE)
    with files.told(path, "the receipts were not written"):
        files.remove(signature)
        files.write(path, signed.data)
        files.write(signature, signed.signature)
    return path


def sign_receipts(*, destination: str, node: str, receipts: Sequence[Carried], keys: Keys) -> Signed:
    """Give a node's receipts as they are written, and their signature."""
    data = _dump(destination, node, receipts)
    return Signed(data=data, signature=keys.sign(data, COMMENT))


def read_receipts(folder: Path, *, node: str, keys: PublicKeys) -> tuple[Carried, ...] | None:
    """Read a node's receipts by its upstream, which may say that it has none; None where it has said nothing.

    Raises FormatError for what that did not write.
    """
    path = folder / receipts_name(node)
    with files.told(path, "the receipts were not read"):
        files.refuse_link(folder)
        try:
            data = files.read(path, LARGEST)
            signature = files.read(path.with_name(path.name + SIGNATURE), SIGNATURE_BYTES)
        except FileNotFoundError:
            return None
    return believed(Signed(data=data, signature=signature), node=node, keys=keys)


def believed(signed: Signed, *, node: str, keys: PublicKeys) -> tuple[Carried, ...]:
    """Read a node's receipts as its upstream signed them. Raises FormatError for anything else."""
    data = signed.data
    if keys.verify(data, signed.signature) != COMMENT:
        raise _refused("the signature is for something else")
    try:
        found = orjson.loads(data)
        carried = tuple(_read(node, item) for item in found["receipts"])
        same = _dump(found["destination"], node, carried) == data
    except (ValueError, TypeError, KeyError, AttributeError):
        raise _refused("they cannot be read") from None
    if not same:
        raise _refused("they are of another node, or not written as version 1 writes them")
    return carried


def _dump(destination: str, node: str, receipts: Sequence[Carried]) -> bytes:
    said = [
        {
            "incarnation": str(carried.receipt.incarnation),
            "link": carried.link,
            "number": str(carried.receipt.number),
            "hash": carried.receipt.hash.hex(),
            "applied_at": carried.receipt.applied_at.isoformat(),
            "held": carried.receipt.held,
        }
        for carried in receipts
    ]
    return orjson.dumps({"version": 1, "destination": destination, "node": node, "receipts": said})


def _read(node: str, item: dict[str, Any]) -> Carried:
    if set(item) != _MEMBERS or type(item["held"]) is not int or not 0 <= item["held"] < 2**63:
        raise ValueError("other members")
    number = int(item["number"])
    if not 0 < number < 2**63:
        raise ValueError("no number of a batch")
    receipt = Receipt(
        node=node,
        incarnation=UUID(item["incarnation"]),
        number=number,
        hash=bytes.fromhex(item["hash"]),
        applied_at=datetime.fromisoformat(item["applied_at"]),
        held=item["held"],
    )
    return Carried(link=item["link"], receipt=receipt)


def _refused(why: str) -> FormatError:
    return FormatError(
        "the receipts are not used", where="receipts", why=why, hint="import the stick at its destination again"
    )
