"""What triggers of the application do to the rows they fire for comes upstream behind what fired them."""

from __future__ import annotations

import os
import random
from contextlib import suppress

import pytest
from psycopg import errors

from tests.integration.nested import BACK, COUNTED, GONE, LONGER, STAMPED, Nested, agrees
from tests.support.databases import ONE_MIXTURE


def test_a_renamed_row_that_its_trigger_updates_is_one_row_upstream(source_with: Nested) -> None:
    pipeline = source_with(LONGER)
    pipeline.source.sql("UPDATE subject SET name = 'AAA' WHERE name = 'A'")
    assert agrees(pipeline) == [("AAA", 1, 3, None), ("B", 2, None, None), ("C", 3, None, None)]


def test_an_inserted_row_that_its_trigger_deletes_is_not_upstream(source_with: Nested) -> None:
    pipeline = source_with(GONE)
    pipeline.source.sql("INSERT INTO subject (name, age) VALUES ('D', NULL), ('E', 5)")
    assert [row[0] for row in agrees(pipeline)] == ["A", "B", "C", "E"]


@ONE_MIXTURE
def test_it_is_not_upstream_either_where_another_trigger_stamps_it_before(source_with: Nested) -> None:
    pipeline = source_with(GONE + "; " + STAMPED)
    pipeline.source.sql("INSERT INTO subject (name, age) VALUES ('D', NULL), ('E', 5)")
    assert [row[0] for row in agrees(pipeline)] == ["A", "B", "C", "E"]


def test_a_deleted_row_that_its_trigger_makes_anew_has_its_new_values(source_with: Nested) -> None:
    pipeline = source_with(BACK)
    pipeline.source.sql("DELETE FROM subject WHERE name IN ('A', 'C')")
    assert agrees(pipeline) == [("A", 0, None, None), ("B", 2, None, None), ("C", 0, None, None)]


@pytest.mark.parametrize("max_changes", [1, 7, 20_000])
@ONE_MIXTURE
def test_many_transactions_of_many_statements(source_with: Nested, max_changes: int) -> None:
    pipeline = source_with("; ".join((LONGER, GONE, BACK, COUNTED)))
    for round_ in range(4):
        pipeline.source.script("""
            UPDATE subject SET name = name || 'x' WHERE name LIKE 'A%';
            INSERT INTO subject (name) SELECT 'D' || count(*) FROM subject;
            DELETE FROM subject WHERE name LIKE 'B%';
            INSERT INTO visit (subject_id, code) SELECT id, clock_timestamp()::text FROM subject WHERE name LIKE 'A%';
            UPDATE subject SET age = age + 1, note = 'seen' WHERE name LIKE 'A%'
        """)
        pipeline.source.sql("UPDATE subject SET name = 'Z' || name WHERE name LIKE '%C'")
        if round_ == 1:
            agrees(pipeline, max_changes=max_changes)
    names = [row[0] for row in agrees(pipeline, max_changes=max_changes)]
    assert {"Axxxx", "B", "ZZZZC"} < set(names)


def test_many_rows_of_one_statement(source_with: Nested) -> None:
    pipeline = source_with(LONGER)
    pipeline.source.sql("INSERT INTO subject (name, age) SELECT 'S' || g, g FROM generate_series(1, 3000) g")
    pipeline.source.sql("UPDATE subject SET name = 'T' || name WHERE name LIKE 'S%' AND age > 4")
    assert len(agrees(pipeline)) == 3003
    assert pipeline.source.value("SELECT count(*) FROM dbsync.change WHERE depth IS NOT NULL") == 0


@ONE_MIXTURE
def test_rows_that_exchange_their_keys_in_one_statement_stay_one_statement(source_with: Nested) -> None:
    pipeline = source_with(LONGER.replace("length(new.name)", "ascii(new.name)"))
    for database in (pipeline.source, pipeline.upstream):
        database.sql("""
            ALTER TABLE subject DROP CONSTRAINT subject_name_key, ADD UNIQUE (name) DEFERRABLE INITIALLY IMMEDIATE""")
    pipeline.source.sql("UPDATE subject SET name = CASE name WHEN 'A' THEN 'B' ELSE 'A' END WHERE name IN ('A', 'B')")
    assert agrees(pipeline) == [("A", 2, 65, None), ("B", 1, 66, None), ("C", 3, None, None)]


