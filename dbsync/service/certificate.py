"""Certificates: issued by a destination, and compared by the node with what it has captured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

import psycopg

from dbsync import schema
from dbsync.apply import receipts
from dbsync.bundle.names import certificate_name
from dbsync.bundle.papers import read_paper
from dbsync.capture.install import TriggerState
from dbsync.capture.skipped import skipping
from dbsync.changelog import lives
from dbsync.config.fields import Route
from dbsync.config.models import Config
from dbsync.errors import DbsyncError, IdentityConflict, NotAdmitted, Refusal, Unreachable
from dbsync.identity import registry
from dbsync.identity.certificate import Certificate, read_certificate, write_certificate
from dbsync.identity.keys import Keys, Signed
from dbsync.postgres import connect, translated
from dbsync.service import node as nodes
from dbsync.service import relays, routes
from dbsync.service.backlog import Waiting, backlog
from dbsync.service.node import Node
from dbsync.service.status import trigger_states
from dbsync.statements import statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """A destination's certificate, and what this node has captured beyond it."""

    certificate: Certificate | None
    """None before its first batch."""
    signed: Signed | None
    until: datetime
    """Every change committed before this moment is in it, or in ``missing``."""
    missing: Mapping[str, Waiting]
    """Changes that the destination does not have, by table; none where it has everything."""
    acknowledged: int = 0
    """The last batch that has its receipt here."""
    doubts: tuple[str, ...] = ()
    """Why there may be rows here that nobody captured, or that the comparison cannot see."""

    @property
    def stale(self) -> bool:
        """Say whether there is none for all that has its receipt: what came since the certificate, if any, is not in it."""
        return (self.certificate.number if self.certificate else 0) < self.acknowledged

    @property
    def complete(self) -> bool:
        """Say whether the destination has every change, and none of them waits for somebody."""
        return not (self.missing or self.stale or self.doubts) and (
            self.certificate is None or self.certificate.waiting == 0
        )


def issue(
    connection: psycopg.Connection, *, destination: str, node: str, incarnation: UUID, link: str, keys: Keys
) -> Signed | None:
    """Certify what is here of one life of a node; None where nothing is. The connection is in autocommit."""
    asked = {"node": node, "incarnation": incarnation, "link": link}
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        here = connection.execute(statement("certificate", "standing"), asked).fetchone()
        above = receipts.above(connection, node, incarnation, link)
        now = connection.execute(statement("certificate", "moment")).fetchone()
    if here is None or now is None:
        return None
    number, digest, applied_at, lineage, waiting = here
    found = Certificate(
        destination=destination,
        node=node,
        lineage=lineage,
        incarnation=incarnation,
        link=link,
        number=number,
        hash=bytes(digest),
        applied_at=applied_at,
        waiting=waiting,
        above=above,
        at=now[0],
    )
    return write_certificate(found, keys)


def issue_here(config: Config, node: str) -> Signed:
    """Certify what this database has of a node, in the life in which it was heard of last."""
    keys = Keys.load(Path(config.node.keys))
    with connect(config.node.source, name="upstream") as connection:
        schema.require(connection, "upstream")
        with translated("upstream"):
            signed = issue_newest(connection, destination=config.node.name, node=node, keys=keys)
    if signed is None:
        raise Refusal(f"nothing of {node} is here", where="upstream", hint="dbsync nodes list")
    return signed


def issue_newest(connection: psycopg.Connection, *, destination: str, node: str, keys: Keys) -> Signed | None:
    """Certify what is here of a node, in the life in which it was heard of last; None where nothing is."""
    asked = statement("certificate", "newest_life").format(told=statement("receipts", "told"))
    life = connection.execute(asked, {"node": node}).fetchone()
    if life is None:
        return None
    return issue(connection, destination=destination, node=node, incarnation=life[0], link=life[1], keys=keys)


