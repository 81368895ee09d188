"""What changes cost follows from them alone: not from the size of tables, of the log, of the backlog or of the past."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from dbsync.changelog.compact import prepare
from dbsync.changelog.purge import Purge, size
from dbsync.postgres import connect
from dbsync.service.run import Service
from tests.integration.past import PAST, Past, long_past
from tests.support.databases import MIXTURE, Databases
from tests.support.reads import reads
from tests.support.servers import Servers
from tests.support.service import until

ROWS = 400
"""Rows, and entries of indexes, that a step with a few changes may read of one table ..."""
PAGES = 700
"""... and pages: each row comes through an index three pages deep, for several statements."""


@pytest.fixture(scope="module")
def past(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Past]:
    """Give the node and its upstream, once for all tests here: each works on rows of its own."""
    databases = Databases(servers)
    source, upstream = (databases.create(version, name="past") for version in MIXTURE)
    yield long_past(source, upstream, tmp_path_factory.mktemp("past"))
    databases.drop_all()


STEPS = {
    "nothing": "SELECT 1",
    "inserts": """
        INSERT INTO subject (identifier, initials) SELECT 'new ' || g, 'x' FROM generate_series(1, 10) g;
        INSERT INTO visit (subject_id, code) SELECT id, 1 FROM subject WHERE identifier IN ('new 1', 's1');
        INSERT INTO line (visit_id, text) VALUES (1, 'x'), (2, 'x');
        INSERT INTO history (subject_id, initials) VALUES (1, 'x')
    """,
    "updates": """
        UPDATE subject SET initials = 'x' WHERE id BETWEEN 101 AND 110;
        UPDATE visit SET note = 'x', subject_id = 7, code = id WHERE id BETWEEN 111 AND 113;
        UPDATE line SET text = 'x', visit_id = 120 WHERE id BETWEEN 121 AND 123;
        UPDATE history SET subject_id = 130 WHERE id BETWEEN 131 AND 133
    """,
    "renames": """
        UPDATE subject SET identifier = 'renamed ' || identifier WHERE id BETWEEN 201 AND 203;
        UPDATE visit SET code = 2 WHERE id BETWEEN 211 AND 213;
        UPDATE line SET id = -id WHERE id BETWEEN 221 AND 223
    """,
    "deletes and what they take along": """
        DELETE FROM subject WHERE id BETWEEN 301 AND 303;
        DELETE FROM history WHERE id BETWEEN 311 AND 313
    """,
    "a key taken by another row": """
        UPDATE subject SET identifier = 'gone' WHERE id = 401;
        UPDATE subject SET identifier = 's401' WHERE id = 402
    """,
    "references to be stitched": """
        INSERT INTO visit (id, subject_id, code) VALUES (-1, -1, 1);
        INSERT INTO line (id, visit_id) VALUES (-1, -2);
        INSERT INTO visit (id, subject_id, code) VALUES (-2, -1, 2);
        INSERT INTO subject (id, identifier) VALUES (-1, 'late');
        INSERT INTO history (subject_id) VALUES (-999)
    """,
}


@pytest.mark.parametrize("step", STEPS)
def test_a_small_batch_reads_little_whatever_it_holds(past: Past, step: str) -> None:
    with past.reading() as (there, here):
        past.source.script(STEPS[step])
        assert (past.ship() > 0) is (step != "nothing")
    there.hold(rows=ROWS, pages=PAGES)
    here.hold(rows=ROWS, pages=PAGES)
    assert past.upstream.value("SELECT count(*) FROM dbsync.quarantine WHERE state = 'waiting'") == 0


def test_what_is_held_and_what_waits_behind_it_reads_little_on_its_way_in_and_out(past: Past) -> None:
    past.upstream.script("""
        DELETE FROM visit WHERE id = 5000501;
        UPDATE subject SET initials = 'theirs' WHERE identifier = 's502';
        ALTER TABLE subject ADD CONSTRAINT proper CHECK (initials <> 'improper') NOT VALID
    """)
    into_quarantine = """
        INSERT INTO line (visit_id, text) VALUES (501, 'x');
        UPDATE subject SET initials = 'ours' WHERE identifier = 's502';
        UPDATE subject SET initials = 'improper' WHERE identifier = 's503';
        UPDATE subject SET initials = 'x' WHERE id BETWEEN 504 AND 510
    """
    behind = "UPDATE subject SET initials = 'later' WHERE identifier IN ('s502', 's503', 's511')"
    for step, waiting in ((into_quarantine, 3), (behind, 3)):
        with past.reading() as both:
            past.source.script(step)
            past.ship()
        for found in both:
            found.hold(rows=ROWS, pages=PAGES)
        assert past.upstream.value("SELECT count(*) FROM dbsync.quarantine WHERE state = 'waiting'") == waiting
    with past.reading() as both:
        past.person.must("resend", "visit", "--key", "s501", "1000")
        past.ship()
    for found in both:
        found.hold(rows=ROWS, pages=PAGES)
    past.upstream.script(
        "ALTER TABLE subject DROP CONSTRAINT proper; UPDATE subject SET initials = 'AB' WHERE id = 5000502"
    )
    with past.reading() as both:
        past.person.must("quarantine", "retry", "--all")
    for found in both:
        found.hold(rows=ROWS, pages=PAGES)
    assert past.upstream.value("SELECT count(*) FROM dbsync.quarantine WHERE state = 'waiting'") == 0


def test_a_service_that_has_nothing_to_do_reads_next_to_nothing(past: Past) -> None:
    service = Service(config=past.config)
    thread = threading.Thread(target=service.run)
    with past.reading() as both:
        before = _looks(past)
        thread.start()
        until(lambda: _looks(past) > before + 50, "the service does not look")
        service.stop.set()
        thread.join()
        looks = _looks(past) - before
    for found in both:
        found.hold(rows=5 * looks, pages=40 * looks)


def test_purging_reads_what_it_deletes(past: Past) -> None:
    past.ship()  # what may go already is gone
    old = 5
    past.source.sql(
        """UPDATE dbsync.sent SET acknowledged_at = now() - interval '8 days'
           WHERE place IN (SELECT place FROM dbsync.sent ORDER BY place LIMIT %s)""",
        [old],
    )
    before = past.source.value("SELECT count(*) FROM dbsync.change")
    with reads(past.source) as there:
        assert past.ship() == 0
    assert before - past.source.value("SELECT count(*) FROM dbsync.change") == 10 * old
    there.hold(rows=ROWS, pages=PAGES)


def test_purging_a_log_that_is_over_its_size_asks_once_what_goes(past: Past) -> None:
    with reads(past.source) as there, connect(past.source.dsn, name="source") as source:
        prepare(source)
        megabyte = 1 << 20
        deleted = Purge(source, keep=7 * 86_400, max_size=size(source) - megabyte).purge()
    assert deleted > 0
    assert there.of("dbsync.sent").rows < 4 * PAST


def _looks(past: Past) -> int:
    """Count how often a service has looked for changes: the server's log has each statement."""
    return past.source.cluster.log.read_text(errors="replace").count("SELECT pg_current_snapshot()::text")
