"""A broker that is away, stopped, full, restarted, and one that loses a member of three under load: nothing lost, nothing doubled."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from dbsync.errors import Unreachable
from dbsync.service.status import status
from dbsync.transport.subjects import Subjects
from tests.support.brokered import SERVER, SILENCE, Brokered, brokered
from tests.support.brokers import NatsServer, cluster
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.proxy import Way
from tests.support.served import free_port
from tests.support.service import ServiceProcess, until
from tests.support.slow_line import Quality, SlowLine

pytestmark = [ONE_MIXTURE, pytest.mark.fault]

LARGE = """INSERT INTO site (code, name)
SELECT 'n00 large', string_agg(md5(random()::text), '') FROM generate_series(1, %s::int)"""
"""A row of so many times 32 digits, each half a byte once it is packed."""
VALUES = "SELECT code, md5(name) FROM site ORDER BY code"


@contextmanager
def started(*brokers: NatsServer) -> Iterator[None]:
    """Have brokers run while inside, and none of them afterwards."""
    try:
        for one in brokers:
            one.start()
        yield
    finally:
        for one in brokers:
            one.stop(signal.SIGKILL)


def test_a_broker_that_comes_and_goes_costs_time_and_nothing_else(
    databases: Databases, pair: Pair, tmp_path: Path
) -> None:
    broker = NatsServer(tmp_path / "broker", free_port())
    programme = brokered(databases, pair, tmp_path, [broker], nodes=1, more="messages = 8\n")
    insert = _inserter(programme)
    with pytest.raises(Unreachable):
        programme.leave("n00")
    with started(broker), ServiceProcess(programme.of("n00")) as node:
        command = ("apply", "--workers", "2")
        with ServiceProcess(programme.server, command=command) as applying:
            insert(5)
            programme.until_all_is_acknowledged()
            broker.send(signal.SIGSTOP)  # it takes what comes, and answers nothing
            insert(5)
            until(lambda: _state(programme) == "unreachable", "nobody notices")
            broker.send(signal.SIGCONT)
            programme.until_all_is_acknowledged()
            broker.stop(signal.SIGKILL)
            insert(5)
            until(lambda: _state(programme) == "unreachable", "nobody notices")
            broker.start()
            programme.until_all_is_acknowledged()
            applying.kill()
        insert(20)
        until(lambda: _state(programme) == "broker full", "it takes more than it may")
        assert node.runs
        broker.stop()
        broker.start()
        with ServiceProcess(programme.server, command=command):
            programme.until_all_is_acknowledged()
    programme.hold_that_all_is_there_once()


def test_a_broker_behind_a_slow_line_gets_all_of_a_bundle_that_takes_longer_than_silence_is_borne(
    databases: Databases, pair: Pair, tmp_path: Path
) -> None:
    broker = NatsServer(tmp_path / "broker", free_port())
    programme = brokered(databases, pair, tmp_path, [broker], nodes=1)
    source, config = programme.fleet.sources["n00"], programme.of("n00") / "dbsync.toml"
    of_line = Quality(rate=64_000, delay=0.15, loss=0.02, stall=0.4)
    with started(broker), SlowLine(broker.port, of_line) as line, ServiceProcess(programme.server, command=("apply",)):
        config.write_text(config.read_text().replace(f":{broker.port}", f":{line.port}"))
        _inserter(programme)(3)
        source.sql(LARGE, [2 * SILENCE * of_line.rate / 16])
        until(lambda: _is_prepared(programme), "nobody keeps batches there")
        with ServiceProcess(programme.of("n00")) as node:
            programme.until_all_is_acknowledged()
            assert node.runs
    assert line.passed[Way.UP] > SILENCE * of_line.rate
    assert "link_unreachable" not in node.log.read_text()
    programme.hold_that_all_is_there_once()
    assert programme.upstream.sql(VALUES) == source.sql(VALUES)


def test_a_cluster_that_loses_its_leader_under_load_loses_nothing(
    databases: Databases, pair: Pair, tmp_path: Path
) -> None:
    members = cluster(tmp_path, 3)
    programme = brokered(databases, pair, tmp_path, members, nodes=2)
    insert = _inserter(programme)
    with started(*members), ExitStack() as stack:
        until(lambda: _is_prepared(programme), "the cluster has no leader")
        stack.enter_context(ServiceProcess(programme.server, command=("apply", "--workers", "2")))
        for node in programme.fleet.sources:
            stack.enter_context(ServiceProcess(programme.of(node)))
        insert(30)
        until(lambda: int(programme.upstream.value("SELECT count(*) FROM dbsync.receipt")) > 0, "nothing arrives")
        leader = _leader(programme, members)
        leader.stop(signal.SIGKILL)
        insert(20)
        programme.until_all_is_acknowledged()
        leader.start()
    programme.hold_that_all_is_there_once()


def _inserter(programme: Brokered) -> Callable[[int], None]:
    """Give what makes so many more transactions at each node."""
    numbers = iter(range(1_000_000))

    def insert(count: int) -> None:
        codes = [f"{next(numbers):06}" for _ in range(count)]
        for node in programme.fleet.sources:
            programme.insert(node, codes)

    return insert


def _state(programme: Brokered) -> str:
    return status(programme.config("n00")).link.state


def _is_prepared(programme: Brokered) -> bool:
    try:
        programme.applying().prepare()
    except Unreachable:
        return False
    return True


def _leader(programme: Brokered, members: Sequence[NatsServer]) -> NatsServer:
    """Find the member that decides about the stream of bundles."""
    subjects = Subjects(SERVER)
    with programme.applying().connected() as there:
        info = there._asked(there._js.stream_info(subjects.batches_stream))
    assert info.cluster is not None
    return next(one for one in members if one.folder.name == info.cluster.leader)
