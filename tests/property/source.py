"""A source in the smallest: transactions, row locks, snapshots, and the rule by which a link reads its windows."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Snapshot:
    """A pg_snapshot: everything below ``xmax`` is visible but what was running."""

    xmin: int
    xmax: int
    running: frozenset[int]

    @classmethod
    def read(cls, text: str) -> Snapshot:
        """Read PostgreSQL's text form, ``xmin:xmax:xip,xip``."""
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(map(int, running.split(","))) if running else frozenset())

    def sees(self, xid: int) -> bool:
        """Say whether a transaction had ended."""
        return xid < self.xmax and xid not in self.running


@dataclass
class Transaction:
    """One transaction: its writes as (seq, row), and the seq that was last given when it was committed."""

    xid: int
    writes: list[tuple[int, int]] = field(default_factory=list)
    committed_after: int | None = None

    @property
    def last_seq(self) -> int:
        """Give the number by which it is ordered."""
        return self.writes[-1][0]


@dataclass
class Source:
    """A database whose writers wait for each other's row locks and for nothing else."""

    running: dict[int, Transaction] = field(default_factory=dict)
    committed: list[Transaction] = field(default_factory=list)
    xid: int = 0
    seq: int = 0
    completed: int = 0

    def begin(self) -> Transaction:
        """Begin a transaction."""
        self.xid += 1
        self.running[self.xid] = Transaction(self.xid)
        return self.running[self.xid]

    def is_free(self, row: int, writer: Transaction) -> bool:
        """Say whether a row is locked by nobody else."""
        others = (t for t in self.running.values() if t is not writer)
        return all(row != locked for other in others for _, locked in other.writes)

    def write(self, writer: Transaction, row: int) -> None:
        """Change a row: its number comes when the lock is held."""
        assert self.is_free(row, writer)
        self.seq += 1
        writer.writes.append((self.seq, row))

    def end(self, transaction: Transaction, *, commit: bool) -> None:
        """End a transaction."""
        del self.running[transaction.xid]
        self.completed = max(self.completed, transaction.xid)
        if commit and transaction.writes:
            transaction.committed_after = self.seq
            self.committed.append(transaction)

    def snapshot(self) -> Snapshot:
        """Give what PostgreSQL would: xmax is one behind the latest that ended, later ones may be running already."""
        running = frozenset(xid for xid in self.running if xid <= self.completed)
        return Snapshot(min(running, default=self.completed + 1), self.completed + 1, running)

    def window(self, start: Snapshot | None, end: Snapshot, after: int) -> list[Transaction]:
        """Give the transactions visible at the end and not at the start, in the order in which they are shipped."""
        found = [t for t in self.committed if end.sees(t.xid) and not (start and start.sees(t.xid))]
        return sorted((t for t in found if t.last_seq > after), key=lambda t: t.last_seq)


def cut(window: list[Transaction], enough: int) -> list[Transaction]:
    """Take whole transactions until there are enough changes."""
    taken: list[Transaction] = []
    for transaction in window:
        if sum(len(t.writes) for t in taken) >= enough:
            break
        taken.append(transaction)
    return taken


def hold_serial(delivered: list[Transaction]) -> None:
    """Hold that the order of delivery is a serial order.

    Who wrote after another one's commit may have read what that one wrote, so he is delivered after him; and each row is
    written in the order of its locks.
    """
    for place, earlier in enumerate(delivered):
        for later in delivered[place + 1 :]:
            assert later.committed_after is not None
            assert earlier.last_seq <= later.committed_after, (
                f"{earlier} was delivered before {later}, which it had seen"
            )
    rows: dict[int, int] = {}
    for transaction in delivered:
        for seq, row in transaction.writes:
            assert seq > rows.get(row, 0), f"row {row} was written in another order"
            rows[row] = seq
