"""Whatever statement an application runs, upstream ends up as the source is."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, prepared

Ids = dict[str, int]

SEED = """
INSERT INTO site (code, name) VALUES ('G', 'Gaborone'), ('M', 'Maun');
INSERT INTO subject (identifier, initials, age, site_id) VALUES ('A', 'AA', 30, 1), ('B', 'BB', 40, 2), ('C', 'CC', 50, NULL);
INSERT INTO visit (subject_id, code) VALUES (1, '1000'), (1, '2000'), (2, '1000');
INSERT INTO crf (visit_id, answer) VALUES (1, 'yes'), (2, 'no'), (3, 'perhaps');
"""


@pytest.fixture
def clinic(pair: Pair, databases: Databases) -> Iterator[Pipeline]:
    both = prepared(databases, pair, SCHEMA)
    with Pipeline(both.source, both.upstream, TABLES) as pipeline:
        pipeline.source.script(SEED)
        pipeline.agree()
        yield pipeline


def held(pipeline: Pipeline) -> list[tuple[str, str]]:
    """Give what waits in quarantine, and why."""
    return [
        *pipeline.upstream.sql("SELECT conflict, reason FROM dbsync.quarantine WHERE state = 'waiting' ORDER BY id")
    ]


def test_ids_are_the_upstreams_own(clinic: Pipeline) -> None:
    query = "SELECT identifier, id FROM subject ORDER BY identifier"
    assert clinic.source.sql(query) == [("A", 1), ("B", 2), ("C", 3)]
    assert [name for name, _ in clinic.upstream.sql(query)] == ["A", "B", "C"]
    assert min(number for _, number in clinic.upstream.sql(query)) > 7000


# Keys that change.


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
    before: Ids = dict(clinic.upstream.sql("SELECT initials, id FROM subject"))
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
    before: Ids = dict(clinic.upstream.sql("SELECT label, id FROM shelf"))
    clinic.source.sql("UPDATE shelf SET place = CASE place WHEN 1 THEN 2 WHEN 2 THEN 1 ELSE 3 END")
    clinic.agree()
    assert clinic.upstream.sql("SELECT place, label FROM shelf ORDER BY 1") == [(1, "b"), (2, "a"), (3, "c")]
    assert dict(clinic.upstream.sql("SELECT label, id FROM shelf")) == before


@ONE_MIXTURE
def test_all_keys_may_move_up_by_one_in_one_statement(clinic: Pipeline) -> None:
    clinic.source.sql("INSERT INTO shelf (place, label) SELECT g, 'shelf ' || g FROM generate_series(1, 50) g")
    clinic.agree()
    before: Ids = dict(clinic.upstream.sql("SELECT label, id FROM shelf"))
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
    before: Ids = dict(clinic.upstream.sql("SELECT name, id FROM town"))
    clinic.source.sql("UPDATE country SET code = 'BWA' WHERE code = 'BW'")
    clinic.agree()
    assert dict(clinic.upstream.sql("SELECT name, id FROM town")) == before


# Deletes and what they take along.


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


# Ways to write.


@ONE_MIXTURE
def test_an_update_that_changes_nothing_leaves_no_change(clinic: Pipeline) -> None:
    clinic.forget()
    clinic.source.script(
        "UPDATE subject SET identifier = identifier, age = age + 0, site_id = site_id; UPDATE crf SET id = id"
    )
    assert clinic.changes() == []
    clinic.source.sql("UPDATE subject SET age = CASE id WHEN 1 THEN 31 ELSE age END")
    assert clinic.changes() == [("public.subject", "U", False)]


@ONE_MIXTURE
def test_an_update_writes_only_what_the_source_changed(clinic: Pipeline) -> None:
    clinic.upstream.sql("UPDATE subject SET initials = 'up', site_id = NULL WHERE identifier = 'A'")
    clinic.source.sql("UPDATE subject SET age = 31 WHERE identifier = 'A'")
    clinic.ship()
    assert clinic.upstream.sql("SELECT initials, age, site_id FROM subject WHERE identifier = 'A'") == [
        ("up", 31, None)
    ]


def test_merge_is_captured(clinic: Pipeline) -> None:
    clinic.source.sql("""
        MERGE INTO subject s USING (VALUES ('A', 60), ('B', NULL), ('N', 5), ('O', 6)) v(identifier, age)
        ON s.identifier = v.identifier
        WHEN MATCHED AND v.age IS NULL THEN DELETE
        WHEN MATCHED THEN UPDATE SET age = v.age
        WHEN NOT MATCHED THEN INSERT (identifier, age) VALUES (v.identifier, v.age)
    """)
    clinic.agree()
    assert clinic.upstream.sql("SELECT identifier, age FROM subject ORDER BY 1") == [
        ("A", 60), ("C", 50), ("N", 5), ("O", 6)]  # fmt: skip


def test_insert_on_conflict_is_captured(clinic: Pipeline) -> None:
    clinic.source.script("""
        INSERT INTO subject (identifier, age) VALUES ('A', 61), ('N', 1)
        ON CONFLICT (identifier) DO UPDATE SET age = excluded.age;
        INSERT INTO subject (identifier, age) VALUES ('B', 0), ('O', 2) ON CONFLICT DO NOTHING
    """)
    clinic.agree()
    assert clinic.upstream.sql("SELECT identifier, age FROM subject ORDER BY 1") == [
        ("A", 61), ("B", 40), ("C", 50), ("N", 1), ("O", 2)]  # fmt: skip


@ONE_MIXTURE
def test_copy_is_captured(clinic: Pipeline) -> None:
    with clinic.source.connect() as session, session.cursor().copy("COPY subject (identifier, age) FROM STDIN") as copy:
        for number in range(500):
            copy.write_row((f"copied {number}", number))
    clinic.agree()
    assert clinic.upstream.value("SELECT count(*) FROM subject") == 503


@ONE_MIXTURE
def test_writable_ctes_are_captured(clinic: Pipeline) -> None:
    clinic.source.sql("""
        WITH born AS (INSERT INTO subject (identifier) VALUES ('N'), ('O') RETURNING id),
        visited AS (INSERT INTO visit (subject_id, code) SELECT id, '1000' FROM born RETURNING id),
        answered AS (INSERT INTO crf (visit_id, answer) SELECT id, 'cte' FROM visited RETURNING 1),
        moved AS (UPDATE crf SET answer = 'updated' WHERE visit_id = 1 RETURNING 1),
        gone AS (DELETE FROM crf WHERE visit_id = 2 RETURNING 1)
        UPDATE subject SET age = 77 WHERE identifier = 'C'
    """)
    clinic.agree()
    assert clinic.upstream.value("SELECT count(*) FROM crf") == 4


@ONE_MIXTURE
def test_a_cte_that_updates_one_table_twice_is_captured(clinic: Pipeline) -> None:
    clinic.source.sql("""
        WITH first AS (UPDATE subject SET identifier = 'A-2', age = 1 WHERE identifier = 'A' RETURNING 1),
        second AS (UPDATE subject SET age = 2 WHERE identifier = 'B' RETURNING 1)
        UPDATE subject SET age = 3, initials = 'x' WHERE identifier = 'C'
    """)
    clinic.agree()


@ONE_MIXTURE
def test_what_a_savepoint_rolled_back_is_not_shipped(clinic: Pipeline) -> None:
    with clinic.source.connect() as session, session.transaction():
        session.execute("INSERT INTO subject (identifier) VALUES ('kept')")
        with session.transaction(force_rollback=True):
            session.execute("INSERT INTO subject (identifier) VALUES ('undone')")
            session.execute("UPDATE subject SET identifier = 'undone too' WHERE identifier = 'A'")
        session.execute("INSERT INTO visit (subject_id, code) SELECT id, '1' FROM subject WHERE identifier = 'kept'")
    clinic.agree()
    assert clinic.upstream.value("SELECT count(*) FROM subject") == 4


@ONE_MIXTURE
def test_an_error_caught_in_a_function_leaves_no_trace(clinic: Pipeline) -> None:
    clinic.source.sql("""
        DO $$ BEGIN
            INSERT INTO subject (identifier) VALUES ('first');
            BEGIN
                INSERT INTO subject (identifier) VALUES ('second'); INSERT INTO subject (identifier) VALUES ('A');
            EXCEPTION WHEN unique_violation THEN INSERT INTO subject (identifier) VALUES ('third');
            END;
        END $$
    """)
    clinic.agree()
    assert clinic.upstream.value("SELECT count(*) FROM subject") == 5


@ONE_MIXTURE
def test_a_row_that_its_own_after_trigger_updates_arrives_as_it_ended(clinic: Pipeline) -> None:
    clinic.source.script("""
        CREATE FUNCTION grow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE subject SET age = 1 WHERE id = new.id;
            RETURN NULL;
        END $$;
        CREATE TRIGGER grow AFTER INSERT ON subject FOR EACH ROW EXECUTE FUNCTION grow();
        INSERT INTO subject (identifier) VALUES ('N'), ('O')
    """)
    clinic.agree()


@ONE_MIXTURE
def test_a_row_that_its_own_triggers_update_twice_over_arrives_as_it_ended(clinic: Pipeline) -> None:
    clinic.source.script("""
        CREATE FUNCTION grow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE subject SET age = new.age + 1 WHERE id = new.id;
            RETURN NULL;
        END $$;
        CREATE TRIGGER grow AFTER UPDATE ON subject FOR EACH ROW WHEN (new.age < 63) EXECUTE FUNCTION grow();
        UPDATE subject SET age = 60, initials = 'XX' WHERE identifier = 'A';
        UPDATE subject SET initials = 'YY' WHERE identifier = 'A'
    """)
    clinic.agree()
    assert clinic.upstream.sql("SELECT age, initials FROM subject WHERE identifier = 'A'") == [(63, "YY")]


@ONE_MIXTURE
def test_writes_by_the_applications_own_triggers_are_captured(clinic: Pipeline) -> None:
    clinic.source.script("""
        CREATE FUNCTION follow_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO visit (subject_id, code, note) VALUES (new.id, '0', 'by trigger');
            UPDATE site SET name = new.identifier WHERE id = 1;
            RETURN NULL;
        END $$;
        CREATE TRIGGER follow_up AFTER INSERT ON subject FOR EACH ROW EXECUTE FUNCTION follow_up();
        INSERT INTO subject (identifier) VALUES ('N'), ('O')
    """)
    clinic.agree()
    assert clinic.upstream.value("SELECT count(*) FROM visit WHERE note = 'by trigger'") == 2


# Partitions.


def test_partitions_are_one_table(clinic: Pipeline) -> None:
    clinic.source.script("""
        INSERT INTO specimen (kind, barcode, volume, subject_id) VALUES ('blood', '1', 1.50, 1), ('urine', '1', 2, 2);
        INSERT INTO specimen_blood (id, kind, barcode) VALUES (91, 'blood', 'straight');
        INSERT INTO specimen_other (id, kind, barcode, volume) VALUES (90, 'hair', 'straight', 9)
    """)
    clinic.agree()
    assert clinic.upstream.value("SELECT count(*) FROM specimen") == 4
    clinic.source.script("""
        UPDATE specimen SET volume = volume + 1; UPDATE specimen_other SET barcode = 'moved', subject_id = 2 WHERE id = 90;
        DELETE FROM specimen_blood WHERE barcode = 'straight'; DELETE FROM specimen WHERE kind = 'urine'
    """)
    clinic.agree()
    assert clinic.upstream.sql("SELECT barcode, volume::text FROM specimen ORDER BY 1") == [
        ("1", "2.50"),
        ("moved", "10"),
    ]


@pytest.mark.parametrize("rows", [1, 3])
def test_a_row_moves_to_another_partition(clinic: Pipeline, rows: int) -> None:
    clinic.source.script("INSERT INTO specimen (kind, barcode) SELECT 'blood', 'b' || g FROM generate_series(1, 5) g")
    clinic.agree()
    clinic.source.sql(f"UPDATE specimen SET kind = 'plasma', volume = 1 WHERE barcode <= 'b{rows}'")
    clinic.agree()
    assert clinic.upstream.value("SELECT count(*) FROM specimen WHERE kind = 'plasma'") == rows
    clinic.source.sql("UPDATE specimen SET kind = 'blood', volume = volume + 1 WHERE kind = 'plasma'")
    clinic.agree()


@ONE_MIXTURE
def test_a_delete_cascades_into_partitions(clinic: Pipeline) -> None:
    clinic.source.sql("INSERT INTO specimen (kind, barcode, subject_id) VALUES ('blood', '1', 1), ('hair', '2', 1)")
    clinic.agree()
    clinic.source.sql("DELETE FROM subject WHERE id = 1")
    clinic.agree()
    assert clinic.upstream.value("SELECT count(*) FROM specimen") == 0


@ONE_MIXTURE
def test_a_cascade_over_many_rows_is_not_slow(clinic: Pipeline) -> None:
    clinic.source.script("""
        INSERT INTO subject (identifier) SELECT 'bulk ' || g FROM generate_series(1, 5000) g;
        INSERT INTO visit (subject_id, code) SELECT id, 'v' FROM subject WHERE identifier LIKE 'bulk %';
        INSERT INTO crf (visit_id) SELECT id FROM visit WHERE code = 'v'
    """)
    clinic.agree()
    clinic.source.sql("DELETE FROM subject WHERE identifier LIKE 'bulk %'")
    clinic.agree()
    assert clinic.upstream.value("SELECT count(*) FROM crf") == 3


@ONE_MIXTURE
def test_a_reference_set_to_null_by_a_delete_is_set_to_null_upstream_too(clinic: Pipeline) -> None:
    clinic.upstream.script("""
        ALTER TABLE subject DROP CONSTRAINT subject_site_id_fkey,
            ADD FOREIGN KEY (site_id) REFERENCES site DEFERRABLE INITIALLY DEFERRED
    """)
    clinic.source.script("DELETE FROM site WHERE code = 'G'; UPDATE subject SET age = 5")
    clinic.agree()
    assert clinic.upstream.value("SELECT count(*) FROM subject WHERE site_id IS NULL") == 2


@ONE_MIXTURE
def test_a_child_that_leaves_its_parent_in_the_statement_that_deletes_it_survives(clinic: Pipeline) -> None:
    before = clinic.upstream.value("SELECT id FROM visit WHERE code = '2000'")
    clinic.source.sql("""
        WITH gone AS (DELETE FROM subject WHERE identifier = 'A' RETURNING 1)
        UPDATE visit SET subject_id = 3 WHERE subject_id = 1
    """)
    clinic.agree()
    assert clinic.upstream.value("SELECT id FROM visit WHERE code = '2000'") == before


@ONE_MIXTURE
def test_updates_of_one_row_written_at_one_moment_stay_in_order(clinic: Pipeline) -> None:
    clinic.source.script(
        "UPDATE subject SET age = age + 1; UPDATE subject SET age = age * 2; UPDATE subject SET site_id = NULL"
    )
    clinic.agree()
    assert clinic.upstream.value("SELECT age FROM subject WHERE identifier = 'A'") == 62


# References that are not there yet, or run in circles.


@ONE_MIXTURE
@pytest.mark.parametrize("max_changes", [1, 20_000])
def test_a_child_may_come_before_its_parent(clinic: Pipeline, max_changes: int) -> None:
    clinic.source.script("""
        INSERT INTO crf (visit_id, answer) VALUES (80, 'early');
        INSERT INTO visit (id, subject_id, code) VALUES (80, 90, '1000');
        INSERT INTO subject (id, identifier, site_id) VALUES (90, 'late', 70);
        INSERT INTO site (id, code) VALUES (70, 'later still')
    """)
    clinic.agree(max_changes)
    assert clinic.upstream.value("SELECT count(*) FROM crf") == 4


@ONE_MIXTURE
def test_a_child_before_its_parent_follows_the_parents_later_names(clinic: Pipeline) -> None:
    clinic.source.script("""
        INSERT INTO visit (id, subject_id, code) VALUES (80, 90, '1000');
        INSERT INTO subject (id, identifier) VALUES (90, 'first name');
        UPDATE subject SET identifier = 'second name' WHERE id = 90;
        UPDATE visit SET note = 'afterwards' WHERE id = 80;
        INSERT INTO subject (identifier) VALUES ('first name')
    """)
    clinic.agree()


@ONE_MIXTURE
def test_a_child_before_its_parent_and_deleted_with_it(clinic: Pipeline) -> None:
    clinic.source.script("""
        INSERT INTO visit (id, subject_id, code) VALUES (80, 90, '1000');
        INSERT INTO subject (id, identifier) VALUES (90, 'brief');
        INSERT INTO crf (visit_id) VALUES (80);
        DELETE FROM subject WHERE id = 90
    """)
    clinic.agree()


@ONE_MIXTURE
@pytest.mark.parametrize("max_changes", [1, 20_000])
def test_rows_may_refer_to_rows_of_their_own_table(clinic: Pipeline, max_changes: int) -> None:
    clinic.source.script("""
        INSERT INTO person (id, name, mother_id) VALUES (1, 'child', 2), (2, 'mother', 3), (3, 'grandmother', NULL);
        INSERT INTO person (id, name, mother_id) VALUES (4, 'her own mother', 4)
    """)
    clinic.source.script("""
        UPDATE person SET mother_id = 2 WHERE id = 4; INSERT INTO person (id, name, mother_id) VALUES (5, 'sister', 2);
        UPDATE person SET name = 'Naledi' WHERE id = 2
    """)
    clinic.agree(max_changes)
    clinic.source.sql("DELETE FROM person WHERE id = 2")
    clinic.agree(max_changes)
    assert clinic.upstream.value("SELECT count(*) FROM person WHERE mother_id IS NULL") == 4


@ONE_MIXTURE
@pytest.mark.parametrize("max_changes", [1, 20_000])
def test_two_tables_may_refer_to_each_other(clinic: Pipeline, max_changes: int) -> None:
    clinic.source.script("""
        INSERT INTO team (id, name, leader_id) VALUES (1, 'red', 1), (2, 'blue', 2);
        INSERT INTO member (id, name, team_id) VALUES (1, 'Ana', 1), (2, 'Ben', 2), (3, 'Cyd', 1)
    """)
    clinic.agree(max_changes)
    clinic.source.script("UPDATE team SET leader_id = 3 - leader_id; UPDATE member SET team_id = 3 - team_id")
    clinic.agree(max_changes)
    clinic.source.script("""
        INSERT INTO team (id, name, leader_id) VALUES (3, 'green', 4);
        INSERT INTO member (id, name, team_id) VALUES (4, 'Dan', 3);
        UPDATE team SET leader_id = 4 WHERE id = 1
    """)
    clinic.agree(max_changes)
    clinic.source.script("DELETE FROM member WHERE id = 1; DELETE FROM team WHERE id = 3")
    clinic.agree(max_changes)
    assert clinic.upstream.sql(
        "SELECT t.name, m.name FROM team t LEFT JOIN member m ON m.id = leader_id ORDER BY 1"
    ) == (clinic.source.sql("SELECT t.name, m.name FROM team t LEFT JOIN member m ON m.id = leader_id ORDER BY 1"))


# Tables without a natural key.


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
    before: Ids = dict(clinic.upstream.sql("SELECT text, id FROM note"))
    clinic.source.script("UPDATE note SET id = id + 100; UPDATE note SET text = text || '!' WHERE id = 102")
    clinic.agree()
    after: Ids = dict(clinic.upstream.sql("SELECT left(text, 1), id FROM note"))
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


# Sessions, privileges, drift.


@ONE_MIXTURE
def test_a_bulk_statement_after_a_small_one_in_the_same_session_is_not_slow(clinic: Pipeline) -> None:
    with clinic.source.connect(options="-c statement_timeout=20s") as session:
        for number in range(8):
            session.execute(f"UPDATE subject SET age = {number} WHERE id = 1")
            session.execute(f"INSERT INTO visit (subject_id, code) VALUES (1, 'n{number}')")
            session.execute(f"DELETE FROM visit WHERE code = 'n{number}'")
        session.execute("INSERT INTO subject (identifier, age) SELECT 'bulk ' || g, g FROM generate_series(1, 20000) g")
        session.execute(
            "INSERT INTO visit (subject_id, code) SELECT id, '1' FROM subject WHERE identifier LIKE 'bulk %'"
        )
        session.execute("UPDATE subject SET age = age + 1")
        session.execute("UPDATE visit SET note = 'all'")
        session.execute("DELETE FROM visit WHERE code = '1'")
    clinic.agree()
    assert clinic.upstream.value("SELECT count(*) FROM subject WHERE age IS NOT NULL") == 20_003


@ONE_MIXTURE
def test_a_role_that_may_only_use_its_own_table_can_write_to_it(clinic: Pipeline) -> None:
    role = f"app_{clinic.source.name}"
    clinic.source.script(f"""
        CREATE ROLE {role} LOGIN; GRANT INSERT, UPDATE, SELECT, DELETE ON visit, subject TO {role};
        GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}
    """)
    try:
        with clinic.source.connect(user=role) as session:
            session.execute("INSERT INTO subject (identifier, site_id) VALUES ('N', 1)")
            session.execute("INSERT INTO visit (subject_id, code) SELECT id, '1' FROM subject WHERE identifier = 'N'")
            session.execute("UPDATE subject SET age = 5")
            session.execute("DELETE FROM visit WHERE code = '2000'")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute("SELECT FROM dbsync.change")
        clinic.agree()
    finally:
        clinic.source.script(f"DROP OWNED BY {role}; DROP ROLE {role}")


@ONE_MIXTURE
@pytest.mark.parametrize(
    "setting",
    [
        "search_path=dbsync", "session_replication_role=origin", "TimeZone=Asia/Kathmandu", "DateStyle=German",
        "default_transaction_isolation=serializable", "default_transaction_isolation=repeatable read",
        "constraint_exclusion=on", "row_security=off", "plan_cache_mode=force_generic_plan", "enable_nestloop=off",
    ],
)  # fmt: skip
def test_a_sessions_settings_make_no_difference(clinic: Pipeline, setting: str) -> None:
    with clinic.source.connect() as session, session.transaction():
        name, _, value = setting.partition("=")
        session.execute("SELECT set_config(%s, %s, true)", (name, value))
        session.execute("INSERT INTO public.subject (identifier, age) VALUES ('N', 1)")
        session.execute("UPDATE public.subject SET age = 7, site_id = 2")
        session.execute("DELETE FROM public.crf WHERE answer = 'no'")
    clinic.agree()


@ONE_MIXTURE
def test_a_column_added_later_is_captured_without_installing_again(clinic: Pipeline) -> None:
    with clinic.source.connect() as session:
        session.execute("INSERT INTO subject (identifier, age) VALUES ('before', 1)")
        session.execute("ALTER TABLE subject ADD COLUMN colour text DEFAULT 'red'")
        session.execute("INSERT INTO subject (identifier, colour) VALUES ('after', 'green')")
        session.execute("UPDATE subject SET colour = 'blue' WHERE identifier = 'A'")
        session.execute("DELETE FROM subject WHERE identifier = 'C'")
    clinic.upstream.sql("ALTER TABLE subject ADD COLUMN colour text DEFAULT 'red'")
    clinic.agree()
    assert clinic.upstream.sql("SELECT identifier, colour FROM subject ORDER BY 1") == [
        ("A", "blue"), ("B", "red"), ("after", "green"), ("before", "red")]  # fmt: skip
    clinic.reinstall(TABLES)
    clinic.source.sql("UPDATE subject SET colour = 'white'")
    clinic.agree()


@ONE_MIXTURE
def test_a_change_of_a_column_that_the_upstream_lacks_waits_until_it_is_there(clinic: Pipeline) -> None:
    clinic.source.script("ALTER TABLE subject ADD COLUMN colour text; UPDATE subject SET colour = 'red' WHERE id = 1")
    clinic.ship()
    assert held(clinic) == [("missing_column", "table subject has no column colour upstream")]
    clinic.upstream.sql("ALTER TABLE subject ADD COLUMN colour text")
    clinic.restart()
    clinic.applier.tend(clinic.node.lineage)
    clinic.agree()


@ONE_MIXTURE
def test_a_column_dropped_or_altered_later_does_not_break_the_application(clinic: Pipeline) -> None:
    with clinic.source.connect() as session:
        session.execute("UPDATE subject SET age = 31 WHERE id = 1")
        session.execute("ALTER TABLE subject DROP COLUMN initials")
        session.execute("UPDATE subject SET age = 32 WHERE id = 1")
        session.execute("ALTER TABLE subject ALTER COLUMN age TYPE text USING age || ' years'")
        session.execute("INSERT INTO subject (identifier, age) VALUES ('N', 'many')")
    clinic.upstream.script("""
        ALTER TABLE subject ALTER COLUMN age TYPE text USING age || ' years'
    """)
    clinic.ship()
    assert clinic.upstream.sql("SELECT identifier, age FROM subject WHERE identifier IN ('A', 'N') ORDER BY 1") == [
        ("A", "32"), ("N", "many")]  # fmt: skip


@ONE_MIXTURE
def test_a_parent_whose_key_column_is_renamed_does_not_break_the_application(clinic: Pipeline) -> None:
    with clinic.source.connect() as session:
        session.execute("ALTER TABLE subject RENAME COLUMN identifier TO number")
        session.execute("INSERT INTO visit (subject_id, code) VALUES (3, '9')")
        session.execute("UPDATE visit SET note = 'x' WHERE code = '9'")
        session.execute("DELETE FROM visit WHERE code = '2000'")
        session.execute("INSERT INTO subject (number) VALUES ('N')")
        session.execute("UPDATE subject SET age = 1 WHERE number = 'N'")
    assert sorted(clinic.changes()[-6:]) == [
        ("public.crf", "D", False), ("public.subject", "I", False), ("public.subject", "U", False),
        ("public.visit", "D", False), ("public.visit", "I", False), ("public.visit", "U", False)]  # fmt: skip
    clinic.ship()
    assert {conflict for conflict, _ in held(clinic)} == {"unkeyable", "missing_column"}


@ONE_MIXTURE
def test_migrations_that_rewrite_the_table_meet_no_obstacle(clinic: Pipeline) -> None:
    with clinic.source.connect() as session:
        session.execute("ALTER TABLE visit ALTER COLUMN code TYPE varchar(40)")
        session.execute("ALTER TABLE visit RENAME TO clinic_visit")
        session.execute("INSERT INTO clinic_visit (subject_id, code) VALUES (3, '9')")
        session.execute("ALTER TABLE clinic_visit RENAME TO visit")
        session.execute("INSERT INTO visit (subject_id, code) VALUES (3, '8')")
    clinic.agree()


@ONE_MIXTURE
def test_a_trigger_of_the_upstreams_application_finds_its_own_tables(clinic: Pipeline) -> None:
    clinic.upstream.script("""
        CREATE TABLE audit (name text);
        CREATE FUNCTION write_audit() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO audit VALUES (NEW.identifier); RETURN NEW; END';
        CREATE TRIGGER audit BEFORE INSERT OR UPDATE ON subject FOR EACH ROW EXECUTE FUNCTION write_audit()""")
    clinic.source.script(
        "INSERT INTO subject (identifier) VALUES ('N'); UPDATE subject SET age = 1 WHERE identifier = 'A'"
    )
    clinic.agree()
    assert held(clinic) == []
    assert clinic.upstream.sql("SELECT name FROM audit ORDER BY name") == [("A",), ("N",)]


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
