"""What a relay carries, as far as its nodes let it look: bundles that are sealed for it as well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from uuid import UUID

from dbsync.batch.codec import decode
from dbsync.bundle.find import Bundle
from dbsync.bundle.read import NotForUs, open_bundle
from dbsync.errors import DbsyncError, FormatError, Refusal
from dbsync.identity.keys import PublicKeys, signer
from dbsync.identity.lists import CheckedList, seal_list, write_list
from dbsync.inspector import copied
from dbsync.inspector.changes import PAGE, Change, Checked, Heap, Pile, Raw, Sealed, Wanted, fits, read
from dbsync.model.batch import Header
from dbsync.relay.middleman import Middleman
from dbsync.relay.records import Held


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """The bundles in a relay's custody that its upstream does not have."""

    relay: Middleman

    @property
    def place(self) -> str:
        """Name the relay."""
        return f"{self.relay.config.relay.name} (relay)"

    def heap(self) -> Heap:
        """Count, and say of what cannot be looked into that it cannot."""
        counts: Counter[tuple[str, str]] = Counter()
        oldest: dict[tuple[str, str], datetime] = {}
        sealed: dict[tuple[str, str], int] = {}
        for held in self._held():
            node = held.name.node
            try:
                for change in self._inside(held):
                    counts[node, change.table] += 1
                    oldest[node, change.table] = min(change.at, oldest.get((node, change.table), change.at))
            except DbsyncError as error:
                why = "sealed for the upstream alone" if isinstance(error, NotForUs) else str(error)
                sealed[node, why] = sealed.get((node, why), 0) + 1
        return Heap(
            piles=tuple(
                Pile(node=node, table=table, changes=count, oldest=oldest[node, table])
                for (node, table), count in sorted(counts.items())
            ),
            sealed=tuple(Sealed(node=node, bundles=count, why=why) for (node, why), count in sorted(sealed.items())),
        )

    def changes(self, wanted: Wanted) -> Iterator[Change]:
        """Look through all of them."""
        found = (change for change in self._all(wanted.node) if fits(change, wanted))
        return islice(found, wanted.page * PAGE, wanted.page * PAGE + PAGE + 1)

    def all_of(self, table: str, node: str) -> Iterator[Change]:
        """Give the changes of one table."""
        return (change for change in self._all(node) if change.table == table)

    def keep(self, checked: Checked, *, identity: UUID, at: datetime) -> CheckedList:
        """Keep it sealed for the upstream: this laptop itself cannot read it any more."""
        upstream = self.relay.records.upstream()
        if upstream is None or upstream.keys is None:
            raise Refusal(
                "the list cannot be sealed yet",
                where="relay",
                why="this relay knows no upstream",
                hint="dbsync relay enrol URL CODE",
            )
        found = checked.by(self.relay.config.relay.name, identity=identity, at=at)
        sealed = seal_list(write_list(found, self.relay.keys), upstream.keys)
        self.relay.records.keep_list(str(found.id), sealed)
        return found

    def _held(self, node: str = "") -> list[Held]:
        return self.relay.records.held(node or None)

    def _all(self, node: str) -> Iterator[Change]:
        """Give everything that can be read; what comes behind a bundle that cannot is there all the same."""
        for held in self._held(node):
            try:
                yield from self._inside(held)
            except DbsyncError:
                continue  # the heap tells

    def _inside(self, held: Held) -> Iterator[Change]:
        with self.relay.spool.reading(held.name) as (path, signature):
            bundle = Bundle(name=held.name, paths=(path,), key_id=signer(signature))
            with open_bundle(bundle, own=self.relay.keys, sender=self._sender(held)) as stream:
                for _, chunks in stream.batches():
                    batch = decode(chunks)
                    for fields in copied.rows(batch.payload):
                        yield read(_origin(batch.header, fields), _raw(batch.header, fields))

    def _sender(self, held: Held) -> PublicKeys:
        for peer in self.relay.records.nodes():
            if peer.name == held.name.node and peer.keys is not None:
                return peer.keys
        raise FormatError("its sender is not known here any more", where=held.name.file())


_AT, _LAYOUT, _OP, _IMAGE, _OLD_IMAGE, _REFS, _OLD_REFS, _ORIGIN = 2, 3, 4, 6, 7, 8, 9, 11
"""The places of a change's fields in a batch: see docs/reference/batch.md."""


def _raw(header: Header, fields: list[bytes | None]) -> Raw:
    layout = header.layouts.get(copied.whole(fields[_LAYOUT])) if len(fields) > _ORIGIN else None
    if layout is None:
        raise FormatError("the batch cannot be looked into", where=header.node, why="a change has no layout")
    return Raw(
        layout=layout,
        op=(fields[_OP] or b"").decode("ascii"),
        at=copied.moment(fields[_AT]),
        image=copied.texts(fields[_IMAGE]),
        old_image=copied.texts(fields[_OLD_IMAGE]),
        refs=copied.texts(fields[_REFS]),
        old_refs=copied.texts(fields[_OLD_REFS]),
    )


def _origin(header: Header, fields: list[bytes | None]) -> str:
    """Say who first captured a change: a tier brings those of others."""
    origin = fields[_ORIGIN] if len(fields) > _ORIGIN else None
    return header.node if origin is None else origin.decode("utf-8")