def ask(config: Config, folder: Path | None = None) -> Certified:
    """Get the upstream's certificate and compare it with what this node has captured.

    It is asked for over the line; where there is none it is what a middleman or a stick last brought, or what is in ``folder``. Raises
    Unreachable where it is not to be had now, Refusal over a route on which nobody signs, IdentityConflict where the two remember
    different pasts.
    """
    label = config.upstream.label
    with connect(config.node.source, name="source") as source:
        schema.require(source, "source")
        with translated("source"):
            node = nodes.read(source)
            theirs = registry.pinned(source, label)
            until = source.execute(statement("certificate", "moment")).fetchone()
        assert until is not None
        if theirs is None or theirs.keys is None:
            raise _unknown(config)
        signed = _fetched(config, source, node, folder)
        certificate = None if signed is None else read_certificate(signed, theirs.keys)
        with translated("source"):
            if certificate is not None:
                _expect_ours(source, label, node, certificate)
            reached = source.execute(statement("certificate", "acknowledged"), {"link": label}).fetchone()
            missing = backlog(source, label).tables
            doubts = tuple(_doubts(config, source, node, certificate))
    return Certified(
        certificate=certificate,
        signed=signed,
        until=until[0],
        missing=missing,
        acknowledged=reached[0] if reached else 0,
        doubts=doubts,
    )


def _doubts(config: Config, source: psycopg.Connection, node: Node, found: Certificate | None) -> Iterator[str]:
    """Say why the change log does not tell all that is here, or not what of it the destination has."""
    if node.reloaded:
        yield "this database was reloaded in another PostgreSQL cluster: dbsync run --once takes its changes over"
    if found is None and lives.sent_lives(source, config.upstream.label):
        yield "what was sent before this database began a new life has no certificate: dbsync verify compares it"
    if node.capture_off_since is not None:
        since = f"{node.capture_off_since:%Y-%m-%d %H:%M %Z}"
        yield f"capture is off since {since}, and what was written meanwhile is nowhere else: dbsync capture on, dbsync verify"
    blind = sorted(
        str(table)
        for table, state in trigger_states(config, source).items()
        if state in (TriggerState.MISSING, TriggerState.DISABLED)
    )
    if blind:
        yield f"nothing is captured of {', '.join(blind)}: dbsync install-triggers, dbsync verify"
    if ended_by := skipping(source):
        yield f"some write without firing triggers, and what they wrote is nowhere else: {' '.join(ended_by)} dbsync verify"
    begun = [row[0] for row in source.execute(statement("capture", "backfills_begun")).fetchall()]
    if begun:
        yield f"the backfill of {', '.join(begun)} is not through: dbsync backfill"


def _unknown(config: Config) -> DbsyncError:
    if config.upstream.route is not Route.DIRECT:
        return NotAdmitted(
            f"this node was never enrolled with {config.upstream.label}",
            where=config.upstream.url,
            hint=f"dbsync enrol URL CODE   (the code: dbsync nodes invite {config.node.name}, over there)",
        )
    return Refusal(
        "over this route nobody signs",
        where=f"upstream {config.upstream.label}",
        why="a certificate is signed by the destination's own dbsync",
        hint=f"at the upstream: dbsync certificate {config.node.name}",
    )


def _fetched(config: Config, source: psycopg.Connection, node: Node, folder: Path | None) -> Signed | None:
    """Get it from where it is to be had now: the upstream itself, a middleman, a stick."""
    route, label = config.upstream.route, config.upstream.label
    if folder is None and route is Route.FILE:
        folder = config.upstream.folder
    if folder is not None and folder.is_dir():
        return read_paper(folder / certificate_name(node.name), "the certificate was not read")
    away: DbsyncError = Unreachable(
        "there is no certificate to be had now",
        where=f"upstream {label}",
        why="the stick is not in" if folder is not None else "no line leads there",
        hint="put the stick in, or: dbsync certificate --from DIR",
    )
    if route is Route.HTTPS and folder is None:
        try:
            with routes.https(config, source) as (asking, _):
                return asking.certificate(node.incarnation, label)
        except Unreachable as error:
            away = error
    for found in relays.certificates(config, source, node.name):
        return found
    raise away


def _expect_ours(source: psycopg.Connection, link: str, node: Node, found: Certificate) -> None:
    """Refuse a certificate that is for another past than this database's."""
    same = (node.name, node.lineage, node.incarnation) == (found.node, found.lineage, found.incarnation)
    if same and lives.sent_hash(source, link, node.incarnation, found.number) in (found.hash, None):
        return
    raise IdentityConflict(
        f"the upstream's certificate is not for what this database sent up to batch {found.number}",
        where="source",
        why="it was restored or copied, or another database sends as this node",
        hint="dbsync run --once   (finds out which, and goes on); then: dbsync certificate",
    )
