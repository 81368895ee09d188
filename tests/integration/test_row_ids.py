"""Tables without a natural key: their rows are known by a UUID that dbsync gave them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import LiteralString

import pytest

from dbsync.capture import backfill as backfilling
from dbsync.capture import install as capture
from dbsync.capture.install import TriggerState
from dbsync.capture.trigger import fill_row_keys
from dbsync.keys.expression import Query
from dbsync.model.registration import RegisteredTable
from dbsync.postgres import connect
from tests.integration.clinic_schema import SCHEMA, TABLES, held
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, prepared

UNNAMED = """
SELECT count(*) FROM note n
WHERE NOT EXISTS (SELECT FROM dbsync.row_key k WHERE k.relation = 'public.note' AND k.local_id = n.id::text)
"""
OF_BEFORE: LiteralString = """
INSERT INTO note (id, text, answers_id) VALUES (1, 'of before', NULL), (2, 'of before', 1), (3, 'of before', NULL);
INSERT INTO remark (note_id, line) VALUES (3, 1)
"""


def filling(monkeypatch: pytest.MonkeyPatch, nth: int, first: Callable[[], object]) -> None:
    """Let something happen before an installation gives the notes their UUIDs for the ``nth`` time."""
    times = 0

    def composed(table: RegisteredTable) -> Query:
        nonlocal times
        times += 1
        if times == nth:
            first()
        return fill_row_keys(table)

    monkeypatch.setattr(capture, "fill_row_keys", composed)


def backfill(pipeline: Pipeline) -> None:
    """Log what was there before the triggers."""
    with connect(pipeline.source.dsn, name="source") as connection:
        tables = [table.name for table in pipeline.registry.shipped()]
        backfilling.backfill(connection, pipeline.registry, pipeline.catalog, tables, lambda *_: None)


def note_triggers(pipeline: Pipeline) -> TriggerState:
    """Say what the notes' triggers are."""
    with pipeline.source.connect() as session:
        wanted = capture.captures(session, pipeline.registry, pipeline.catalog)
        return next(state for table, state in capture.states(session, wanted).items() if table.name == "note")


@ONE_MIXTURE
@pytest.mark.parametrize("max_changes", [1, 20_000])
def test_rows_without_a_natural_key_are_never_mixed_up(clinic: Pipeline, max_changes: int) -> None:
    clinic.source.script("""
        INSERT INTO note (id, text, subject_id) VALUES (1, 'same', 1), (2, 'same', 1), (3, 'same', NULL);
        INSERT INTO note (id, text, answers_id) VALUES (4, 'answer', 1), (5, 'answer', 2);
        INSERT INTO remark (note_id, line, text) VALUES (1, 1, 'a'), (2, 1, 'b'), (2, 2, 'c')
    """)
    clinic.agree(max_changes)
    clinic.source.script("""
        UPDATE note SET text = 'other' WHERE id = 2; UPDATE remark SET note_id = 3 WHERE line = 2;
        DELETE FROM note WHERE id = 1; UPDATE note SET subject_id = 2 WHERE id = 3
    """)
    clinic.agree(max_changes)
    assert clinic.upstream.sql("SELECT text FROM note ORDER BY 1") == [("answer",), ("other",), ("same",)]
    query = "SELECT count(*) FROM dbsync.row_key WHERE relation = 'public.note'"
    assert (clinic.source.value(query), clinic.upstream.value(query)) == (3, 3)


@ONE_MIXTURE
def test_a_remark_may_come_before_its_note(clinic: Pipeline) -> None:
    clinic.source.script("""
        INSERT INTO remark (note_id, line, text) VALUES (50, 1, 'early');
        INSERT INTO note (id, text, answers_id) VALUES (50, 'a', 51); INSERT INTO note (id, text) VALUES (51, 'b')
    """)
    clinic.agree()


