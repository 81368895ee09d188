"""Batches that leave before the receipts of those before them are back: a stick, lost or brought twice, and a line beside it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from dbsync.batch.codec import decode, encode
from dbsync.changelog.outbox import Outbox
from dbsync.errors import IdentityConflict
from dbsync.model.batch import Receipt
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair
from tests.support.pipeline import Pipeline, piped

pytestmark = ONE_MIXTURE


@pytest.fixture
def clinic(pair: Pair, databases: Databases) -> Iterator[Pipeline]:
    with piped(databases, pair, SCHEMA, TABLES) as pipeline:
        yield pipeline


def sites(database: Database) -> list[str]:
    """List the sites."""
    return [code for (code,) in database.sql("SELECT code FROM site ORDER BY code")]


def insert(session: psycopg.Connection[tuple[object, ...]], *codes: str) -> None:
    """Make sites, a transaction each."""
    for code in codes:
        session.execute("INSERT INTO site (code) VALUES (%s)", (code,))


def written(pipeline: Pipeline, max_changes: int = 3) -> list[bytes]:
    """Write the outbox as it goes onto a stick."""
    with Outbox(pipeline.reader).batches(max_changes) as batches:
        return [b"".join(encode(batch)) for batch in batches]


def brought(pipeline: Pipeline, stick: Sequence[bytes]) -> list[Receipt]:
    """Apply what is on a stick, in its order."""
    return [pipeline.applier.apply(decode([data])) for data in stick]


def numbers(stick: Sequence[bytes]) -> list[int]:
    """Read the batches' numbers."""
    return [decode([data]).header.number for data in stick]


@pytest.fixture
def ten_sites(clinic: Pipeline) -> Pipeline:
    """Ten transactions of one change."""
    with clinic.source.connect() as session:
        insert(session, *(f"s{number}" for number in range(10)))
    return clinic


def test_everything_goes_out_before_the_first_receipt_is_back(ten_sites: Pipeline) -> None:
    stick = written(ten_sites)
    assert numbers(stick) == [1, 2, 3, 4]
    receipts = brought(ten_sites, stick)
    assert Outbox(ten_sites.reader).take_out(receipts[-1]) == 4
    assert ten_sites.reader.unfinished() is None
    ten_sites.agree()


def test_a_lost_stick_costs_nothing_its_batches_are_written_again_byte_for_byte(ten_sites: Pipeline) -> None:
    lost = written(ten_sites)
    with ten_sites.source.connect() as session:
        insert(session, "later")
    ten_sites.restart()
    again = written(ten_sites)
    assert again[:4] == lost
    assert numbers(again) == [1, 2, 3, 4, 5]
    brought(ten_sites, again)
    assert "later" in sites(ten_sites.upstream)


def test_receipts_take_out_what_they_are_for_whenever_they_come(ten_sites: Pipeline) -> None:
    first, second, *_ = brought(ten_sites, written(ten_sites))
    outbox = Outbox(ten_sites.reader)
    assert outbox.take_out(second) == 2
    assert outbox.take_out(first) == 0
    assert numbers(written(ten_sites)) == [3, 4]


def test_a_transaction_that_commits_after_the_stick_was_written_goes_with_the_next(clinic: Pipeline) -> None:
    with clinic.source.connect() as slow, clinic.source.connect() as fast:
        with slow.transaction():
            insert(slow, "late")
            insert(fast, "early")
            stick = written(clinic)
            insert(fast, "between")
        further = written(clinic)
    assert further[: len(stick)] == stick
    Outbox(clinic.reader).take_out(brought(clinic, further)[-1])
    assert sites(clinic.upstream) == ["between", "early", "late"]
    clinic.agree()


def test_a_receipt_for_what_was_never_sent_so_is_refused(ten_sites: Pipeline) -> None:
    receipts = brought(ten_sites, written(ten_sites))
    outbox = Outbox(ten_sites.reader)
    for forged in (replace(receipts[-1], hash=bytes(32)), replace(receipts[-1], number=9)):
        with pytest.raises(IdentityConflict):
            outbox.take_out(forged)
    assert numbers(written(ten_sites)) == [1, 2, 3, 4]


