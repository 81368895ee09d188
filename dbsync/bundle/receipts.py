"""Receipts on a stick: a small file a node, signed by the destination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from dbsync.bundle.names import receipts_name
from dbsync.bundle.papers import read_paper, write_paper
from dbsync.identity.forms import Form
from dbsync.identity.keys import Keys, PublicKeys, Signed
from dbsync.model.batch import Receipt

_MEMBERS = frozenset({"incarnation", "link", "number", "hash", "applied_at", "held"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A receipt and the link it is for."""

    link: str
    receipt: Receipt


def write_receipts(folder: Path, *, destination: str, node: str, receipts: Sequence[Carried], keys: Keys) -> Path:
    """Write a node's receipts, in place of those that are there."""
    path = folder / receipts_name(node)
    signed = sign_receipts(destination=destination, node=node, receipts=receipts, keys=keys)
    write_paper(path, signed, "the receipts were not written")
    return path


def sign_receipts(*, destination: str, node: str, receipts: Sequence[Carried], keys: Keys) -> Signed:
    """Give a node's receipts as they are written, and their signature."""
    return _FORM.write(_Told(destination=destination, node=node, receipts=tuple(receipts)), keys)


def read_receipts(folder: Path, *, node: str, keys: PublicKeys) -> tuple[Carried, ...] | None:
    """Read a node's receipts by its upstream, which may say that it has none; None where it has said nothing.

    Raises FormatError for what that did not write.
    """
    signed = read_paper(folder / receipts_name(node), "the receipts were not read")
    return None if signed is None else believed(signed, node=node, keys=keys)


def believed(signed: Signed, *, node: str, keys: PublicKeys) -> tuple[Carried, ...]:
    """Read a node's receipts as its upstream signed them. Raises FormatError for anything else."""
    found = _FORM.read(signed, keys)
    if found.node != node:
        raise _FORM.refused("they are another node's")
    return found.receipts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """All that an upstream says at once."""

    destination: str
    node: str
    receipts: tuple[Carried, ...]


def _say(found: _Told) -> Mapping[str, Any]:
    said = [
        {
            "incarnation": str(carried.receipt.incarnation),
            "link": carried.link,
            "number": str(carried.receipt.number),
            "hash": carried.receipt.hash.hex(),
            "applied_at": carried.receipt.applied_at.isoformat(),
            "held": carried.receipt.held,
        }
        for carried in found.receipts
    ]
    return {"version": 1, "destination": found.destination, "node": found.node, "receipts": said}


def _understand(said: Mapping[str, Any]) -> _Told:
    node = said["node"]
    carried = tuple(_read(node, item) for item in said["receipts"])
    return _Told(destination=said["destination"], node=node, receipts=carried)


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


_FORM = Form(
    name="the paper of receipts",
    comment="dbsync receipts 1",
    say=_say,
    understand=_understand,
    hint="import the stick at its destination again",
)