@ONE_MIXTURE
def test_a_note_keeps_its_identity_when_its_id_changes(clinic: Pipeline) -> None:
    clinic.source.script("INSERT INTO note (id, text) VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    clinic.agree()
    before: dict[str, int] = dict(clinic.upstream.sql("SELECT text, id FROM note"))
    clinic.source.script("UPDATE note SET id = id + 100; UPDATE note SET text = text || '!' WHERE id = 102")
    clinic.agree()
    after: dict[str, int] = dict(clinic.upstream.sql("SELECT left(text, 1), id FROM note"))
    assert after == before


@ONE_MIXTURE
def test_an_id_used_again_is_another_row(clinic: Pipeline) -> None:
    clinic.source.script(
        "INSERT INTO note (id, text) VALUES (1, 'a'); INSERT INTO remark (note_id, line) VALUES (1, 1)"
    )
    clinic.agree()
    clinic.source.script("""
        DELETE FROM note WHERE id = 1; INSERT INTO note (id, text) VALUES (1, 'another');
        INSERT INTO remark (note_id, line, text) VALUES (1, 1, 'of another')
    """)
    clinic.agree()
    assert clinic.upstream.sql("SELECT text FROM note") == [("another",)]


@ONE_MIXTURE
def test_references_to_a_row_with_a_uuid_follow_it_to_the_row_found_upstream(clinic: Pipeline) -> None:
    clinic.upstream.script("""
        INSERT INTO badge SELECT '00000000-0000-0000-0000-00000000000a', id FROM subject WHERE identifier = 'A'
    """)
    clinic.source.script("""
        INSERT INTO badge VALUES ('00000000-0000-0000-0000-000000000001', 1), ('00000000-0000-0000-0000-000000000002', 2);
        INSERT INTO printed (badge_id, no) VALUES
            ('00000000-0000-0000-0000-000000000001', 1), ('00000000-0000-0000-0000-000000000002', 1)
    """)
    clinic.ship()
    assert clinic.upstream.sql("SELECT right(badge_id::text, 1) FROM printed ORDER BY 1") == [("2",), ("a",)]


@ONE_MIXTURE
def test_a_row_without_a_natural_key_comes_back_after_somebody_deleted_it_upstream(clinic: Pipeline) -> None:
    clinic.source.sql("INSERT INTO note (text, subject_id) VALUES ('first', 1)")
    clinic.agree()
    clinic.upstream.sql("DELETE FROM note")
    clinic.source.sql("UPDATE note SET text = 'second'")
    clinic.agree()
    assert clinic.upstream.sql("SELECT text FROM note") == [("second",)]
    clinic.source.sql("UPDATE note SET text = 'third'")
    clinic.agree()


def stop() -> None:
    """Stop as Ctrl-C does."""
    raise KeyboardInterrupt


@ONE_MIXTURE
@pytest.mark.parametrize("nth", [1, 2], ids=["before the triggers", "behind the triggers"])
def test_an_installation_that_was_stopped_before_every_row_had_its_uuid_is_finished_by_the_next(
    databases: Databases, pair: Pair, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    both = prepared(databases, pair, SCHEMA)
    both.source.script(OF_BEFORE)
    with monkeypatch.context() as patched:
        filling(patched, nth, stop)
        with pytest.raises(KeyboardInterrupt):
            Pipeline(both.source, both.upstream, TABLES)
    both.source.sql("DELETE FROM dbsync.row_key")  # as if all rows had come in between
    with Pipeline(both.source, both.upstream, TABLES) as clinic:
        assert (note_triggers(clinic), clinic.source.value(UNNAMED)) == (TriggerState.INSTALLED, 0)
        backfill(clinic)
        clinic.agree()
        assert held(clinic) == []


@ONE_MIXTURE
def test_triggers_count_as_outdated_until_every_row_has_its_uuid(
    databases: Databases, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = prepared(databases, pair, SCHEMA)
    with Pipeline(both.source, both.upstream, TABLES) as clinic:
        clinic.source.sql("ALTER TABLE note ADD colour text")
        with monkeypatch.context() as patched:
            filling(patched, 2, stop)
            with pytest.raises(KeyboardInterrupt):
                clinic.reinstall(TABLES)
        assert note_triggers(clinic) is TriggerState.OUTDATED
        clinic.reinstall(TABLES)
        assert note_triggers(clinic) is TriggerState.INSTALLED


@ONE_MIXTURE
@pytest.mark.parametrize("max_changes", [1, 20_000])
@pytest.mark.parametrize(
    "written",
    [
        "UPDATE note SET text = 'changed'",
        "UPDATE note SET id = id + 10, answers_id = answers_id + 10; UPDATE remark SET note_id = 13",
        "DELETE FROM note WHERE id = 3",
        "DELETE FROM note",
    ],
)
def test_a_row_that_changes_before_it_has_its_uuid_is_told_upstream_all_the_same(
    databases: Databases, pair: Pair, monkeypatch: pytest.MonkeyPatch, written: LiteralString, max_changes: int
) -> None:
    both = prepared(databases, pair, SCHEMA)
    both.source.script(OF_BEFORE)

    def meanwhile() -> None:
        both.source.sql("DELETE FROM dbsync.row_key")
        both.source.script(written + "; INSERT INTO note (id, text) VALUES (99, 'of after')")

    filling(monkeypatch, 2, meanwhile)
    with Pipeline(both.source, both.upstream, TABLES) as clinic:
        clinic.ship(max_changes)
        backfill(clinic)
        clinic.agree(max_changes)
        assert held(clinic) == []


@ONE_MIXTURE
def test_an_installation_steps_back_where_the_application_gives_rows_their_uuids_at_the_same_moment(
    databases: Databases, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = prepared(databases, pair, SCHEMA)
    both.source.script(OF_BEFORE)
    with both.source.connect() as application:

        def go_on() -> None:
            application.execute("UPDATE note SET text = 'changed' WHERE id = 1")
            application.execute("COMMIT")

        def meanwhile() -> None:
            both.source.sql("DELETE FROM dbsync.row_key")
            application.execute("BEGIN; UPDATE note SET text = 'changed' WHERE id = 3")
            goes_on.start()

        goes_on = threading.Timer(0.7, go_on)
        filling(monkeypatch, 2, meanwhile)
        with Pipeline(both.source, both.upstream, TABLES) as clinic:
            goes_on.join(20)
            assert (clinic.source.value(UNNAMED), note_triggers(clinic)) == (0, TriggerState.INSTALLED)
            assert clinic.source.value("SELECT count(*) FROM note WHERE text = 'changed'") == 2
            backfill(clinic)
            clinic.agree()


@ONE_MIXTURE
def test_rows_that_came_while_the_triggers_were_disabled_are_backfilled(clinic: Pipeline) -> None:
    clinic.source.sql("ALTER TABLE note DISABLE TRIGGER USER")
    clinic.source.script(OF_BEFORE)
    clinic.source.sql("ALTER TABLE note ENABLE TRIGGER USER")
    clinic.source.sql("UPDATE note SET text = 'changed' WHERE id = 2")
    assert clinic.source.value(UNNAMED) == 2
    backfill(clinic)
    clinic.agree()
    assert held(clinic) == []


@pytest.mark.parametrize("pair", [(15, 15), (18, 18)], indirect=True)
def test_an_update_of_one_row_asks_for_one_uuid_also_after_a_large_one_in_the_same_session(clinic: Pipeline) -> None:
    read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relid = 'dbsync.row_key'::regclass"
    with clinic.source.connect() as session:
        session.execute("INSERT INTO note (text) SELECT 'a' FROM generate_series(1, 20000)")
        for written in ("SET text = 'b'", "SET id = id + 100000 WHERE id <= 50", "SET text = 'c'"):
            session.execute(f"UPDATE note {written}".encode())
        with session.transaction():
            before = session.execute(read).fetchall()
            session.execute("UPDATE note SET text = 'd' WHERE id = 100001")
            after = session.execute(read).fetchall()
    assert after[0][0] - before[0][0] < 10


@ONE_MIXTURE
def test_an_id_that_somebody_deleted_is_taken_again_by_a_transaction_that_still_sees_it(clinic: Pipeline) -> None:
    clinic.source.sql("INSERT INTO note (id, text) VALUES (1, 'first'), (2, 'second')")
    clinic.agree()
    with clinic.source.connect() as session, session.transaction():
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        session.execute("SELECT FROM note")
        clinic.source.sql("DELETE FROM note WHERE id = 1")
        session.execute("INSERT INTO note (id, text) VALUES (1, 'another')")
    clinic.source.sql("UPDATE note SET text = 'another one' WHERE id = 1")
    clinic.agree()
    assert clinic.upstream.sql("SELECT text FROM note ORDER BY text") == [("another one",), ("second",)]


@ONE_MIXTURE
@pytest.mark.parametrize("max_changes", [1, 20_000])
def test_a_tier_passes_on_that_they_are_gone(pair: Pair, databases: Databases, max_changes: int) -> None:
    first, second = (prepared(databases, pair, SCHEMA) for _ in range(2))
    with (
        Pipeline(first.source, second.source, TABLES) as low,
        Pipeline(second.source, first.upstream, TABLES, node="community") as high,
    ):
        low.source.script("""
            INSERT INTO note (id, text) VALUES (1, 'same'), (2, 'same'), (3, 'same');
            INSERT INTO remark (note_id, line, text) VALUES (1, 1, 'a'), (2, 1, 'b'), (2, 2, 'c')
        """)
        low.agree(max_changes)
        high.agree(max_changes)
        low.source.script(
            "DELETE FROM note WHERE id = 1; DELETE FROM remark WHERE line = 2; UPDATE note SET text = 'x' WHERE id = 3"
        )
        low.agree(max_changes)
        high.agree(max_changes)
        assert (held(low), held(high)) == ([], [])
        assert high.upstream.sql("SELECT text FROM note ORDER BY 1") == [("same",), ("x",)]
        for database in (low.source, low.upstream, high.upstream):
            assert database.value("SELECT count(*) FROM dbsync.row_key WHERE relation = 'public.note'") == 2
