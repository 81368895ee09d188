"""The service sees to what waits upstream also while there is always more to ship."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dbsync.config.load import load
from dbsync.service import streaming, upkeep
from dbsync.service.run import Service
from tests.acceptance.places import place
from tests.support.databases import ONE_MIXTURE, Databases, Pair

pytestmark = ONE_MIXTURE

BATCHES = 60
TABLES = """
[batch]
max_changes = 1
[[tables]]
name = "subject"
[[tables]]
name = "visit"
"""


def test_parked_changes_go_in_while_a_backlog_is_shipped(
    pair: Pair, databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "BUSY", 0.02)
    monkeypatch.setattr(streaming, "TEND", 0.0)
    here = place(tmp_path, pair.source, pair.upstream, tables=TABLES)
    here.install()
    here.source.sql("INSERT INTO subject (identifier) VALUES ('before')")
    here.must("run", "--once")
    here.source.sql("ALTER TABLE subject ADD colour text")
    here.source.sql("INSERT INTO subject (identifier, colour) VALUES ('parked', 'red')")
    here.must("run", "--once")
    assert here.upstream.sql("SELECT conflict FROM dbsync.quarantine") == [("missing_column",)]
    here.upstream.sql("ALTER TABLE subject ADD colour text")
    with here.source.connect() as session:
        for number in range(BATCHES):
            session.execute(
                "INSERT INTO visit (subject_id, code) SELECT id, %s FROM subject WHERE identifier = 'before'", [number]
            )
    service = Service(config=load(here.folder / "dbsync.toml", {}))
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        here.see("visit", BATCHES)
    finally:
        service.stop.set()
        thread.join()
    released = here.upstream.value("SELECT decided_at FROM dbsync.quarantine WHERE state = 'released'")
    assert here.upstream.value("SELECT count(*) FROM dbsync.receipt WHERE applied_at > %s", [released]) > 0
