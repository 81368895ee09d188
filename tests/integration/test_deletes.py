"""A row that is deleted, what it takes along, and what comes back under its key."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.databases import ONE_MIXTURE
from tests.support.pipeline import Pipeline


@pytest.mark.parametrize("max_changes", [1, 20_000])
def test_a_delete_cascades_over_several_levels(clinic: Pipeline, max_changes: int) -> None:
    clinic.source.sql("DELETE FROM subject WHERE identifier = 'A'")
    clinic.agree(max_changes)
    assert clinic.upstream.sql("SELECT s.identifier, v.code, c.answer FROM crf c JOIN visit v ON v.id = visit_id"
                               " JOIN subject s ON s.id = subject_id") == [("B", "1000", "perhaps")]  # fmt: skip


@ONE_MIXTURE
def test_a_cascade_finds_its_rows_though_the_parent_was_renamed_in_the_same_transaction(clinic: Pipeline) -> None:
    clinic.source.script("""
        UPDATE subject SET identifier = 'A-2' WHERE identifier = 'A';
        UPDATE crf SET answer = 'late' WHERE visit_id = 1;
        DELETE FROM subject WHERE identifier = 'A-2'
    """)
    clinic.agree()


@ONE_MIXTURE
def test_rows_that_lived_for_one_transaction_only_leave_nothing(clinic: Pipeline) -> None:
    clinic.source.script("""
        INSERT INTO subject (id, identifier) VALUES (50, 'short');
        INSERT INTO visit (id, subject_id, code) VALUES (50, 50, '1000');
        INSERT INTO crf (visit_id, answer) VALUES (50, 'gone');
        DELETE FROM subject WHERE id = 50
    """)
    clinic.agree()


@ONE_MIXTURE
def test_children_updated_by_the_application_before_the_cascade_go_too(clinic: Pipeline) -> None:
    clinic.source.script("""
        UPDATE visit SET note = 'x'; DELETE FROM crf WHERE visit_id = 2;
        DELETE FROM visit WHERE id = 2; DELETE FROM subject
    """)
    clinic.agree()
    assert clinic.upstream.value("SELECT count(*) FROM visit") == 0


@ONE_MIXTURE
def test_a_delete_that_sets_null_leaves_the_children(clinic: Pipeline) -> None:
    clinic.source.sql("DELETE FROM site WHERE code = 'G'")
    clinic.agree()
    assert clinic.upstream.value("SELECT count(*) FROM subject WHERE site_id IS NULL") == 2


@ONE_MIXTURE
@pytest.mark.parametrize("max_changes", [1, 20_000])
def test_a_key_deleted_and_inserted_again_ends_as_the_inserted_row(clinic: Pipeline, max_changes: int) -> None:
    clinic.source.script("""
        DELETE FROM subject WHERE identifier = 'A';
        INSERT INTO subject (identifier, initials) VALUES ('A', 'again');
        INSERT INTO visit (subject_id, code) SELECT id, '1000' FROM subject WHERE identifier = 'A'
    """)
    clinic.agree(max_changes)
    assert clinic.upstream.sql("SELECT initials, age, site_id FROM subject WHERE identifier = 'A'") == [
        ("again", None, None)
    ]


@ONE_MIXTURE
@pytest.mark.parametrize("max_changes", [1, 20_000])
def test_a_key_deleted_and_inserted_again_over_many_transactions(clinic: Pipeline, max_changes: int) -> None:
    for round_ in range(4):
        clinic.source.sql("DELETE FROM subject WHERE identifier = 'A'")
        clinic.source.sql(f"INSERT INTO subject (identifier, initials) VALUES ('A', 'no. {round_}')")
        clinic.source.sql("INSERT INTO visit (subject_id, code) SELECT id, '1000' FROM subject WHERE identifier = 'A'")
    clinic.agree(max_changes)
    assert clinic.upstream.value("SELECT initials FROM subject WHERE identifier = 'A'") == "no. 3"


@ONE_MIXTURE
def test_a_key_inserted_deleted_and_renamed_into_ends_as_the_last_row(clinic: Pipeline) -> None:
    clinic.source.script("""
        DELETE FROM subject WHERE identifier = 'A';
        UPDATE subject SET identifier = 'A' WHERE identifier = 'B';
        INSERT INTO subject (identifier, initials) VALUES ('B', 'new');
        UPDATE subject SET identifier = 'D' WHERE identifier = 'A'
    """)
    clinic.agree()
    assert clinic.upstream.sql("SELECT identifier, initials FROM subject ORDER BY 1") == [
        ("B", "new"), ("C", "CC"), ("D", "BB")]  # fmt: skip


@ONE_MIXTURE
@pytest.mark.parametrize(("table", "kept"), [("erased", 0), ("ignored", 2)])
def test_truncate_is_captured_or_ignored_as_configured(clinic: Pipeline, table: str, kept: int) -> None:
    clinic.source.sql(f"INSERT INTO {table} (code) VALUES ('a'), ('b')")
    clinic.agree()
    clinic.source.sql(f"TRUNCATE {table}")
    clinic.ship()
    assert clinic.upstream.value(f"SELECT count(*) FROM {table}") == kept


@ONE_MIXTURE
def test_truncate_is_refused_where_nothing_else_is_configured(clinic: Pipeline) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match=r"TRUNCATE of public\.subject is refused"):
        clinic.source.sql("TRUNCATE subject CASCADE")
    with pytest.raises(psycopg.errors.RaiseException, match="dbsync captures its rows"):
        clinic.source.sql("TRUNCATE specimen_blood")
    clinic.agree()
