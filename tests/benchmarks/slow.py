"""A drain over a slow line: how long it takes, and how long nothing is heard, with large batches and with small ones."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import LiteralString

import psycopg

from tests.benchmarks import arrival, entry, ground, study
from tests.benchmarks.node import MAX_CHANGES, Node
from tests.benchmarks.report import Check, Measure, Result
from tests.benchmarks.routes import DbsyncRoute
from tests.benchmarks.stage import Stage
from tests.support.databases import Database, Row
from tests.support.proxy import Way
from tests.support.slow_line import Quality, SlowLine

TRANSACTIONS = 700
FEWEST = 20
BATCHES = (MAX_CHANGES, 500)
"""Most changes in a batch: as a configuration has it that says nothing, and few."""

SATELLITE = Quality(rate=256_000 / 8, delay=0.3, loss=0.02, stall=1.0)
"""256 kbit/s and 600 ms there and back; a lost packet is noticed and sent again within a second."""

_RECEIPTS: LiteralString = "SELECT count(*) FROM dbsync.receipt"
_LOOK = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """What a drain over the line was like."""

    most: int
    receipts: tuple[float, ...]
    """Seconds from the start to each, as they came to be seen upstream."""
    sent: int
    """Bytes that went up the line."""
    equal: bool

    @property
    def seconds(self) -> float:
        """Give when the last receipt was there."""
        return self.receipts[-1]

    @property
    def pause(self) -> float:
        """Give the longest time without a receipt, from the start on."""
        return max(there - before for before, there in pairwise((0.0, *self.receipts)))


def run(stage: Stage) -> list[Result]:
    """Drain the same kind of backlog with each size of batch; give the rows of the report."""
    quality = _scaled(min(1.0, stage.scale))
    each = stage.size(TRANSACTIONS, FEWEST) // entry.CLIENTS
    found = []
    with stage.pair(DbsyncRoute.name) as (source, upstream):
        DbsyncRoute(source, upstream, stage.folder / "slow")
        for number in range(stage.reps):
            for most in BATCHES if number % 2 == 0 else BATCHES[::-1]:
                tag = f"SLOW-{number}-{most}-"
                entry.enter(stage.pool, source.dsn, tag, each)
                with SlowLine(upstream, quality, seed=number) as line:
                    node = Node(stage.folder / tag, source=source.dsn, upstream=line.dsn, max_changes=most)
                    found.append(_drain(node, line, arrival.Mark.enter(source, tag), upstream))
                ground.talk(f"slow {number + 1}/{stage.reps}, batches of {most:,}: {found[-1].seconds:.0f} s")
    return _rows(found, each * entry.CLIENTS * entry.CHANGES + 1, quality)


def _drain(node: Node, line: SlowLine, mark: arrival.Mark, upstream: Database) -> Drained:
    began = time.perf_counter()
    receipts: list[float] = []
    node.start()
    try:
        with upstream.connect() as connection:
            before = _receipts(connection)
            arrived = False
            while not arrived and time.perf_counter() - began < arrival.TIMEOUT:
                node.alive()
                arrived = mark.arrived(connection)
                receipts += [time.perf_counter() - began] * (_receipts(connection) - before - len(receipts))
                time.sleep(_LOOK)
    finally:
        node.stop()
    return Drained(
        most=node.max_changes,
        receipts=tuple(receipts),
        sent=line.passed[Way.UP],
        equal=study.checksums(upstream) == mark.wanted,
    )


def _receipts(upstream: psycopg.Connection[Row]) -> int:
    ((count,),) = upstream.execute(_RECEIPTS).fetchall()
    return int(count)


def _scaled(factor: float) -> Quality:
    """Give a better line for a quick look: at a low scale nobody wants to wait for a satellite."""
    return Quality(
        rate=SATELLITE.rate / factor,
        delay=SATELLITE.delay * factor,
        loss=SATELLITE.loss,
        stall=SATELLITE.stall * factor,
    )


def _rows(found: Sequence[Drained], changes: int, quality: Quality) -> list[Result]:
    line = f"{quality.rate * 8 / 1000:,.0f} kbit/s, {quality.delay * 2000:g} ms, {quality.loss:.0%} loss"
    return [
        *(row for most in BATCHES for row in _of([one for one in found if one.most == most], changes, line)),
        Check(
            name="slow_checksums_equal",
            title="after a drain over the slow line all tables have equal checksums by natural key",
            held=tuple(one.equal for one in found),
        ),
    ]


def _of(found: Sequence[Drained], changes: int, line: str) -> list[Result]:
    most = found[0].most
    what = f"{changes:,} changes over {line}, batches of {most:,}"

    def row(name: str, title: str, values: Iterable[float], unit: str = "", digits: int = 0) -> Measure:
        return Measure(
            name=f"slow_{most}_{name}", title=f"{what}: {title}", values=tuple(values), unit=unit, digits=digits
        )

    return [
        row("seconds", "until all are upstream", (one.seconds for one in found), "s", 1),
        row("batches", "batches", (len(one.receipts) for one in found)),
        row("pause", "longest time without a receipt", (one.pause for one in found), "s", 1),
        row("sent", "sent up the line", (one.sent / 1000 for one in found), "kB"),
    ]
