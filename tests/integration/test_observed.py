"""What a node's database tells to a monitoring system, and what happens when it cannot."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from dbsync import meters
from dbsync.config.load import load, parse
from dbsync.meters import families
from dbsync.model.program import Program
from dbsync.postgres import connect
from dbsync.pulse import PULSE, Pulse
from dbsync.service import observed
from dbsync.service.observed import Ledger, Observed
from tests.acceptance.places import Place, place
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair
from tests.support.scrape import asked, scrape
from tests.support.served import free_port
from tests.support.servers import own_cluster

ENTRY = """INSERT INTO dbsync.conflict (conflict, relation, node, incarnation, number, tx, seq, captured_at, rule, decision)
           VALUES (%s, 'site', 'field-01', gen_random_uuid(), 1, 1, 1, now(), 'source', 'source')"""


@pytest.fixture
def here(databases: Databases, tmp_path: Path) -> Place:
    """Give a laptop and its server, dbsync installed on both."""
    found = place(tmp_path, databases.create(15, name="source"), databases.create(18, name="upstream"))
    found.install()
    return found


def watch(here: Place, port: int) -> None:
    """Write into its dbsync.toml where it can be asked."""
    with (here.folder / "dbsync.toml").open("a") as file:
        file.write(f'[metrics]\nlisten = "127.0.0.1:{port}"\n')


def told(here: Place) -> dict[str, list[float]]:
    """Read what a node's database tells."""
    reading = Observed(config=load(here.folder / "dbsync.toml", {}), program=Program.RUN).collect()
    return {family.name: [sample.value for sample in family.samples] for family in reading}


def test_each_entry_of_the_ledger_is_counted_once_though_numbers_are_committed_in_another_order(here: Place) -> None:
    ledger = Ledger()
    with here.source.connect() as early, here.source.connect() as late, here.source.connect() as asking:
        late.execute("BEGIN")
        late.execute(ENTRY, ["insert_exists"])
        early.execute(ENTRY, ["insert_exists"])
        early.execute(ENTRY, ["update_missing"])
        both = Counter({("field-01", "insert_exists"): 1, ("field-01", "update_missing"): 1})
        assert [ledger.read(asking) for _ in range(3)] == [both] * 3
        late.execute("COMMIT")
        both["field-01", "insert_exists"] += 1
        assert [ledger.read(asking) for _ in range(3)] == [both] * 3
        assert ledger.counted == both  # all of them are settled, and not read again
        early.execute(ENTRY, ["update_missing"])
        both["field-01", "update_missing"] += 1
        assert [ledger.read(asking) for _ in range(2)] == [both] * 2


def test_many_pending_changes_are_estimated(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    here.source.sql("INSERT INTO subject (identifier) SELECT i::text FROM generate_series(1, 60) i")
    assert told(here)["dbsync_link_pending_changes"] == [60]
    monkeypatch.setattr(observed, "COUNTED", 10)
    assert told(here)["dbsync_link_pending_changes"] == [60]  # a small log is its own sample


def test_a_link_that_never_shipped_is_new(here: Place) -> None:
    found = told(here)
    assert found["dbsync_link_state"] == [1, *[0] * 10]
    assert "dbsync_link_acknowledged_batch" not in found
    assert found["dbsync_link_lag_seconds"] == [0]


def test_a_database_without_dbsync_or_out_of_reach_is_told_as_down(databases: Databases, tmp_path: Path) -> None:
    empty = databases.create(15)
    for source in (empty.dsn, "host=127.0.0.1 port=1 dbname=nowhere"):
        text = f'[node]\nname = "field-01"\nsource = "{source}"\n'
        config = parse(text, path=tmp_path / "dbsync.toml", environ={})
        found = list(Observed(config=config, program=Program.SERVE).collect())
        met = meters.CERTIFICATE.name  # those that this very process met in other tests
        down = {one.name: [sample.value for sample in one.samples] for one in found if one.name != met}
        assert down == {"dbsync_build_info": [1], "dbsync_database_up": [0]}


def test_a_service_whose_database_is_away_answers_and_says_so(databases: Databases, tmp_path: Path) -> None:
    with own_cluster(15) as cluster:
        cluster.create_database("clinic")
        source = Database(cluster=cluster, name="clinic")
        found = place(tmp_path, source, databases.create(18, name="upstream"))
        found.install()
        port = free_port()
        watch(found, port)
        with found.service() as service:
            service.wait_for("link_connected")
            assert asked(port, "/readyz")[0] == 200
            cluster.kill()
            service.wait_for("link_unreachable")
            assert list(scrape(port).series("dbsync_build_info").values()) == [1]
            code, why = asked(port, "/readyz")
            assert (code, why["status"]) == (503, "not ready")
            assert asked(port, "/healthz")[0] == 200
            assert service.terminate() == 0


def test_where_its_address_is_taken_a_service_says_so_and_ships(here: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        watch(here, taken.getsockname()[1])
        with here.service() as service:
            service.wait_for("metrics_not_served")
            here.source.sql("INSERT INTO subject (identifier) VALUES ('S-1')")
            here.see("subject", 1)
            assert service.terminate() == 0


@ONE_MIXTURE
def test_a_long_statement_gives_signs_of_life_while_the_server_is_at_work_on_it(pair: Pair) -> None:
    signs, over = set(), threading.Event()

    def look() -> None:
        while not over.wait(0.01):
            signs.add(round(time.monotonic() - PULSE.silent, 2))

    with connect(pair.source.dsn, name="source", silence=0.2) as connection:
        looking = threading.Thread(target=look)
        looking.start()
        connection.execute("SELECT pg_catalog.pg_sleep(1)")
        over.set()
        looking.join()
    assert len(signs) > 2


def test_what_another_thread_does_is_no_sign_of_life() -> None:
    pulse = Pulse()
    begun = pulse.silent
    other = threading.Thread(target=pulse.beat)
    other.start()
    other.join()
    after = pulse.silent
    assert after > begun
    pulse.beat()
    assert pulse.silent < after


def test_readings_of_one_name_stand_together() -> None:
    readings = [(meters.PAUSED, ("a",), 0.0), (meters.CAPTURE, ("a",), 1.0), (meters.PAUSED, ("b",), 1.0)]
    assert [(family.name, len(family.samples)) for family in families(readings)] == [
        ("dbsync_shipping_paused", 2),
        ("dbsync_capture_enabled", 1),
    ]
