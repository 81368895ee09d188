"""A key that changes: the row stays the same row, upstream too."""

from __future__ import annotations

import pytest

from tests.integration.clinic_schema import TABLES
from tests.support.databases import ONE_MIXTURE
from tests.support.pipeline import Pipeline


@ONE_MIXTURE
def test_a_renamed_row_stays_the_same_row(clinic: Pipeline) -> None:
    before = clinic.upstream.value("SELECT id FROM subject WHERE identifier = 'A'")
    clinic.source.sql("UPDATE subject SET identifier = 'A-2', age = 31 WHERE identifier = 'A'")
    clinic.agree()
    assert clinic.upstream.value("SELECT id FROM subject WHERE identifier = 'A-2'") == before
    assert clinic.upstream.value("SELECT count(*) FROM crf") == 3


@ONE_MIXTURE
@pytest.mark.parametrize("max_changes", [1, 20_000])
def test_a_row_renamed_again_and_again_in_one_transaction_stays_one_row(clinic: Pipeline, max_changes: int) -> None:
    clinic.source.script("""
        UPDATE subject SET identifier = 'X' WHERE identifier = 'A';
        UPDATE subject SET identifier = 'Y' WHERE identifier = 'X';
        UPDATE subject SET identifier = 'Z', age = 99 WHERE identifier = 'Y';
        UPDATE visit SET note = 'after' WHERE subject_id = 1
    """)
    clinic.agree(max_changes)
    assert clinic.upstream.value("SELECT count(*) FROM subject") == 3


@ONE_MIXTURE
def test_two_rows_may_swap_their_keys_in_one_transaction(clinic: Pipeline) -> None:
    before: dict[str, int] = dict(clinic.upstream.sql("SELECT initials, id FROM subject"))
    clinic.source.script("""
        UPDATE subject SET identifier = 'free' WHERE identifier = 'A';
        UPDATE subject SET identifier = 'A' WHERE identifier = 'B';
        UPDATE subject SET identifier = 'B' WHERE identifier = 'free'
    """)
    clinic.agree()
    assert dict(clinic.upstream.sql("SELECT initials, id FROM subject")) == before
    assert clinic.upstream.value("SELECT initials FROM subject WHERE identifier = 'A'") == "BB"


