"""A transaction that is put in its order: for whoever reads it, compacts it or has passed it on."""

from __future__ import annotations

import pytest
from psycopg import errors

from dbsync.changelog.compact import compact
from dbsync.postgres import connect
from tests.integration.nested import BACK, COUNTED, GONE, LONGER, STAMPED, Nested, agrees
from tests.support.databases import ONE_MIXTURE
from tests.support.pipeline import LINK

pytestmark = ONE_MIXTURE


def test_a_batch_is_the_same_whenever_it_is_read_and_whoever_read_it_before(source_with: Nested) -> None:
    pipeline = source_with("; ".join((LONGER, GONE, BACK)))
    pipeline.source.script("""
        UPDATE subject SET name = 'AAA' WHERE name = 'A';
        INSERT INTO subject (name) VALUES ('D');
        DELETE FROM subject WHERE name = 'B'""")
    cut = pipeline.reader.next_cut(1_000)
    assert cut is not None
    first = b"".join(pipeline.reader.batch(cut).payload)
    with connect(pipeline.source.dsn, name="source") as beside:
        other = pipeline.reads(beside, "another")
        further = other.next_cut(1_000)
        assert further is not None
        b"".join(other.batch(further).payload)
    pipeline.restart()
    again = pipeline.reader.unfinished()
    assert again is not None
    assert b"".join(pipeline.reader.batch(again).payload) == first


def test_a_compacted_backlog_ends_the_same(source_with: Nested) -> None:
    pipeline = source_with("; ".join((LONGER, GONE, BACK, COUNTED)))
    for _ in range(3):
        pipeline.source.script("""
            UPDATE subject SET name = name || 'x' WHERE name LIKE 'A%';
            INSERT INTO subject (name) SELECT 'D' || count(*) FROM subject;
            DELETE FROM subject WHERE name LIKE 'B%';
            INSERT INTO unshipped (subject_id) VALUES (3);
            UPDATE subject SET tag = tag * 2, note = 'seen' WHERE id = 3
        """)
        pipeline.source.sql("INSERT INTO unshipped (subject_id) VALUES (3)")
        pipeline.source.sql("UPDATE subject SET tag = tag - 1 WHERE id = 3")
    with connect(pipeline.source.dsn, name="source") as connection:
        done = compact(connection, LINK, patience=5)
    assert done.changes_after < done.changes_before
    assert pipeline.source.value("SELECT count(*) FROM dbsync.change WHERE depth IS NOT NULL") == 0
    assert len(agrees(pipeline)) == 6


def test_a_service_with_no_right_but_the_replicators_puts_it_in_order(source_with: Nested) -> None:
    pipeline = source_with("; ".join((LONGER, GONE, BACK, STAMPED)))
    pipeline.source.script("""
        UPDATE subject SET name = 'AAA' WHERE name = 'A';
        INSERT INTO subject (name) VALUES ('D');
        DELETE FROM subject WHERE name = 'B'""")
    with connect(pipeline.source.dsn, name="source") as connection:
        connection.execute("SET ROLE dbsync_replicator")
        assert pipeline.reads(connection).next_cut(1_000) is not None
        with pytest.raises(errors.RaiseException, match="each other's places"):
            connection.execute(
                "SELECT dbsync.put_in_order(ARRAY[c.xid], ARRAY[c.seq], ARRAY[c.seq + 1], '{}') FROM dbsync.change c"
            )
        with pytest.raises(errors.InsufficientPrivilege):
            connection.execute("UPDATE dbsync.change SET depth = NULL")
    assert pipeline.source.value("SELECT count(*) FROM dbsync.change WHERE depth IS NOT NULL") == 0
    agrees(pipeline)


def test_what_a_server_in_the_middle_says_of_a_batch_it_passes_on_stays_true(source_with: Nested) -> None:
    pipeline = source_with(LONGER)
    pipeline.source.sql("UPDATE subject SET name = name || 'x'")
    pipeline.source.sql("""
        INSERT INTO dbsync.receipt (node, incarnation, link, number, lineage, hash, changes, first_captured, last_captured, tx, moment,
                                    first_tx, last_tx, transactions, moments, overruling)
        SELECT 'below', gen_random_uuid(), 'link', 1, gen_random_uuid(), '', 1, now(), now(), c.seq, c.captured_at, 1, 1, '{1}',
               ARRAY[now()], (SELECT array_agg(n.seq ORDER BY n.seq) FROM dbsync.change n WHERE n.depth = 2)
        FROM dbsync.change c ORDER BY c.seq DESC LIMIT 1
    """)
    assert pipeline.reader.next_cut(1_000) is not None
    assert pipeline.source.sql("""
        SELECT r.moment = c.captured_at, NOT c.renames,
               r.overruling = (SELECT array_agg(n.seq ORDER BY n.seq) FROM dbsync.change n WHERE n.xid = c.xid AND NOT n.renames)
        FROM dbsync.receipt r JOIN dbsync.change c ON c.seq = r.tx
    """) == [(True, True, True)]
