"""What is in the stage: a batch, or cases of the quarantine that are tried again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from dbsync.catalog.former import Former
from dbsync.errors import LinkHalted
from dbsync.model.batch import Header
from dbsync.model.layout import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Whose changes are staged, and what their elements mean."""

    node: str
    lineage: UUID
    incarnation: UUID
    number: int
    """The batch; 0 for cases that are tried again, each of which knows its own."""
    link: str
    layouts: Mapping[int, Layout]
    """With columns called as they are upstream, once it is :meth:`read`."""
    sent: Mapping[int, Layout]
    """The same, as the node says it."""

    @property
    def may_be_known(self) -> bool:
        """Say whether a life before may have told of the same: that of a node that was restored, copied or reloaded.

        The first life has the lineage's name.
        """
        return self.number > 0 and self.incarnation != self.lineage

    @classmethod
    def of(cls, header: Header) -> Load:
        """Give the load that a batch is."""
        return cls(
            node=header.node,
            lineage=header.lineage,
            incarnation=header.incarnation,
            number=header.number,
            link=header.link,
            layouts=header.layouts,
            sent=header.layouts,
        )

    def read(self, former: Former) -> Load:
        """Give the load with columns called as they are now upstream, whatever they were when the node was last migrated."""
        return replace(self, layouts=former.read_all(self.sent))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A change that cannot be written now; its key is PostgreSQL's text of an array, which nobody reads here."""

    tx: int
    seq: int
    layout: int
    conflict: str
    place: int
    """Which reference finds nothing; 0 for another cause."""
    asked: str | None
    reason: str | None = None
    """Why in words, where the conflict's name does not say enough."""

    @property
    def is_untold(self) -> bool:
        """Say whether a generic reference asked for an empty key: what it points to could not be told."""
        return self.asked is not None and self.asked.endswith(',"{}"}')


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What became of cases that were tried again: changes that are applied now, and that wait still."""

    released: int = 0
    waiting: int = 0
    busy: tuple[str, ...] = ()
    """Nodes that were left alone: a batch of theirs was being applied."""

    def then(self, other: Released) -> Released:
        """Give what came of the same cases in the end."""
        return replace(other, released=self.released + other.released, busy=self.busy or other.busy)

    def __add__(self, other: Released) -> Released:
        return Released(
            released=self.released + other.released,
            waiting=self.waiting + other.waiting,
            busy=(*self.busy, *other.busy),
        )


def no_place(header: Header, encoding: str | None) -> LinkHalted:
    """Say that a batch cannot even be staged: the upstream's encoding does not have some character of it."""
    return LinkHalted(
        f"batch {header.number} of {header.node} has text that the upstream cannot hold",
        where="upstream",
        why=f"its database is encoded in {encoding}",
        hint="dump it and load it into one that is encoded in UTF8; the link goes on by itself",
    )
