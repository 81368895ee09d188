"""Certificates: issued by a destination, and compared by the node with what it has captured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

import psycopg

from dbsync import schema
from dbsync.apply import receipts
from dbsync.changelog import lives
from dbsync.config.fields import Route
from dbsync.config.models import Config
from dbsync.errors import IdentityConflict, Refusal
from dbsync.identity.certificate import Certificate, read_certificate, write_certificate
from dbsync.identity.keys import Keys, Signed
from dbsync.postgres import connect, translated
from dbsync.service import node as nodes
from dbsync.service import routes
from dbsync.service.backlog import Waiting, backlog
from dbsync.service.node import Node
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

    @property
    def complete(self) -> bool:
        """Say whether the destination has every change, and none of them waits for somebody."""
        return not self.missing and (self.certificate is None or self.certificate.waiting == 0)


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
            life = connection.execute(statement("certificate", "newest_life"), {"node": node}).fetchone()
            if life is None:
                raise Refusal(f"nothing of {node} is here", where="upstream", hint="dbsync nodes list")
            signed = issue(
                connection, destination=config.node.name, node=node, incarnation=life[0], link=life[1], keys=keys
            )
    assert signed is not None
    return signed


def ask(config: Config) -> Certified:
    """Ask the upstream for its certificate, and compare it with what this node has captured.

    Raises Unreachable without a route, Refusal over a route on which nobody signs, IdentityConflict where the two remember
    different pasts.
    """
    if config.upstream.route is not Route.HTTPS:
        raise Refusal(
            "over this route nobody signs",
            where=f"upstream {config.upstream.label}",
            why="a certificate is signed by the destination's own dbsync",
            hint=f"at the upstream: dbsync certificate {config.node.name}",
        )
    with connect(config.node.source, name="source") as source:
        schema.require(source, "source")
        with translated("source"):
            node = nodes.read(source)
            until = source.execute(statement("certificate", "moment")).fetchone()
        assert until is not None
        with routes.https(config, source) as (asking, theirs):
            signed = asking.certificate(node.incarnation, config.upstream.label)
        certificate = None if signed is None else read_certificate(signed, theirs)
        with translated("source"):
            if certificate is not None:
                _expect_ours(source, config.upstream.label, node, certificate)
            missing = backlog(source, config.upstream.label).tables
    return Certified(certificate=certificate, signed=signed, until=until[0], missing=missing)


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
