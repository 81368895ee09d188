"""Whether a node and its upstream remember the same past: judged as the service does at each contact, and nothing is mended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import psycopg

from dbsync.changelog.position import Position, position_of, under_way
from dbsync.check.finding import warning
from dbsync.model.findings import Finding
from dbsync.service import node as nodes
from dbsync.service.lives import Contact, Lives
from dbsync.service.node import Node
from dbsync.transport.base import Memory

LOOKS = 3
"""How often the two ends are looked at, while a service ships: what is compared must be of one moment."""


def of_past(source: psycopg.Connection, upstream: Memory, link: str) -> Iterator[Finding]:
    """Judge whether both ends remember the same past, as the service will at its next contact; here nothing is mended."""
    for _ in range(LOOKS):
        before = _standing(source, link)
        if before is None or before.node.reloaded:
            return  # nothing was ever sent, or it is said already
        node = before.node
        lives = Lives(connection=source, upstream=upstream, node=node.name, link=link)
        contact = lives.contact(node.incarnation, before.position, before.under_way, lives.last(node.incarnation))
        if _standing(source, link) == before:
            break
    else:
        return  # batches go and receipts come, faster than one looks: both ends agree
    if contact in _TOLD:
        remedy = "dbsync run --once   (goes on by itself, and loses nothing); then: dbsync status"
        yield warning("incarnation_wrong", *_TOLD[contact], remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """What this node remembers of a link."""

    node: Node
    position: Position
    under_way: Mapping[int, bytes]


def _standing(source: psycopg.Connection, link: str) -> _Standing | None:
    position = position_of(source, link)
    if position is None:
        return None
    node = nodes.read(source)
    sent = under_way(source, link, node.incarnation)
    return _Standing(node=node, position=position, under_way={one.number: one.hash for one in sent})


_TOLD = {
    Contact.SOURCE_BACK: (
        "source",
        "the upstream has batches of this incarnation that this database never sent: it was restored, or is a copy",
    ),
    Contact.UPSTREAM_BACK: (
        "upstream",
        "the upstream lacks batches that it has given receipts for: it was restored to an older backup",
    ),
    Contact.PARTED: ("source", "this database and the upstream remember different batches under the same numbers"),
}
"""Where it shows, and what it means."""
