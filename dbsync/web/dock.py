"""Where relays land: sealed bundles come in whole, signed receipts go back. See docs/reference/http.md."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import structlog

from dbsync.apply import receipts
from dbsync.bundle import files
from dbsync.bundle.find import Bundle, signer
from dbsync.bundle.names import SIGNATURE, BundleName, read_name
from dbsync.bundle.receipts import Carried, sign_receipts
from dbsync.config.models import Config
from dbsync.errors import FormatError, NotAdmitted
from dbsync.identity.keys import Keys
from dbsync.identity.registry import Role
from dbsync.service.bundles import Stick
from dbsync.web.appliers import Appliers
from dbsync.web.door import Said, Visit, paper
from dbsync.web.says import Malformed, number
from dbsync.web.uploads import Upload

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dock:
    """Answers relays. What they bring is believed for its senders' signatures, and applied as from a stick."""

    config: Config
    keys: Keys
    appliers: Appliers
    connections: Callable[[], AbstractContextManager[psycopg.Connection]]

    def kept(self, visit: Visit) -> Said:
        """Say how much of a bundle is here."""
        _, upload = _bundle(visit)
        with self.connections() as connection:
            size, digest = upload.digest(connection)
        return Said(status=200, body={"offset": size, "hash": digest.hex()})

    def part(self, visit: Visit) -> Said:
        """Keep a part of a bundle."""
        _, upload = _bundle(visit)
        place = number(visit.query, "offset")
        with self.connections() as connection:
            upload.add(connection, place, visit.body, most=self.config.serve.batch_bytes)
        return Said(status=200, body={"offset": place + len(visit.body)})

    def forget(self, visit: Visit) -> Said:
        """Forget what is here of a bundle."""
        _, upload = _bundle(visit)
        self._forget(upload)
        return Said(status=200, body={})

    def finish(self, visit: Visit) -> Said:
        """Apply a whole bundle, whose signature comes now, and give its sender's receipts to be carried home."""
        name, upload = _bundle(visit)
        try:
            with self._written(name, upload, visit.body) as bundle, self.appliers.one() as hand:
                brought = Stick(applier=hand.applier, asking=hand.connection, keys=self.keys).bring_one(bundle)
        except FormatError:
            self._forget(upload)
            raise
        self._forget(upload)
        log.info("bundle_applied", relay=visit.peer.name, node=brought.node, batches=brought.applied, held=brought.held)
        return self._receipts(brought.node)

    def receipts(self, visit: Visit) -> Said:
        """Give a node's receipts, signed."""
        _refuse_others(visit)
        return self._receipts(visit.path["node"])

    def _receipts(self, node: str) -> Said:
        with self.connections() as connection:
            found = [Carried(link=link, receipt=receipt) for link, receipt in receipts.newest(connection, node)]
        if not found:
            return paper(None)
        return paper(sign_receipts(destination=self.config.node.name, node=node, receipts=found, keys=self.keys))

    @contextmanager
    def _written(self, name: BundleName, upload: Upload, signature: bytes) -> Iterator[Bundle]:
        """Put a bundle into a folder of its own: sealed as it is, it is read like one on a stick."""
        try:
            key_id = signer(signature)
        except ValueError:
            raise Malformed("that is no signature", where="request") from None
        with tempfile.TemporaryDirectory(prefix="dbsync-") as room:
            path = Path(room) / name.file()
            with self.connections() as connection, files.told(path, "the bundle was not read"):
                size, _ = upload.digest(connection)
                with path.open("xb") as file, closing(upload.read(connection, size)) as parts:
                    for part in parts:
                        file.write(part)
                path.with_name(path.name + SIGNATURE).write_bytes(signature)
            yield Bundle(name=name, paths=(path,), key_id=key_id)

    def _forget(self, upload: Upload) -> None:
        with self.connections() as connection:
            upload.remove(connection)


def _bundle(visit: Visit) -> tuple[BundleName, Upload]:
    _refuse_others(visit)
    found = read_name(visit.path["file"])
    if found is None or found[1]:
        raise Malformed("that is no bundle's name", where="request")
    identity = hashlib.sha256(found[0].file().encode()).hexdigest()
    return found[0], Upload(peer=visit.peer.name, id=identity)


def _refuse_others(visit: Visit) -> None:
    if visit.peer.role is not Role.RELAY:
        raise NotAdmitted(
            f"{visit.peer.name} is no relay",
            where=visit.peer.name,
            why="it was invited as a node",
            hint=f"dbsync nodes revoke {visit.peer.name}   then: dbsync nodes invite {visit.peer.name} --relay   (at the upstream)",
        )
