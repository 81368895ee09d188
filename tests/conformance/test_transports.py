"""Every route: in order, resumable, idempotent; it refuses what was tampered with, and survives loss, doubles and delay."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dbsync.errors import DbsyncError, IdentityConflict, Unreachable
from dbsync.model.batch import Batch
from tests.conformance.routes import Road, road
from tests.support.databases import ONE_MIXTURE
from tests.support.proxy import Fault, Way

pytestmark = ONE_MIXTURE
__all__ = ["road"]


def test_batches_arrive_in_order_and_the_last_receipt_is_found_again(road: Road) -> None:
    road.insert("a", "b", "c")
    node = road.pipeline.node
    with road.transport() as transport:
        assert transport.last_receipt(node.name, node.incarnation, "community") is None
        for number in (1, 2, 3):
            cut, receipt = road.deliver(transport)
            assert (receipt.node, receipt.incarnation, receipt.number) == (node.name, node.incarnation, number)
            assert transport.last_receipt(node.name, node.incarnation, "community") == receipt
            road.pipeline.reader.acknowledge(cut, receipt)
    assert road.sites() == ["a", "b", "c"]


def test_a_batch_that_comes_twice_gives_its_old_receipt_and_is_applied_once(road: Road) -> None:
    road.insert("a")
    with road.transport() as transport:
        first = road.deliver(transport)
        assert road.deliver(transport) == first
    with road.transport() as another:
        assert road.deliver(another) == first
    assert road.sites() == ["a"]


def test_a_batch_that_does_not_follow_is_refused_and_the_right_one_goes_on(road: Road) -> None:
    road.insert("a", "b")
    with road.transport() as transport:
        with road.next_batch() as (_, first), pytest.raises(IdentityConflict):
            skipped = replace(first.header, number=2, previous_hash=bytes(32))
            transport.deliver(Batch(header=skipped, payload=first.payload))
        assert road.sites() == []
        road.pipeline.reader.acknowledge(*road.deliver(transport))
        road.deliver(transport)
    assert road.sites() == ["a", "b"]


def test_another_batch_under_a_known_number_is_refused(road: Road) -> None:
    road.insert("a")
    with road.transport() as transport:
        road.deliver(transport)
        road.pipeline.source.sql("UPDATE dbsync.change SET captured_at = captured_at + interval '1 s'")
        with pytest.raises(IdentityConflict):
            road.deliver(transport)
    assert road.sites() == ["a"]


@pytest.mark.parametrize("way", list(Way))
@pytest.mark.parametrize("fault", list(Fault))
def test_a_line_that_breaks_in_the_middle_costs_nothing_but_another_attempt(road: Road, fault: Fault, way: Way) -> None:
    road.pipeline.source.sql("INSERT INTO site (code) SELECT md5(i::text) FROM generate_series(1, 3000) i")
    with road.transport() as transport:
        transport.meet(lambda: datetime.now(UTC))
        road.line.arm(fault, way, 50_000 if way is Way.UP else 300)
        with pytest.raises(DbsyncError) as broken:
            road.deliver(transport)
        assert broken.value.try_again
        road.line.mend()
    with road.transport() as again:
        road.deliver(again)
    assert len(road.sites()) == 3000


def test_what_was_cut_off_at_its_end_is_not_applied(road: Road) -> None:
    road.insert("a")
    with road.transport() as transport, road.next_batch() as (_, batch):
        whole = b"".join(batch.payload)
        with pytest.raises(DbsyncError):
            transport.deliver(Batch(header=batch.header, payload=[whole[:-10]]))
        assert road.sites() == []
    with road.transport() as transport:
        road.deliver(transport)
    assert road.sites() == ["a"]


def test_the_clocks_are_compared_whatever_ours_says(road: Road) -> None:
    with road.transport() as transport:
        off = transport.meet(lambda: datetime.now(UTC) + timedelta(days=400))
    assert abs(off - 400 * 86_400) < 60


def test_what_waits_upstream_is_told(road: Road) -> None:
    with road.transport() as transport:
        assert dict(transport.tend(road.pipeline.node.lineage)) == {}


def test_what_the_tiers_above_have_is_told(road: Road) -> None:
    node = road.pipeline.node
    with road.transport() as transport:
        assert transport.above(node.name, node.incarnation, "community") == {}
        road.pipeline.upstream.sql("INSERT INTO dbsync.link (name) VALUES ('central')")
        assert transport.above(node.name, node.incarnation, "community") == {"central": None}


def test_without_a_route_it_says_so_and_that_it_is_worth_another_try(road: Road) -> None:
    node = road.pipeline.node
    road.line.deafen()
    with pytest.raises(Unreachable) as away, road.transport() as transport:
        transport.last_receipt(node.name, node.incarnation, "community")
    assert away.value.try_again