DEEPER = """
CREATE FUNCTION deeper() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    UPDATE subject SET name = new.name || '+', age = age + 1 WHERE id = new.id;
    RETURN NULL;
END $$;
CREATE TRIGGER deeper AFTER INSERT OR UPDATE OF name ON subject
    FOR EACH ROW WHEN (length(new.name) < 5) EXECUTE FUNCTION deeper()
"""


@ONE_MIXTURE
def test_a_trigger_deep_in_others(source_with: Nested) -> None:
    pipeline = source_with(DEEPER)
    pipeline.source.script("""
        UPDATE subject SET name = 'AA' WHERE name = 'A';
        INSERT INTO subject (name, age) VALUES ('D', 0), ('EE', 0);
        UPDATE subject SET name = 'BBB' WHERE name = 'B'""")
    assert [row[:2] for row in agrees(pipeline)] == [
        ("AA+++", 4), ("BBB++", 4), ("C", 3), ("D++++", 4), ("EE+++", 3)]  # fmt: skip


TRIGGERS = (LONGER, GONE, BACK, COUNTED, STAMPED, DEEPER)
STATEMENTS = (
    "UPDATE subject SET name = name || 'x' WHERE id %% 3 = %(one)s AND length(name) < 12",
    "INSERT INTO subject (name, age) SELECT 'S' || count(*) || %(new)s, nullif(%(one)s, 1) FROM subject",
    "DELETE FROM subject WHERE id %% 5 = %(one)s",
    "INSERT INTO visit (subject_id, code) SELECT id, %(new)s FROM subject WHERE id %% 2 = %(one)s",
    "INSERT INTO unshipped (subject_id) SELECT id FROM subject WHERE id %% 4 = %(one)s",
    "UPDATE subject SET age = %(one)s, tag = tag + 1 WHERE id %% 3 = %(one)s",
    "UPDATE subject SET note = %(new)s WHERE id %% 2 = %(one)s",
    """INSERT INTO subject (name, age) VALUES ('fix' || %(one)s, %(one)s)
       ON CONFLICT (name) DO UPDATE SET age = excluded.age + 1, name = subject.name || 'y'""",
    """MERGE INTO subject s USING (SELECT 'fix' || g AS name, g FROM generate_series(1, 3) g) v ON s.name = v.name
       WHEN MATCHED THEN UPDATE SET name = s.name || 'm' WHEN NOT MATCHED THEN INSERT (name, age) VALUES (v.name || %(new)s, v.g)""",
)


@pytest.mark.parametrize("seed", range(int(os.environ.get("DBSYNC_HISTORIES", "4"))))
@ONE_MIXTURE
def test_whatever_happens_each_change_begins_with_what_the_one_before_it_left(source_with: Nested, seed: int) -> None:
    pick = random.Random(seed)
    pipeline = source_with("SELECT 1")
    for triggers in TRIGGERS:
        if pick.random() < 0.6:
            pipeline.source.script(triggers)
    for round_ in range(12):
        with suppress(errors.IntegrityError), pipeline.source.connect() as session, session.transaction():
            for number in range(pick.randrange(1, 5)):
                said = {"one": pick.randrange(3), "new": f"_{round_}{number}"}
                session.execute(pick.choice(STATEMENTS), said)
        pipeline.reader.next_cut(100_000)
    rows: dict[str, list[str]] = {}
    taken: dict[str, str] = {}
    for seq, op, image, old, local_id in pipeline.source.sql("""
        SELECT c.seq, c.op::text, c.image, c.old_image, c.local_id FROM dbsync.change c
        WHERE c.layout IN (SELECT id FROM dbsync.layout WHERE relation = 'public.subject') ORDER BY c.seq
    """):
        was = rows.pop(local_id, None)
        assert was == {"I": None, "U": old, "D": image}[op], seq
        if was is not None:
            del taken[was[0]]
        if op != "D":
            assert taken.setdefault(image[0], local_id) == local_id, seq
            rows[local_id] = image
    assert rows == {
        i: [*v] for i, *v in pipeline.source.sql("SELECT id::text, name, age::text, tag::text, note FROM subject")
    }