def test_a_batch_whose_sender_was_killed_is_known_again_by_reading_it_here(ten_sites: Pipeline) -> None:
    receipts = brought(ten_sites, written(ten_sites))
    ten_sites.source.sql(r"UPDATE dbsync.sent SET hash = '\x' WHERE number >= 2")
    ten_sites.restart()
    assert Outbox(ten_sites.reader).take_out(receipts[2]) == 3
    assert numbers(written(ten_sites)) == [4]
    ten_sites.agree()


def test_what_is_remembered_is_not_read_again_for_a_receipt(ten_sites: Pipeline) -> None:
    receipts = brought(ten_sites, written(ten_sites))
    ten_sites.source.sql("UPDATE dbsync.change SET origin = 'forged'")
    assert Outbox(ten_sites.reader).take_out(receipts[-1]) == 4


def test_a_payload_must_be_read_before_the_next_batch_is_asked_for(ten_sites: Pipeline) -> None:
    with Outbox(ten_sites.reader).batches(3) as batches:
        next(batches)
        with pytest.raises(ValueError, match="read to its end"):
            next(batches)


def test_who_leaves_off_in_the_middle_of_a_payload_leaves_the_connection_free(clinic: Pipeline) -> None:
    clinic.source.sql("INSERT INTO site (code) SELECT 's' || i FROM generate_series(1, 50000) i")
    info = clinic.reader.connection.info
    states = []
    with Outbox(clinic.reader).batches(3) as batches:
        half = iter(encode(next(batches)))
        assert all(next(half) for _ in range(2))
        states.append(info.transaction_status)
    assert [*states, info.transaction_status] == [TransactionStatus.ACTIVE, TransactionStatus.IDLE]
    assert numbers(written(clinic)) == [1]


def test_who_leaves_off_behind_a_batch_finds_it_remembered(ten_sites: Pipeline) -> None:
    with Outbox(ten_sites.reader).batches(3) as batches:
        first = b"".join(encode(next(batches)))
    ten_sites.restart()
    with Outbox(ten_sites.reader).batches(3, beside={1}) as batches:
        rest = [b"".join(encode(batch)) for batch in batches]
    assert numbers([first, *rest]) == [1, 2, 3, 4]
    assert Outbox(ten_sites.reader).take_out(brought(ten_sites, [first, *rest])[-1]) == 4
    ten_sites.agree()


@pytest.mark.parametrize("seed", range(3))
def test_sticks_and_the_line_in_any_mixture_bring_every_change_once(clinic: Pipeline, seed: int) -> None:
    pick = random.Random(seed)
    sticks: list[list[bytes]] = []
    receipts: list[Receipt] = []
    with clinic.source.connect() as slow:
        for turn in range(24):
            with clinic.source.connect() as session:
                insert(session, *(f"t{turn}-{place}" for place in range(pick.randrange(4))))
            if turn % 7 == 0:
                slow.execute("BEGIN")
                insert(slow, f"slow-{turn}")
            elif turn % 7 == 5:
                slow.execute("COMMIT")
            match pick.choice(["write", "bring", "receive", "line", "crash"]):
                case "write":
                    sticks.append(written(clinic, pick.choice([1, 3, 50])))
                case "bring" if sticks:
                    receipts += bring_what_follows(clinic, pick.choice(sticks))
                case "receive" if receipts:
                    Outbox(clinic.reader).take_out(pick.choice(receipts))
                case "line":
                    ship_by_line(clinic)
                case _:
                    clinic.restart()
        slow.execute("ROLLBACK")
    ship_by_line(clinic)
    clinic.agree()


def bring_what_follows(pipeline: Pipeline, stick: Sequence[bytes]) -> list[Receipt]:
    """Apply those batches of a stick that come next; what is there already, or leaves a gap, is left."""
    found = []
    for data in stick:
        header = decode([data]).header
        last = pipeline.applier.last_receipt(header.node, header.incarnation, header.link)
        if header.number == (last.number if last else 0) + 1:
            found.append(pipeline.applier.apply(decode([data])))
    return found


def ship_by_line(pipeline: Pipeline) -> None:
    """Ship as the service does: first what is on record, once the receipts of what came by stick are known."""
    node = pipeline.node
    last = pipeline.applier.last_receipt(node.name, node.incarnation, "community")
    if last is not None:
        Outbox(pipeline.reader).take_out(last)
    while (cut := pipeline.reader.unfinished()) is not None:
        pipeline.reader.acknowledge(cut, pipeline.apply(pipeline.reader.batch(cut)))
    pipeline.ship(5)
