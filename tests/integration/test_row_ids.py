"""Tables without a natural key: their rows are known by a UUID that dbsync gave them."""

from __future__ import annotations

import pytest

from tests.support.databases import ONE_MIXTURE
from tests.support.pipeline import Pipeline


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