@ONE_MIXTURE
def test_two_rows_may_swap_their_keys_in_one_statement(clinic: Pipeline) -> None:
    clinic.source.sql("INSERT INTO shelf (place, label) VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    clinic.agree()
    before: dict[str, int] = dict(clinic.upstream.sql("SELECT label, id FROM shelf"))
    clinic.source.sql("UPDATE shelf SET place = CASE place WHEN 1 THEN 2 WHEN 2 THEN 1 ELSE 3 END")
    clinic.agree()
    assert clinic.upstream.sql("SELECT place, label FROM shelf ORDER BY 1") == [(1, "b"), (2, "a"), (3, "c")]
    assert dict(clinic.upstream.sql("SELECT label, id FROM shelf")) == before


@ONE_MIXTURE
def test_all_keys_may_move_up_by_one_in_one_statement(clinic: Pipeline) -> None:
    clinic.source.sql("INSERT INTO shelf (place, label) SELECT g, 'shelf ' || g FROM generate_series(1, 50) g")
    clinic.agree()
    before: dict[str, int] = dict(clinic.upstream.sql("SELECT label, id FROM shelf"))
    clinic.source.script("UPDATE shelf SET place = place + 1; UPDATE shelf SET place = place + 1")
    clinic.agree()
    assert dict(clinic.upstream.sql("SELECT label, id FROM shelf")) == before


@ONE_MIXTURE
@pytest.mark.parametrize("max_changes", [1, 20_000])
def test_a_key_left_by_a_rename_can_be_taken_by_another_row(clinic: Pipeline, max_changes: int) -> None:
    clinic.source.script("""
        INSERT INTO visit (subject_id, code) VALUES (1, '3000');
        UPDATE subject SET identifier = 'old A' WHERE identifier = 'A';
        INSERT INTO subject (identifier, initials) VALUES ('A', 'new');
        INSERT INTO visit (subject_id, code) SELECT id, '3000' FROM subject WHERE identifier = 'A'
    """)
    clinic.source.sql("UPDATE visit SET note = 'of the old one' WHERE subject_id = 1")
    clinic.agree(max_changes)
    assert (
        clinic.upstream.value("SELECT count(*) FROM visit v JOIN subject s ON s.id = subject_id WHERE initials = 'AA'")
        == 3
    )


@ONE_MIXTURE
def test_a_child_moved_to_another_parent_is_renamed_with_it(clinic: Pipeline) -> None:
    before = clinic.upstream.value("SELECT id FROM crf WHERE answer = 'no'")
    clinic.source.sql("UPDATE visit SET subject_id = 2 WHERE code = '2000'")
    clinic.agree()
    assert clinic.upstream.value("SELECT id FROM crf WHERE answer = 'no'") == before


@ONE_MIXTURE
def test_a_child_moves_to_a_parent_that_was_renamed_a_moment_before(clinic: Pipeline) -> None:
    clinic.source.script("""
        UPDATE subject SET identifier = 'B-2' WHERE identifier = 'B';
        UPDATE visit SET subject_id = 2 WHERE code = '2000';
        UPDATE subject SET identifier = 'B-3' WHERE identifier = 'B-2';
        UPDATE crf SET answer = 'moved' WHERE visit_id = 2
    """)
    clinic.agree()


@ONE_MIXTURE
def test_an_id_that_changes_is_nobodys_business_upstream(clinic: Pipeline) -> None:
    clinic.source.script("""
        UPDATE visit SET id = id + 100 WHERE id = 3;
        UPDATE crf SET visit_id = 103 WHERE visit_id = 3;
        UPDATE crf SET id = id + 500
    """)
    clinic.agree()
    clinic.source.sql("UPDATE crf SET answer = 'still the same' WHERE id = 503")
    clinic.agree()


@ONE_MIXTURE
def test_an_update_cascade_renames_the_children(clinic: Pipeline) -> None:
    clinic.source.script("""
        INSERT INTO country VALUES ('BW', 'Botswana'), ('ZA', 'South Africa');
        INSERT INTO town (name, country) VALUES ('Maun', 'BW'), ('Kasane', 'BW'), ('Zeerust', 'ZA')
    """)
    clinic.agree()
    before: dict[str, int] = dict(clinic.upstream.sql("SELECT name, id FROM town"))
    clinic.source.sql("UPDATE country SET code = 'BWA' WHERE code = 'BW'")
    clinic.agree()
    assert dict(clinic.upstream.sql("SELECT name, id FROM town")) == before


WITHIN = {
    "by WITH": """
        WITH gone AS (DELETE FROM crf WHERE visit_id = 1 RETURNING 1)
        UPDATE subject SET identifier = 'A-2' WHERE identifier = 'A' AND 1 = (SELECT count(*) FROM gone)""",
    "by a trigger": """
        CREATE FUNCTION clear() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            DELETE FROM crf c USING visit v WHERE v.id = c.visit_id AND v.subject_id = new.id AND v.code = '1000';
            RETURN NULL;
        END $$;
        CREATE TRIGGER clear AFTER UPDATE OF identifier ON subject FOR EACH ROW EXECUTE FUNCTION clear();
        UPDATE subject SET identifier = 'A-2' WHERE identifier = 'A'""",
}


RULES = ["row", "transaction", "stop"]


def ruled(clinic: Pipeline, rule: str) -> None:
    """Say what is to be done with a change that cannot be applied."""
    clinic.reinstall(TABLES.replace('name = "*"', f'name = "*"\non_error = "{rule}"'))
    clinic.restart()


@ONE_MIXTURE
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("way", WITHIN)
def test_a_row_deleted_within_the_statement_that_renames_what_is_above_it_is_deleted(
    clinic: Pipeline, way: str, rule: str
) -> None:
    ruled(clinic, rule)
    clinic.source.script(WITHIN[way])
    clinic.agree()
    assert clinic.upstream.value("SELECT count(*) FROM crf") == 2
    assert clinic.upstream.sql("SELECT conflict FROM dbsync.conflict") == []
    assert clinic.upstream.sql("SELECT FROM dbsync.quarantine WHERE state = 'waiting'") == []


@ONE_MIXTURE
@pytest.mark.parametrize("rule", RULES)
def test_a_row_changed_within_the_statement_that_renames_what_is_above_it_is_changed(
    clinic: Pipeline, rule: str
) -> None:
    ruled(clinic, rule)
    clinic.source.sql("""
        WITH changed AS (UPDATE crf SET answer = 'other' WHERE visit_id = 1 RETURNING 1)
        UPDATE subject SET identifier = 'A-2' WHERE identifier = 'A' AND 1 = (SELECT count(*) FROM changed)
    """)
    clinic.agree()
    assert clinic.upstream.sql("SELECT FROM dbsync.quarantine WHERE state = 'waiting'") == []


@ONE_MIXTURE
@pytest.mark.parametrize("rule", RULES)
def test_a_delete_below_a_row_that_is_gone_upstream_keeps_nothing_waiting(clinic: Pipeline, rule: str) -> None:
    ruled(clinic, rule)
    clinic.upstream.sql("DELETE FROM subject WHERE identifier = 'A'")
    clinic.source.script(
        "DELETE FROM crf WHERE visit_id = 1; UPDATE subject SET identifier = 'B-2' WHERE identifier = 'B'"
    )
    clinic.ship()
    assert clinic.upstream.value("SELECT count(*) FROM subject WHERE identifier = 'B-2'") == 1
    assert clinic.upstream.sql("SELECT conflict FROM dbsync.conflict") == [("delete_missing",)]
    assert clinic.upstream.sql("SELECT FROM dbsync.quarantine WHERE state = 'waiting'") == []


@ONE_MIXTURE
@pytest.mark.parametrize("rule", RULES)
def test_what_was_deleted_and_made_anew_within_a_rename_is_the_new_row(clinic: Pipeline, rule: str) -> None:
    ruled(clinic, rule)
    clinic.source.script("""
        CREATE FUNCTION anew() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            DELETE FROM crf c USING visit v WHERE v.id = c.visit_id AND v.subject_id = new.id AND v.code = '1000';
            INSERT INTO crf (visit_id, answer) SELECT v.id, 'anew' FROM visit v WHERE v.subject_id = new.id AND v.code = '1000';
            RETURN NULL;
        END $$;
        CREATE TRIGGER anew AFTER UPDATE OF identifier ON subject FOR EACH ROW EXECUTE FUNCTION anew();
        UPDATE subject SET identifier = identifier || '-2' WHERE identifier IN ('A', 'B')""")
    clinic.agree()
    assert clinic.upstream.sql("SELECT answer, count(*) FROM crf GROUP BY 1 ORDER BY 1") == [("anew", 2), ("no", 1)]
    assert clinic.upstream.sql("SELECT FROM dbsync.quarantine WHERE state = 'waiting'") == []


@ONE_MIXTURE
@pytest.mark.parametrize("rule", RULES)
def test_a_delete_stays_with_the_row_that_had_the_key_then(clinic: Pipeline, rule: str) -> None:
    ruled(clinic, rule)
    clinic.source.script("""
        DELETE FROM crf WHERE visit_id = 3;
        UPDATE subject SET identifier = 'B-2' WHERE identifier = 'B';
        UPDATE subject SET identifier = 'B' WHERE identifier = 'A'""")
    clinic.agree()
    assert clinic.upstream.sql("SELECT answer FROM crf ORDER BY 1") == [("no",), ("yes",)]
