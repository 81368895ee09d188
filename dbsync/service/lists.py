"""Checked boxes: kept where they were checked, brought to the upstream, shown at either end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

import psycopg

from dbsync import schema
from dbsync.apply.lists import keep
from dbsync.bundle import files, sealed
from dbsync.bundle.find import Left
from dbsync.bundle.names import Kind, SealedName
from dbsync.config.models import Config
from dbsync.errors import FormatError, NotAdmitted, Refusal, UsageError
from dbsync.identity import registry
from dbsync.identity.keys import Keys, PublicKeys, Signed
from dbsync.identity.lists import (
    Arrived,
    CheckedList,
    pack_list,
    read_arrived,
    read_list,
    signed_by,
    told_list,
    unpack_list,
    write_arrived,
)
from dbsync.identity.registry import Peer, Role
from dbsync.postgres import connect, translated
from dbsync.service.admission import admit_paper
from dbsync.statements import statement

SHOWN = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A list as it is here."""

    found: CheckedList
    own: bool
    kept_at: datetime
    sent_at: datetime | None
    """When the upstream took it; None for one that waits, and for one that came from elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """A list that a stick or a relay brought."""

    name: SealedName
    new: bool
    """Whether it was not here yet."""


def take(connection: psycopg.Connection, signed: Signed, carrier: Peer) -> CheckedList:
    """Take a list that somebody brought: a node its own, a relay its own or a node's.

    Raises FormatError for one that nobody known here signed, or whose id another list has here, NotAdmitted for another's, or a
    revoked one's.
    """
    found, by = _believed(connection, signed, carrier)
    if carrier.role is not Role.RELAY and by != carrier.name:
        raise NotAdmitted(f"{carrier.name} brings another's list", where=carrier.name)
    keep(connection, signed, own=False, by=by)
    return found


def take_from_stick(connection: psycopg.Connection, folder: Path, own: Keys, left: list[Left]) -> Iterator[Brought]:
    """Take the lists in a folder, each for its signatures alone; what is none for us is put to ``left``."""
    for name in sealed.found(folder, Kind.LIST):
        try:
            yield take_sealed(connection, name, sealed.read(folder, name), own)
        except (FormatError, Refusal, files.Gone) as error:
            left.append(Left(name=name.file(), why=str(error), hint=error.hint))


def take_sealed(connection: psycopg.Connection, name: SealedName, signed: Signed, own: Keys) -> Brought:
    """Take a list as a sealed paper, whoever brought it. Raises FormatError for what is none for us, NotAdmitted for a stranger's."""
    sender = admit_paper(connection, name, signed)
    inside = unpack_list(sealed.unseal(signed, name, own=own, sender=sender))
    found, by = _believed(connection, inside)
    if (by, found.id) != (name.node, name.id):
        raise FormatError("the list is not what its name says", where=name.file(), hint="let it be written again")
    return Brought(name=name, new=keep(connection, inside, own=False, by=by))


def _believed(connection: psycopg.Connection, signed: Signed, carrier: Peer | None = None) -> tuple[CheckedList, str]:
    """Read a list by whoever signed it: somebody who is known here, in a name that is his or was; give what he is called now."""
    key_id = signed_by(signed)
    of_carrier = carrier is not None and carrier.keys is not None and carrier.keys.key_id == key_id
    peer = carrier if of_carrier else registry.sender_of_key(connection, key_id)
    if peer is None or peer.keys is None or peer.revoked_at is not None:
        raise NotAdmitted("the list is by nobody who is known here", where=carrier.name if carrier else "stick")
    found = read_list(signed, peer.keys)
    if found.by != peer.name and not registry.was_called(connection, peer, found.by):
        raise NotAdmitted(f"{peer.name} brings another's list", where=peer.name)
    return found, peer.name


def unsent(connection: psycopg.Connection) -> Iterator[tuple[UUID, Signed]]:
    """Give what the upstream does not have yet."""
    for identity, data, signature in connection.execute(statement("lists", "unsent")).fetchall():
        yield identity, Signed(data=bytes(data), signature=bytes(signature))


def sent(connection: psycopg.Connection, identity: UUID) -> None:
    """Note that the upstream has one."""
    connection.execute(statement("lists", "sent"), {"id": identity})


def sign_arrived(connection: psycopg.Connection, *, destination: str, node: str, keys: Keys) -> Signed | None:
    """Say, signed, which lists of a node are here; None where none ever came."""
    rows = connection.execute(statement("lists", "of_node"), {"node": node}).fetchall()
    if not rows:
        return None
    return write_arrived(Arrived(destination=destination, node=node, lists=tuple(row[0] for row in rows)), keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """This node's own lists on their way to an upstream that no line leads to."""

    connection: psycopg.Connection
    node: str
    keys: Keys
    theirs: PublicKeys
    """The upstream's."""

    def take_home(self, paper: Signed | None) -> int:
        """Take the upstream's word, by whatever way it came, for which lists are there; give how many waited for it."""
        if paper is None:
            return 0
        found = read_arrived(paper, node=self.node, keys=self.theirs)
        with translated("source"):
            return self.connection.execute(statement("lists", "arrived"), {"ids": list(found.lists)}).rowcount

    def put_on(self, folder: Path) -> int:
        """Have the lists that wait on a stick, each written once; those that are there for good leave it. Give how many wait."""
        with translated("source"):
            waiting = dict(unsent(self.connection))
        there = {name.id: name for name in sealed.found(folder, Kind.LIST, self.node)}
        for identity, signed in waiting.items():
            name = self.name(identity)
            if identity not in there or not self.is_there(folder, name):
                sealed.write(folder, name, self.seal(name, signed))
        with translated("source"):
            gone = self.connection.execute(statement("lists", "brought"), {"ids": list(there)}).fetchall()
        for (identity,) in gone:
            sealed.remove(folder, there[identity])
        return len(waiting)

    def name(self, identity: UUID) -> SealedName:
        """Name a list as a sealed paper."""
        return SealedName(node=self.node, id=identity, kind=Kind.LIST)

    def is_there(self, folder: Path, name: SealedName) -> bool:
        """Say whether a list is in a folder as it should be: whole, and sealed for the upstream's keys of now."""
        return sealed.is_whole(folder, name, self.keys.public) and sealed.is_for(folder, name, self.theirs)

    def seal(self, name: SealedName, signed: Signed) -> Signed:
        """Seal a list for the upstream."""
        return sealed.seal(pack_list(signed), name, keys=self.keys, theirs=self.theirs)


def newest(config: Config) -> list[Kept]:
    """Give the newest lists that are here."""
    with _database(config) as connection, translated("source"):
        return [_kept(*row) for row in connection.execute(statement("lists", "newest"), {"limit": SHOWN}).fetchall()]


def one(config: Config, beginning: str) -> Kept:
    """Give a list by the beginning of its id. Raises UsageError where that names none, or several."""
    with _database(config) as connection, translated("source"):
        rows = connection.execute(statement("lists", "one"), {"id": beginning}).fetchall()
    if len(rows) != 1:
        found = "several lists begin" if rows else "no list here begins"
        raise UsageError(f"{found} with {beginning!r}", hint="dbsync lists   (shows them)")
    return _kept(*rows[0])


@contextmanager
def _database(config: Config) -> Iterator[psycopg.Connection]:
    with connect(config.node.source, name="source") as connection:
        schema.require(connection, "source")
        yield connection


def _kept(paper: bytes, kept_at: datetime, sent_at: datetime | None, own: bool) -> Kept:
    return Kept(found=told_list(bytes(paper)), own=own, kept_at=kept_at, sent_at=sent_at)
