"""Enrolling this node with an upstream, and pinning the upstream's keys in its own database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dbsync import schema
from dbsync.bundle.enrolment import read_invitation, write_request
from dbsync.config import folders, web
from dbsync.config.fields import Route, route_of
from dbsync.config.models import Config, RelayRoute, UpstreamConfig
from dbsync.errors import Refusal, UsageError
from dbsync.identity.code import Invitation, read_code
from dbsync.identity.keys import Keys
from dbsync.identity.registry import Peer, Role, ever_pinned, pin
from dbsync.postgres import connect, translated
from dbsync.service import node as nodes
from dbsync.transport.enrol import enrol as ask
from dbsync.transport.enrol import public_keys
from dbsync.transport.line import Line
from dbsync.transport.trust import Trust

_PATIENCE = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """What came of it."""

    label: str
    """Under which name the upstream's keys are kept here: the link's."""
    name: str
    """What the upstream calls itself."""
    key_id: str


def enrol(config: Config, url: str, code: str, *, replace: bool = False) -> Enrolled:
    """Bring this node's keys to the upstream that the code is of, and keep its keys as the only ones to believe.

    What can be wrong here is found out first: the code works once. ``replace`` gives up keys that were kept before.
    """
    by_stick = route_of(url) is Route.FILE
    problem = folders.problem(url) if by_stick else web.problem(url)
    if problem is not None:
        raise UsageError("that is no upstream's address", where="URL", why=problem)
    if by_stick:
        return _enrol_by_stick(config, Path(folders.path_of(url)), read_code(code), replace=replace)
    label = UpstreamConfig(url=url, name=config.upstream.name).label
    invitation = read_code(code)
    keys = Keys.load(Path(config.node.keys))
    with connect(config.node.source, name="source") as source:
        schema.require(source, "source")
        with translated("source"):
            nodes.expect(nodes.read(source).name, config.node.name)
            if not replace:
                _refuse_another(ever_pinned(source, label), invitation, label)
        with Line(url, silence=_PATIENCE, trust=Trust(ca=config.upstream.ca)) as line:
            met = ask(line, keys, name=config.node.name, secret=invitation.secret, head=invitation.fingerprint_head)
        with translated("source"):
            pin(source, label, met.keys, replace=replace)
    return Enrolled(label=label, name=met.name, key_id=met.keys.key_id)


def _enrol_by_stick(config: Config, folder: Path, invitation: Invitation, *, replace: bool) -> Enrolled:
    """Keep the keys of the invitation on a stick if they are the code's, and leave a request beside it."""
    keys, name = Keys.load(Path(config.node.keys)), config.node.name
    met = read_invitation(folder, node=name, head=invitation.fingerprint_head)
    label = config.upstream.name or met.name
    with connect(config.node.source, name="source") as source:
        schema.require(source, "source")
        with translated("source"):
            nodes.expect(nodes.read(source).name, name)
            if not replace:
                _refuse_another(ever_pinned(source, label), invitation, label)
        write_request(folder, node=name, secret=invitation.secret, keys=keys, theirs=met.keys)
        with translated("source"):
            pin(source, label, met.keys, replace=replace)
    return Enrolled(label=label, name=met.name, key_id=met.keys.key_id)


def enrol_with_relay(config: Config, url: str, code: str, *, replace: bool = False) -> Enrolled:
    """Bring this node's keys to a relay, and keep its keys as those of who may take custody."""
    problem = web.problem(url)
    if problem is not None:
        raise UsageError("that is no relay's address", where="URL", why=problem)
    invitation, keys = read_code(code), Keys.load(Path(config.node.keys))
    known = next((relay for relay in config.relays if relay.url.rstrip("/") == url.rstrip("/")), None)
    ca = known.ca if known is not None else None
    with connect(config.node.source, name="source") as source:
        schema.require(source, "source")
        with Line(url, silence=_PATIENCE, trust=_trusted(url, ca, invitation)) as line:
            met = ask(line, keys, name=config.node.name, secret=invitation.secret, head=invitation.fingerprint_head)
        label = known.label if known is not None else RelayRoute(url=url, name=met.name).label
        with translated("source"):
            pin(source, label, met.keys, replace=replace, role=Role.RELAY)
    return Enrolled(label=label, name=met.name, key_id=met.keys.key_id)


def _trusted(url: str, ca: str | None, invitation: Invitation) -> Trust:
    """Say whom to tell the secret half of a code: whoever has the keys of the other half, or a certificate by an authority."""
    if ca is not None or not url.startswith("https:"):
        return Trust(ca=ca)
    return Trust(keys=public_keys(url, silence=_PATIENCE, head=invitation.fingerprint_head))


def _refuse_another(known: Peer | None, invitation: Invitation, label: str) -> None:
    head = invitation.fingerprint_head
    if known is None or known.keys is None or known.revoked_at is not None:
        return
    if known.keys.fingerprint[: len(head)] == head:
        return
    raise Refusal(
        f"this node is enrolled with another {label}",
        where="source",
        why="the code stands for other keys than those that are kept here",
        hint="is it another server: give it another name in [upstream]. Has it new keys: the same with --replace",
    )