@ONE_MIXTURE
def test_what_a_trigger_makes_that_refers_to_the_new_key_finds_it(source_with: Nested) -> None:
    pipeline = source_with("""
        CREATE FUNCTION visited() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE subject SET name = new.name || '1' WHERE id = new.id;
            INSERT INTO visit (subject_id, code) VALUES (new.id, 'first');
            UPDATE subject SET name = new.name || '2' WHERE id = new.id;
            INSERT INTO visit (subject_id, code) VALUES (new.id, 'second');
            RETURN NULL;
        END $$;
        CREATE TRIGGER visited AFTER INSERT OR UPDATE OF name ON subject
            FOR EACH ROW WHEN (length(new.name) = 1) EXECUTE FUNCTION visited()
    """)
    pipeline.source.script(
        "INSERT INTO subject (name) VALUES ('D'), ('E'); UPDATE subject SET name = 'F' WHERE name = 'A'"
    )
    agrees(pipeline)
    assert agrees(
        pipeline, "SELECT s.name, v.code FROM visit v JOIN subject s ON s.id = v.subject_id ORDER BY 1, 2"
    ) == [(name, code) for name in ("D2", "E2", "F2") for code in ("first", "second")]


class TestWhatIsInItsPlace:
    """What triggers did that is in the log where it happened, though it is as deep."""

    def test_a_row_that_another_tables_trigger_updates_before_the_application_does(self, source_with: Nested) -> None:
        pipeline = source_with(COUNTED)
        for table in ("visit (subject_id, code) VALUES (1, 'V')", "unshipped (subject_id) VALUES (1)"):
            pipeline.source.script(f"INSERT INTO {table}; UPDATE subject SET tag = tag * 10 WHERE id = 1")
        assert agrees(pipeline)[0] == ("A", 1, 110, None)

    @ONE_MIXTURE
    def test_a_row_that_is_saved_as_it_was_before_another_tables_trigger(self, source_with: Nested) -> None:
        pipeline = source_with(COUNTED)
        pipeline.source.script(
            "INSERT INTO unshipped (subject_id) VALUES (1); UPDATE subject SET tag = NULL WHERE id = 1"
        )
        assert agrees(pipeline)[0] == ("A", 1, None, None)
        pipeline.source.script(LONGER)
        pipeline.source.script(
            "INSERT INTO visit (subject_id, code) VALUES (1, 'V'); UPDATE subject SET tag = NULL WHERE id = 1"
        )
        assert agrees(pipeline)[0] == ("A", 1, None, None)

    def test_a_row_that_makes_way_for_one_that_is_inserted(self, source_with: Nested) -> None:
        pipeline = source_with("""
            CREATE FUNCTION way() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                DELETE FROM subject WHERE name = new.name;
                DELETE FROM site WHERE code = new.note;
                RETURN new;
            END $$;
            CREATE TRIGGER way BEFORE INSERT ON subject FOR EACH ROW EXECUTE FUNCTION way();
            CREATE FUNCTION way_of_site() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                DELETE FROM site WHERE code = new.code;
                RETURN new;
            END $$;
            CREATE TRIGGER way BEFORE INSERT ON site FOR EACH ROW EXECUTE FUNCTION way_of_site();
            CREATE FUNCTION after_site() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                UPDATE site SET label = label || '!' WHERE code = new.code;
                RETURN NULL;
            END $$;
            CREATE TRIGGER after AFTER INSERT ON site FOR EACH ROW WHEN (new.label = 'loud') EXECUTE FUNCTION after_site();
            INSERT INTO site VALUES ('s', 'same'), ('o', 'old'), ('l', 'loud')
        """)
        agrees(pipeline)
        pipeline.source.script("""
            INSERT INTO subject (name, age) VALUES ('A', 10), ('B', 20);
            INSERT INTO subject (name, age) VALUES ('A', 11);
            INSERT INTO site VALUES ('s', 'same'), ('o', 'new'), ('l', 'loud'), ('n', 'none')
        """)
        assert [row[:2] for row in agrees(pipeline)] == [("A", 11), ("B", 20), ("C", 3)]
        assert agrees(pipeline, "SELECT code, label FROM site ORDER BY code") == [
            ("l", "loud!"), ("n", "none"), ("o", "new"), ("s", "same")]  # fmt: skip

    @ONE_MIXTURE
    def test_a_key_that_is_taken_by_what_a_trigger_keeps_of_a_renamed_row(self, source_with: Nested) -> None:
        pipeline = source_with("""
            CREATE FUNCTION kept() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO subject (name, age, note) VALUES (old.name, old.age, 'as it was');
                RETURN NULL;
            END $$;
            CREATE TRIGGER kept AFTER UPDATE OF name ON subject FOR EACH ROW EXECUTE FUNCTION kept()
        """)
        pipeline.source.sql("UPDATE subject SET name = 'D', age = 9 WHERE name = 'A'")
        assert agrees(pipeline) == [
            ("A", 1, None, "as it was"), ("B", 2, None, None), ("C", 3, None, None), ("D", 9, None, None)]  # fmt: skip


