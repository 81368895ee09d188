"""Workers that take in what nodes left at a broker."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest

from dbsync.service import collecting, consigning
from dbsync.service.collecting import Collecting
from dbsync.service.status import status
from dbsync.transport.broker import Broker, Full
from dbsync.transport.subjects import Subjects
from tests.support.brokered import SERVER, Brokered, brokered
from tests.support.brokers import shared
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.service import ServiceProcess, until

pytestmark = ONE_MIXTURE
MUCH, LITTLE = "n00", ("n01", "n02")


@pytest.fixture
def programme(databases: Databases, pair: Pair, tmp_path: Path) -> Brokered:
    """Give three nodes, and their upstream's streams at the broker."""
    made = brokered(databases, pair, tmp_path, [shared()], nodes=3)
    made.applying().prepare()
    return made


def test_a_node_that_comes_home_with_much_does_not_delay_the_others(
    programme: Brokered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "TURN", 0.0)  # a turn is one batch
    programme.insert(MUCH, [f"{number:03}" for number in range(40)])
    programme.leave(MUCH)
    for node in LITTLE:
        programme.insert(node, ["1", "2"])
        programme.leave(node)
    found = programme.applying()
    found.run_once()
    order = [code.split()[0] for (code,) in programme.upstream.sql("SELECT code FROM site ORDER BY id")]
    assert len(order) == 44
    assert max(place for place, node in enumerate(order) if node in LITTLE) < 7
    for node in programme.fleet.sources:
        programme.leave(node)
    programme.hold_that_all_is_there_once()


def test_one_that_has_to_wait_for_a_person_delays_nobody_and_is_not_thrown_away(programme: Brokered) -> None:
    programme.insert(MUCH, ["1"])
    programme.leave(MUCH)
    programme.upstream.sql("UPDATE dbsync.peer SET revoked_at = now(), revoked_why = 'lost' WHERE name = %s", [MUCH])
    programme.insert(LITTLE[0], ["1"])
    programme.leave(LITTLE[0])
    found = programme.applying(workers=2)
    found.run_once()
    assert programme.upstream.sql("SELECT code FROM site") == [(f"{LITTLE[0]} 1",)]
    assert {node: number for node, number in found.rota.waiting.items() if number} == {MUCH: 1}
    assert [(one.relay, one.changes) for one in status(programme.config(MUCH)).link.custody] == [("the broker", 1)]


