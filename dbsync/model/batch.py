"""Batches, the cuts they are read by, and the receipts that answer them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from dbsync.model.layout import Layout


class Op(StrEnum):
    """What happened to a row. BACKFILL is a row that was there before capture: insert it or bring it up to date."""

    INSERT = "I"
    UPDATE = "U"
    DELETE = "D"
    BACKFILL = "B"


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many changes of one kind a batch holds."""

    layout: int
    op: Op
    changes: int
    renames: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The transactions visible in ``end`` and not in ``start``, both as pg_snapshot text; start None is the beginning.

    Sequence order is not commit order: a window is how nothing that commits late is missed.
    """

    start: str | None
    end: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """One batch's share of a window: the transactions whose last seq is in (after_seq, last_seq].

    With its window it says the same rows for ever, so a batch can be read again byte for byte.
    """

    number: int
    window: Window
    after_seq: int
    last_seq: int
    transactions: int
    changes: int
    ends_window: bool = False
    joint: str | None = None
    """Where the window was to end, for a batch that reaches over it: of the transactions visible there only those after
    ``after_seq`` are in it, of those that came later all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A transaction of a batch that holds whole transactions of another node: its sender applied them in it."""

    tx: int
    """The transaction, by its last seq."""
    lineage: UUID
    """Whose those are; of a part of them, its name."""
    transactions: tuple[tuple[int, datetime], ...]
    """Each by its last seq and the moment of that change, in this order."""
    whole: UUID | None = None
    """Of a part: whose transactions it is one of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A life of a source that is over: what its batches held up to one of them is upstream, or comes again in another life."""

    incarnation: UUID
    number: int
    hash: bytes
    """Of that batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What stands before a batch's payload."""

    node: str
    lineage: UUID
    """The first incarnation of this database; restored, copied and reloaded ones share it."""
    incarnation: UUID
    link: str
    number: int
    first_seq: int
    """All transactions end after this seq of the source (exclusive) ..."""
    last_seq: int
    """... and up to this one (inclusive)."""
    transactions: int
    first_captured: datetime
    last_captured: datetime
    counts: tuple[Count, ...]
    previous_hash: bytes
    """SHA-256 of the payload of the batch before, empty for the first."""
    layouts: Mapping[int, Layout]
    passed: tuple[Passed, ...] = ()
    """What its transactions pass on of other nodes, where each holds nothing else; ordered by transaction and lineage."""
    kept: tuple[int, ...] = ()
    """Changes of those transactions, by seq, that are to be applied even where all that is passed on is there."""
    ended: tuple[Ended, ...] = ()
    """Lives of its sender of which nothing more is to be applied up to a batch; ordered by incarnation."""

    @property
    def changes(self) -> int:
        """Count the changes."""
        return sum(count.changes for count in self.counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A header and its payload: one PGCOPY binary stream, in chunks, that can be read once."""

    header: Header
    payload: Iterable[bytes]


UNKNOWN = bytes(32)
"""The hash in a receipt for a batch that is not taken any more: of what was in it nothing is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Proof that the destination committed a batch."""

    node: str
    incarnation: UUID
    number: int
    hash: bytes
    """SHA-256 of the payload."""
    applied_at: datetime
    held: int = 0
    """Changes of it that went into quarantine."""
