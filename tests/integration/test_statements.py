"""Whatever statement an application runs, upstream ends up as the source is."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.databases import ONE_MIXTURE
from tests.support.pipeline import Pipeline


def test_ids_are_the_upstreams_own(clinic: Pipeline) -> None:
    query = "SELECT identifier, id FROM subject ORDER BY identifier"
    assert clinic.source.sql(query) == [("A", 1), ("B", 2), ("C", 3)]
    assert [name for name, _ in clinic.upstream.sql(query)] == ["A", "B", "C"]
    assert min(number for _, number in clinic.upstream.sql(query)) > 7000


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
def test_what_happens_to_a_partition_once_it_is_detached_happens_to_no_row_upstream(clinic: Pipeline) -> None:
    clinic.source.sql("INSERT INTO specimen (kind, barcode) VALUES ('blood', '1'), ('blood', '2')")
    clinic.agree()
    clinic.source.script("""
        ALTER TABLE specimen DETACH PARTITION specimen_blood;
        CREATE TABLE specimen_drawn PARTITION OF specimen FOR VALUES IN ('blood');
        INSERT INTO specimen SELECT * FROM specimen_blood;
        UPDATE specimen_blood SET barcode = 'old ' || barcode; DELETE FROM specimen_blood
    """)
    clinic.agree()
    assert clinic.upstream.sql("SELECT barcode FROM specimen ORDER BY 1") == [("1",), ("2",)]


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


# Sessions and privileges.


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