def test_what_was_counted_while_it_was_taken_in_is_not_told_as_left(
    programme: Brokered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers: one counts, the other takes in and is done, and then the first one says what it counted."""
    counted: list[Mapping[str, int]] = []
    count = Broker.backlog

    def late(broker: Broker, stream: str, subjects: str) -> Mapping[str, int]:
        found = count(broker, stream, subjects)
        if threading.current_thread().name.startswith("worker"):
            counted.append(found)
            return counted[0]
        return found

    monkeypatch.setattr(Broker, "backlog", late)
    programme.insert(MUCH, ["1"])
    programme.leave(MUCH)
    found = programme.applying(workers=2)
    found.run_once()
    assert programme.upstream.sql("SELECT code FROM site") == [(f"{MUCH} 1",)]
    assert not any(found.rota.waiting.values())


def test_what_a_member_of_a_cluster_does_not_know_of_yet_is_read_a_moment_later(
    programme: Brokered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members answer for what they have; one that lost its leader may have less than the next leader counts."""
    applying = programme.applying()
    applying.prepare()
    programme.insert(MUCH, ["1"])
    programme.leave(MUCH)
    with applying._hands() as hands:
        with monkeypatch.context() as late:
            late.setattr(Broker, "next", lambda *_: None)
            assert not applying._one(hands)
            assert applying.rota.waiting[MUCH] == 1
        until(lambda: applying._one(hands), "it is left alone for a minute", 5)
    assert programme.upstream.sql("SELECT code FROM site") == [(f"{MUCH} 1",)]


def test_a_batch_that_is_larger_than_what_may_lie_there_goes_when_more_may(
    programme: Brokered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consigning, "LETTER", 100)
    monkeypatch.setattr(collecting, "TURN", 0.0)  # it takes longer to read than a turn
    file = programme.server / "dbsync.toml"
    text = file.read_text()
    file.write_text(f"{text}messages = 8\n")
    programme.applying().prepare()
    programme.insert(MUCH, ["1"])
    for _ in range(2):
        with pytest.raises(Full):
            programme.leave(MUCH)
        assert status(programme.config(MUCH)).link.state == "broker full"
        programme.applying().run_once()
        assert not any(_left(programme).values()), "its beginning keeps the room for ever"
    file.write_text(text)
    programme.applying().run_once()
    programme.leave(MUCH)
    programme.applying().run_once()
    programme.leave(MUCH)
    programme.hold_that_all_is_there_once()


def test_a_worker_that_neither_works_nor_dies_loses_its_turn(
    programme: Brokered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "LEASE", 0.2)

    def turns(one: Collecting, other: Collecting) -> bool:
        with other.turn(MUCH) as taken:
            return taken

    made = programme.applying()
    with made._hands() as one, made._hands() as other, pytest.raises(psycopg.OperationalError), one.turn(MUCH) as mine:
        assert mine
        assert not turns(one, other)
        until(lambda: turns(one, other), "the turn is not given back")
        one.connection.execute("SELECT")


def test_a_schema_that_is_missing_for_a_moment_is_waited_for(programme: Brokered) -> None:
    with ServiceProcess(programme.server, command=("apply", "--workers", "1")) as service:
        programme.insert(MUCH, ["1"])
        programme.leave(MUCH)
        until(lambda: _count(programme, MUCH) == 1, "it takes in nothing")
        programme.upstream.sql("ALTER SCHEMA dbsync RENAME TO away")
        service.wait_for("apply_waits")
        programme.upstream.sql("ALTER SCHEMA away RENAME TO dbsync")
        programme.insert(MUCH, ["2"])
        programme.leave(MUCH)
        until(lambda: _count(programme, MUCH) == 2, "it does not go on")
        assert service.terminate() == 0


def test_a_worker_that_is_killed_in_the_middle_of_a_batch_costs_nothing_and_others_go_on(programme: Brokered) -> None:
    """The first site of one node stops the batch that brings it until we let go of a lock."""
    programme.upstream.sql("""
        CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN IF new.code = 'n00 stop' THEN PERFORM pg_advisory_xact_lock(42); END IF; RETURN new; END $$;
        CREATE TRIGGER stop BEFORE INSERT ON site FOR EACH ROW EXECUTE FUNCTION stop()
    """)
    programme.insert(MUCH, ["1", "stop", "2", "3"])
    programme.leave(MUCH)
    stuck = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()"
    command = ("apply", "--workers", "2")
    with programme.upstream.connect() as held, ServiceProcess(programme.server, command=command) as first:
        held.execute("SELECT pg_advisory_lock(42)")
        until(lambda: programme.upstream.value(stuck) == 1, "nobody meets the lock")
        programme.insert(LITTLE[0], ["1", "2"])
        programme.leave(LITTLE[0])
        until(lambda: _count(programme, LITTLE[0]) == 2, "the others wait for it")
        with ServiceProcess(programme.server, command=command):
            first.kill()
            programme.insert(LITTLE[1], ["1", "2"])
            programme.leave(LITTLE[1])
            until(lambda: _count(programme, LITTLE[1]) == 2, "the others wait for who is dead")
            assert _count(programme, MUCH) == 1, "what was not committed is not there"
            held.execute("SELECT pg_advisory_unlock(42)")
            until(lambda: _count(programme, MUCH) == 4, "nobody takes over")
            for node in programme.fleet.sources:
                programme.leave(node)
            until(lambda: not any(_left(programme).values()), "it stays at the broker")
    for node in programme.fleet.sources:
        programme.leave(node)
    programme.hold_that_all_is_there_once()


def _count(programme: Brokered, node: str) -> int:
    return int(programme.upstream.value("SELECT count(*) FROM site WHERE code LIKE %s", [f"{node} %"]))


def _left(programme: Brokered) -> dict[str, int]:
    subjects = Subjects(SERVER)
    with shared().meddler(SERVER, programme.server_keys) as there:
        return dict(there.backlog(subjects.batches_stream, subjects.all_batches))
