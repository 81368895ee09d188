"""A node changes its own keys, at its upstream and its relays, without anybody there."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import psycopg

from dbsync import schema
from dbsync.config.fields import Route
from dbsync.config.models import Config
from dbsync.errors import NotAdmitted, Refusal
from dbsync.identity import registry, rotation
from dbsync.identity.keys import Keys, PublicKeys
from dbsync.identity.registry import Role
from dbsync.postgres import connect, translated
from dbsync.transport.exchange import Exchange
from dbsync.transport.line import Line
from dbsync.transport.trust import Trust

PATH = "/v1/rotate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Somebody who knows this node by its key."""

    url: str
    trust: Trust
    keys: PublicKeys


def rotate(config: Config) -> PublicKeys:
    """Give this node new keys; give what is public of them.

    The relays are told first and the upstream last; when all know the new keys, they take the place of the old ones here.
    Doing it again goes on where it broke off. Raises Unreachable where one of them is away, before any is told.
    """
    folder = Path(config.node.keys)
    if rotation.is_half_done(folder):
        rotation.settle(folder, None)
        return Keys.load(folder).public
    old = Keys.load(folder)
    with connect(config.node.source, name="source") as source:
        schema.require(source, "source")
        with translated("source"):
            places = list(_places(config, source))
    if not places:
        raise Refusal(
            "nobody knows this node by its keys",
            where=f"upstream {config.upstream.label}",
            why="it was enrolled nowhere",
            hint="dbsync nodes keys   (shows them)",
        )
    new = rotation.prepared(folder)
    for place in places:
        _find(config, place, old, new)
    for place in places:
        _tell(config, place, old, new)
    rotation.settle(folder, old.public)
    return new.public


def _places(config: Config, source: psycopg.Connection) -> Iterator[Place]:
    for relay in config.relays:
        peer = registry.ever_pinned(source, relay.label, Role.RELAY)
        if peer is not None and peer.keys is not None and peer.revoked_at is None:
            yield Place(url=relay.url, trust=Trust(ca=relay.ca, keys=peer.keys), keys=peer.keys)
    upstream = config.upstream
    peer = registry.pinned(source, upstream.label)
    if upstream.route is Route.HTTPS and peer is not None and peer.keys is not None:
        yield Place(url=upstream.url, trust=Trust(ca=upstream.ca), keys=peer.keys)


def _find(config: Config, place: Place, old: Keys, new: Keys) -> None:
    """Find out that somebody is there and knows this node, by the old keys or by the new ones."""
    with _line(config, place) as line:
        try:
            Exchange(line=line, keys=old, theirs=place.keys).ask("GET", "/v1/time")
        except NotAdmitted:
            Exchange(line=line, keys=new, theirs=place.keys).ask("GET", "/v1/time")


def _tell(config: Config, place: Place, old: Keys, new: Keys) -> None:
    """Tell one of them, unless it knows: the line broke before its answer was heard."""
    said = {
        "signing": new.public.signing,
        "sealing": new.public.sealing,
        "proof": base64.b64encode(rotation.proof(old.public, new)).decode("ascii"),
    }
    with _line(config, place) as line:
        try:
            Exchange(line=line, keys=old, theirs=place.keys).ask("POST", PATH, orjson.dumps(said))
        except NotAdmitted:
            Exchange(line=line, keys=new, theirs=place.keys).ask("GET", "/v1/time")


@contextmanager
def _line(config: Config, place: Place) -> Iterator[Line]:
    with Line(place.url, silence=config.service.silence, trust=place.trust) as line:
        yield line
