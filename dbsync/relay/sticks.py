"""A stick at a relay: bundles that lie on it are taken into custody, and the upstream's receipts go back onto it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import structlog

from dbsync.bundle import files
from dbsync.bundle.find import SIGNATURE_BYTES, Bundle, Left, find_bundles
from dbsync.bundle.names import SIGNATURE, receipts_name
from dbsync.bundle.papers import write_paper
from dbsync.bundle.receipts import Carried, believed, read_receipts
from dbsync.errors import FormatError
from dbsync.identity.keys import PublicKeys, Signed
from dbsync.relay.records import Paper, Records
from dbsync.relay.spool import Spool

ON_STICK = ".{}.stick.partial"
"""What is copied from a stick has a name of its own, for its node may hand over the same meanwhile, sealed anew."""
PIECE = 1 << 20

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What came of one stick."""

    bundles: int
    known: int
    """Bundles that were in custody already."""
    receipts: tuple[str, ...]
    """Nodes whose receipts were written onto it."""
    left: tuple[Left, ...]
    """What was not taken, and why."""


def take_in(folder: Path, records: Records, spool: Spool) -> Taken:
    """Take what lies in a folder, and bring receipts home on it. What is on the stick stays there, for its node's receipts remove it.

    A copy that is cut goes on where it stopped; a bundle is in custody when it is here whole and its node signed it.
    """
    found = find_bundles(folder)
    left = list(found.left)
    here = {(one.name, one.bytes) for one in records.held()}
    bundles = known = 0
    spool = replace(spool, partial=ON_STICK)
    for bundle in found.usable:
        if (bundle.name, sum(size for _, size, _ in bundle.stamp())) in here:
            known += 1
            continue
        sender = _sender(bundle, records)
        trouble = sender if isinstance(sender, Left) else _copied(bundle, sender, spool)
        if trouble is not None:
            left.append(trouble)
            continue
        bundles += 1
        log.info("custody_taken", node=bundle.name.node, bundle=bundle.name.file())
    nodes = sorted({bundle.name.node for bundle in found.usable})
    written = tuple(node for node in nodes if _bring_home(folder, node, records))
    return Taken(bundles=bundles, known=known, receipts=written, left=tuple(left))


def _sender(bundle: Bundle, records: Records) -> PublicKeys | Left:
    """Say by whose key a bundle is signed, as far as it says so; or why it is not taken."""
    name, peer = bundle.name, records.of_key(bundle.key_id)
    if peer is None or peer.keys is None or peer.name != name.node:
        return Left(
            name=name.file(),
            why=f"this relay does not know the key of {name.node} that it is signed with",
            hint=f"dbsync relay invite {name.node}   then, over there: dbsync enrol --relay URL CODE",
        )
    if peer.revoked_at is not None:
        return Left(name=name.file(), why=f"{peer.name} is revoked here: {peer.revoked_why or ''}", hint="")
    if len(bundle.paths) > 1:
        return Left(name=name.file(), why="it is in volumes", hint="bring the stick itself to the upstream")
    return peer.keys


def _copied(bundle: Bundle, sender: PublicKeys, spool: Spool) -> Left | None:
    """Take a bundle into custody; say why where that cannot be."""
    name, (path,) = bundle.name, bundle.paths
    if path.stat().st_size > spool.largest(name):
        return Left(
            name=name.file(),
            why=f"it is larger than the {spool.largest(name):,} bytes that this relay takes",
            hint="bring the stick itself to the upstream",
        )
    with files.told(path, "the bundle was not read"):
        signature = files.read(path.with_name(path.name + SIGNATURE), SIGNATURE_BYTES)
        place = spool.go_on(name, signature)
        with files.opened(path) as file:
            file.seek(place)
            while piece := file.read(PIECE):
                place = spool.add(name, place, piece)
    try:
        spool.finish(name, signature, sender)
    except FormatError as error:
        return Left(name=name.file(), why=f"{error.what} ({error.why})", hint="let the node export it again")
    return None


def _bring_home(folder: Path, node: str, records: Records) -> bool:
    """Write a node's receipts where they say more than those that lie there; say whether they did."""
    ours, upstream = records.paper(node, Paper.RECEIPTS), records.upstream()
    if ours is None or upstream is None or upstream.keys is None:
        return False
    if not _says_more(ours, folder, node, upstream.keys):
        return False
    write_paper(folder / receipts_name(node), ours, "the receipts were not written")
    return True


def _says_more(ours: Signed, folder: Path, node: str, keys: PublicKeys) -> bool:
    new = _reached(believed(ours, node=node, keys=keys))
    try:
        there = _reached(read_receipts(folder, node=node, keys=keys) or ())
    except FormatError:  # damaged, or somebody else's
        return True
    return any(number > there.get(which, 0) for which, number in new.items())


def _reached(receipts: Sequence[Carried]) -> Mapping[tuple[UUID, str], int]:
    return {(one.receipt.incarnation, one.link): one.receipt.number for one in receipts}
