"""What is asked of a line alone: that of which the upstream answers at once, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dbsync.changelog.reader import Reader
from dbsync.errors import DbsyncError, IdentityConflict, Unreachable
from dbsync.model.batch import Batch, Cut, Receipt
from dbsync.transport.base import Transport
from tests.conformance.lines import OnLine
from tests.conformance.route import MANY, MIDDLE, SERVER
from tests.conformance.routes import line
from tests.support.databases import ONE_MIXTURE
from tests.support.proxy import Fault, Way

pytestmark = ONE_MIXTURE
__all__ = ["line"]


@contextmanager
def next_batch(reader: Reader) -> Iterator[tuple[Cut, Batch]]:
    """Give the next batch, of one transaction, or the one that has no receipt."""
    cut = reader.unfinished() or reader.next_cut(1)
    assert cut is not None
    with reader.sending(cut) as batch:
        yield cut, batch


def deliver(reader: Reader, transport: Transport) -> tuple[Cut, Receipt]:
    """Deliver it."""
    with next_batch(reader) as (cut, batch):
        return cut, transport.deliver(batch)


def test_each_batch_has_its_receipt_and_the_last_one_is_found_again(line: OnLine) -> None:
    line.insert("a", "b", "c")
    with line.reading() as (node, reader), line.transport() as transport:
        assert transport.last_receipt(node.name, node.incarnation, SERVER) is None
        for number in (1, 2, 3):
            cut, receipt = deliver(reader, transport)
            assert (receipt.node, receipt.incarnation, receipt.number) == (node.name, node.incarnation, number)
            assert transport.last_receipt(node.name, node.incarnation, SERVER) == receipt
            reader.acknowledge(cut, receipt)
    assert line.sites() == ["a", "b", "c"]


def test_a_batch_that_comes_twice_gives_its_old_receipt(line: OnLine) -> None:
    line.insert("a")
    with line.reading() as (_, reader):
        with line.transport() as transport:
            first = deliver(reader, transport)
            assert deliver(reader, transport) == first
        with line.transport() as another:
            assert deliver(reader, another) == first


def test_a_batch_that_does_not_follow_is_refused_and_the_right_one_goes_on(line: OnLine) -> None:
    line.insert("a", "b")
    with line.reading() as (_, reader), line.transport() as transport:
        with next_batch(reader) as (_, first), pytest.raises(IdentityConflict):
            skipped = replace(first.header, number=2, previous_hash=bytes(32))
            transport.deliver(Batch(header=skipped, payload=first.payload))
        assert line.sites() == []
        reader.acknowledge(*deliver(reader, transport))
        deliver(reader, transport)
    assert line.sites() == ["a", "b"]


def test_another_batch_under_a_known_number_is_refused(line: OnLine) -> None:
    line.insert("a")
    with line.reading() as (_, reader), line.transport() as transport:
        deliver(reader, transport)
        line.source.sql("UPDATE dbsync.change SET captured_at = captured_at + interval '1 s'")
        with pytest.raises(IdentityConflict):
            deliver(reader, transport)
    assert line.sites() == ["a"]


@pytest.mark.parametrize("way", list(Way))
def test_a_line_that_falls_silent_in_the_middle_costs_nothing_but_another_attempt(line: OnLine, way: Way) -> None:
    line.insert_many()
    with line.reading() as (_, reader):
        with line.transport() as transport:
            transport.meet(lambda: datetime.now(UTC))
            line.line.arm(Fault.SILENT, way, MIDDLE[way])
            with pytest.raises(DbsyncError) as broken:
                deliver(reader, transport)
            assert broken.value.try_again
            line.line.mend()
        with line.transport() as again:
            deliver(reader, again)
    assert len(line.sites()) == MANY


def test_a_batch_that_is_short_of_its_end_is_not_applied(line: OnLine) -> None:
    line.insert("a")
    with line.reading() as (_, reader):
        with line.transport() as transport, next_batch(reader) as (_, batch):
            whole = b"".join(batch.payload)
            with pytest.raises(DbsyncError):
                transport.deliver(Batch(header=batch.header, payload=[whole[:-10]]))
            assert line.sites() == []
        with line.transport() as transport:
            deliver(reader, transport)
    assert line.sites() == ["a"]


def test_the_clocks_are_compared_whatever_ours_says(line: OnLine) -> None:
    with line.transport() as transport:
        off = transport.meet(lambda: datetime.now(UTC) + timedelta(days=400))
    assert abs(off - 400 * 86_400) < 60


def test_what_waits_upstream_is_told(line: OnLine) -> None:
    with line.reading() as (node, _), line.transport() as transport:
        assert dict(transport.tend(node.lineage)) == {}


def test_what_the_tiers_above_have_is_told(line: OnLine) -> None:
    with line.reading() as (node, _), line.transport() as transport:
        assert transport.above(node.name, node.incarnation, SERVER) == {}
        line.upstream.sql("INSERT INTO dbsync.link (name) VALUES ('central')")
        assert transport.above(node.name, node.incarnation, SERVER) == {"central": None}


def test_without_a_line_it_says_so_and_that_it_is_worth_another_try(line: OnLine) -> None:
    line.away()
    with line.reading() as (node, _), pytest.raises(Unreachable) as away, line.transport() as transport:
        transport.last_receipt(node.name, node.incarnation, SERVER)
    assert away.value.try_again