@ONE_MIXTURE
def test_a_row_that_its_trigger_sets_back(source_with: Nested) -> None:
    pipeline = source_with("""
        CREATE FUNCTION kept() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE subject SET age = old.age WHERE id = new.id;
            RETURN NULL;
        END $$;
        CREATE TRIGGER kept AFTER UPDATE OF age ON subject FOR EACH ROW WHEN (new.age < old.age) EXECUTE FUNCTION kept()
    """)
    pipeline.source.sql("UPDATE subject SET age = age - 1 WHERE name = 'A'")
    assert agrees(pipeline)[0] == ("A", 1, None, None)


def test_a_row_that_refers_to_itself_and_whose_key_changes(source_with: Nested) -> None:
    pipeline = source_with("""
        CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE site SET label = upper(new.label) WHERE code = new.code;
            RETURN NULL;
        END $$;
        CREATE TRIGGER shout AFTER UPDATE OF code ON site FOR EACH ROW EXECUTE FUNCTION shout();
        INSERT INTO site VALUES ('a', 'one', 'a'), ('b', 'two', 'a'), ('c', 'three', 'b')
    """)
    agrees(pipeline)
    pipeline.source.sql("UPDATE site SET code = 'z' WHERE code = 'a'")
    everything = "SELECT code, label, parent FROM site ORDER BY code"
    assert agrees(pipeline, everything) == [("b", "two", "z"), ("c", "three", "b"), ("z", "ONE", "z")]
    pipeline.source.sql("DELETE FROM site WHERE code = 'z'")
    assert agrees(pipeline, everything) == []


@ONE_MIXTURE
def test_a_row_without_a_key_of_its_own(source_with: Nested) -> None:
    pipeline = source_with("""
        CREATE FUNCTION twice() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE line SET times = 2 * times WHERE id = new.id;
            RETURN NULL;
        END $$;
        CREATE TRIGGER twice AFTER INSERT OR UPDATE OF said ON line FOR EACH ROW EXECUTE FUNCTION twice()
    """)
    pipeline.source.sql("INSERT INTO line (said, times) VALUES ('a', 1), ('b', 2)")
    lines = "SELECT said, times FROM line ORDER BY said"
    assert agrees(pipeline, lines) == [("a", 2), ("b", 4)]
    pipeline.source.sql("UPDATE line SET said = said || '!'")
    assert agrees(pipeline, lines) == [("a!", 4), ("b!", 8)]
