"""A row that the upstream has not, or has otherwise, is sent again: by its key, and by ``verify --repair``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from dbsync.errors import UsageError
from tests.integration.people import Person, person
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, piped, prepared
from tests.support.service import until

pytestmark = ONE_MIXTURE

SCHEMA = """
CREATE TABLE site (id serial PRIMARY KEY, code text NOT NULL UNIQUE);
CREATE TABLE subject (id serial PRIMARY KEY, identifier text NOT NULL UNIQUE, initials text,
    site_id int REFERENCES site);
CREATE TABLE visit (id serial PRIMARY KEY, subject_id int NOT NULL REFERENCES subject, code int NOT NULL, note text,
    UNIQUE (subject_id, code));
CREATE TABLE crf (id serial PRIMARY KEY, visit_id int NOT NULL UNIQUE REFERENCES visit, answer numeric(6, 2));
CREATE TABLE note (id serial PRIMARY KEY, text text, subject_id int REFERENCES subject, answers_id int REFERENCES note);
CREATE TABLE remark (id serial PRIMARY KEY, note_id int NOT NULL REFERENCES note, line int NOT NULL, text text,
    UNIQUE (note_id, line));
CREATE TABLE bed (id serial PRIMARY KEY, ward text, number int NOT NULL, state text,
    UNIQUE NULLS NOT DISTINCT (ward, number));
"""
TABLES = """
[[tables]]
name = "*"
[[tables]]
name = "note"
key = "row_id"
[[tables]]
name = "bed"
key = ["ward", "number"]
"""
ROWS = """
INSERT INTO site (code) VALUES ('G');
INSERT INTO subject (identifier, initials, site_id) VALUES ('SUBJ 12', 'AB', 1), ('S-2', 'CD', NULL);
INSERT INTO visit (subject_id, code, note) VALUES (1, 1000, 'first'), (1, -2000, 'second'), (2, 1000, 'other');
INSERT INTO crf (visit_id, answer) VALUES (1, 1.50), (2, 2);
INSERT INTO note (text, subject_id) VALUES ('a note', 1);
INSERT INTO note (text, answers_id) VALUES ('an answer', 1);
INSERT INTO remark (note_id, line, text) VALUES (2, 1, 'so it is');
INSERT INTO bed (ward, number, state) VALUES (NULL, 1, 'free'), ('A', 1, 'taken');
"""

GENERIC = """
CREATE TABLE django_content_type (id int PRIMARY KEY, app_label text NOT NULL, model text NOT NULL, UNIQUE (app_label, model));
INSERT INTO django_content_type VALUES (10, 'clinic', 'person');
CREATE TABLE clinic_person (id serial PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE tag (id serial PRIMARY KEY, label text NOT NULL UNIQUE, object_id text NOT NULL,
    content_type_id int NOT NULL REFERENCES django_content_type);
"""
GENERIC_TABLES = """
[[tables]]
name = "clinic_person"
[[tables]]
name = "tag"
generic = [{ type = "content_type_id", id = "object_id" }]
[[tables]]
name = "django_content_type"
mode = "lookup"
"""


@pytest.fixture
def pipeline(databases: Databases, pair: Pair) -> Iterator[Pipeline]:
    """Give a pipeline whose upstream has all there is."""
    with piped(databases, pair, SCHEMA, TABLES, seed=ROWS) as made:
        yield made


@pytest.fixture
def dba(pipeline: Pipeline, tmp_path: Path) -> Person:
    """Give somebody at the node's keyboard."""
    return person(pipeline, tmp_path, TABLES)


def pending(pipeline: Pipeline) -> list[str]:
    """List the tables of what waits to be shipped, in the order of the log."""
    return [table.removeprefix("public.") for table, op, _ in pipeline.changes() if op == "B"]


class TestByKey:
    def test_a_row_lost_upstream_comes_back(self, pipeline: Pipeline, dba: Person) -> None:
        pipeline.upstream.script("DELETE FROM crf; DELETE FROM visit WHERE code = 1000")
        said = dba.must("resend", "crf", "--key", "SUBJ 12", "1000")
        assert said.out == "crf: 1 row in the change log once more\n"
        dba.must("resend", "visit", "--key", "SUBJ 12", "1000")
        pipeline.ship()
        assert pipeline.upstream.sql("SELECT note FROM visit WHERE code = 1000") == [("first",)]

    def test_a_row_changed_upstream_by_hand_is_as_in_the_source_again(self, pipeline: Pipeline, dba: Person) -> None:
        pipeline.upstream.sql("UPDATE subject SET initials = 'ZZ', site_id = NULL WHERE identifier = 'SUBJ 12'")
        dba.must("resend", "subject", "--key", "SUBJ 12")
        pipeline.agree()

    def test_several_keys_of_several_values_each(self, pipeline: Pipeline, dba: Person) -> None:
        pipeline.upstream.script("DELETE FROM crf; DELETE FROM visit")
        said = dba.must("resend", "visit", "--key", "--", "SUBJ 12", "-2000", "S-2", "1000")
        assert said.out == "visit: 2 rows in the change log once more\n"
        pipeline.ship()
        assert pipeline.upstream.sql("SELECT note FROM visit ORDER BY note") == [("other",), ("second",)]

    def test_keys_from_a_file_keep_digits_and_nulls(self, pipeline: Pipeline, dba: Person) -> None:
        pipeline.upstream.sql("UPDATE bed SET state = 'lost'")
        said = dba.must("resend", "bed", "--keys-from", "-", stdin='[null, 1]\n\n["A", "1"]\n')
        assert said.out == "bed: 2 rows in the change log once more\n"
        pipeline.agree()

    def test_a_key_with_a_null_is_not_that_of_a_row_without_one(self, dba: Person) -> None:
        said = dba.type("resend", "bed", "--keys-from", "-", stdin='[null, 2]\n["B", 1]\n')
        assert (said.code, said.out) == (1, "")

    def test_a_row_that_the_source_lacks_is_named_and_the_others_are_sent(
        self, pipeline: Pipeline, dba: Person
    ) -> None:
        said = dba.type("resend", "subject", "--key", "S-2", "--key", "GONE")
        assert said.code == 1
        assert "subject (GONE) is not in the source" in said.err
        assert pending(pipeline) == ["subject"]

    def test_a_row_without_a_natural_key_is_sent_by_its_uuid(self, pipeline: Pipeline, dba: Person) -> None:
        uuid = pipeline.source.value("SELECT row_key::text FROM dbsync.row_key WHERE local_id = '1'")
        pipeline.upstream.sql("UPDATE note SET text = 'lost' WHERE text = 'a note'")
        dba.must("resend", "note", "--key", uuid)
        dba.must(
            "resend",
            "remark",
            "--key",
            pipeline.source.value("SELECT row_key::text FROM dbsync.row_key WHERE local_id = '2'"),
            "1",
        )
        pipeline.agree()

    @pytest.mark.parametrize(
        ("words", "complaint"),
        [
            (("visit", "--key", "SUBJ 12"), "no whole keys"),
            (("visit", "--key", "SUBJ 12", "x"), "that is no key of visit"),
            (("visit",), "no key was given"),
            (("nothing", "--key", "1"), "nothing is not shipped"),
        ],
    )
    def test_words_that_cannot_be_meant_are_a_usage_error(
        self, pipeline: Pipeline, dba: Person, words: tuple[str, ...], complaint: str
    ) -> None:
        with pytest.raises(UsageError, match=complaint):
            dba.type("resend", *words)
        assert pending(pipeline) == []

    def test_with_parents_everything_above_goes_first_in_one_batch(self, pipeline: Pipeline, dba: Person) -> None:
        pipeline.upstream.script("TRUNCATE crf, remark, note, visit, subject, site")
        said = dba.must("resend", "crf", "--key", "SUBJ 12", "1000", "--with-parents")
        assert [line.partition(":")[0] for line in said.out.splitlines()] == ["site", "subject", "visit", "crf"]
        assert pipeline.ship() == 1
        assert pipeline.upstream.sql("SELECT s.code, u.initials, v.note, c.answer::text FROM crf c"
            " JOIN visit v ON v.id = c.visit_id JOIN subject u ON u.id = v.subject_id JOIN site s ON s.id = u.site_id"
        ) == [("G", "AB", "first", "1.50")]  # fmt: skip

    def test_with_parents_follows_a_table_into_itself(self, pipeline: Pipeline, dba: Person) -> None:
        pipeline.upstream.script("TRUNCATE crf, remark, note, visit, subject, site")
        answer = pipeline.source.value("SELECT row_key::text FROM dbsync.row_key WHERE local_id = '2'")
        dba.must("resend", "remark", "--key", answer, "1", "--with-parents")
        pipeline.ship()
        assert pipeline.compare("note", "remark", "site").agrees()

    def test_with_parents_follows_a_generic_reference(self, databases: Databases, pair: Pair, tmp_path: Path) -> None:
        ready = prepared(databases, pair, GENERIC)
        with Pipeline(ready.source, ready.upstream, GENERIC_TABLES) as pipeline:
            pipeline.source.script("""
                INSERT INTO clinic_person (name) VALUES ('Neema'), ('Thabo');
                INSERT INTO tag (label, content_type_id, object_id) VALUES ('red', 10, '2')
            """)
            pipeline.agree()
            pipeline.upstream.script("DELETE FROM tag; DELETE FROM clinic_person")
            dba = person(pipeline, tmp_path, GENERIC_TABLES)
            said = dba.must("resend", "tag", "--key", "red", "--with-parents")
            assert [line.partition(":")[0] for line in said.out.splitlines()] == ["clinic_person", "tag"]
            pipeline.ship()
            assert pipeline.upstream.sql("SELECT name FROM tag JOIN clinic_person p ON p.id::text = object_id") == [
                ("Thabo",)
            ]

    def test_a_row_that_is_being_changed_is_sent_as_it_will_be(self, pipeline: Pipeline, dba: Person) -> None:
        with pipeline.source.connect() as other, other.transaction():
            other.execute("UPDATE subject SET initials = 'new' WHERE identifier = 'S-2'")
            resending = Thread(target=dba.must, args=("resend", "subject", "--key", "S-2"))
            resending.start()
            until(
                lambda: pipeline.source.value("SELECT count(*) FROM pg_locks WHERE NOT granted") == 1,
                "the resend does not wait for the row",
            )
        resending.join(20)
        assert pending(pipeline) == ["subject"]
        pipeline.agree()

    def test_a_column_added_after_the_triggers_were_installed_is_sent_too(
        self, pipeline: Pipeline, dba: Person
    ) -> None:
        for database in (pipeline.source, pipeline.upstream):
            database.sql("ALTER TABLE site ADD name text DEFAULT 'unknown'")
        pipeline.upstream.sql("UPDATE site SET name = 'lost'")
        dba.must("resend", "site", "--key", "G")
        pipeline.restart()
        pipeline.ship()
        assert pipeline.upstream.sql("SELECT name FROM site") == [("unknown",)]


class TestVerifyRepair:
    def test_all_that_is_missing_or_different_is_sent_again_and_nothing_else(
        self, pipeline: Pipeline, dba: Person
    ) -> None:
        pipeline.upstream.script("""
            DELETE FROM crf; DELETE FROM visit WHERE note = 'second'; UPDATE subject SET initials = 'x';
            UPDATE note SET text = 'other' WHERE answers_id IS NOT NULL; DELETE FROM bed WHERE ward IS NULL;
            INSERT INTO site (code) VALUES ('of another node')
        """)
        said = dba.type("verify", "--repair", "--limit", "1")
        assert said.code == 1
        assert "7 rows in the change log once more" in said.out
        assert sorted(pending(pipeline)) == ["bed", "crf", "crf", "note", "subject", "subject", "visit"]
        pipeline.ship()
        assert pipeline.compare().agrees(ignore_extra=True)
        assert pipeline.upstream.value("SELECT count(*) FROM site") == 2
        assert "no row of the source had to be sent again" in dba.type("verify", "--repair").out

    def test_an_empty_upstream_is_filled_parents_first(self, pipeline: Pipeline, dba: Person) -> None:
        pipeline.upstream.script("TRUNCATE crf, remark, note, visit, subject, site, bed")
        assert dba.type("verify", "--repair", "--json").json["repaired"] == 13
        order = list(dict.fromkeys(pending(pipeline)))
        for parent, child in (("site", "subject"), ("subject", "visit"), ("visit", "crf"), ("note", "remark")):
            assert order.index(parent) < order.index(child)
        pipeline.ship(max_changes=1)
        pipeline.agree()

    def test_rows_that_were_never_captured_get_their_uuid_and_are_sent(self, pipeline: Pipeline, dba: Person) -> None:
        pipeline.source.script("""
            UPDATE dbsync.node SET capture_off_since = now();
            ALTER TABLE note DISABLE TRIGGER USER;
            INSERT INTO note (id, text, answers_id) VALUES (70, 'late', 1);
            INSERT INTO remark (note_id, line) VALUES (70, 1);
            ALTER TABLE note ENABLE TRIGGER USER;
            UPDATE dbsync.node SET capture_off_since = NULL
        """)
        assert "2 rows in the change log once more" in dba.type("verify", "--repair").out
        pipeline.agree()

    def test_nothing_is_logged_where_both_sides_agree(self, pipeline: Pipeline, dba: Person) -> None:
        assert "agree" in dba.must("verify", "--repair").out
        assert pending(pipeline) == []

    def test_only_the_chosen_tables_are_repaired(self, pipeline: Pipeline, dba: Person) -> None:
        pipeline.upstream.script("UPDATE subject SET initials = 'x'; UPDATE bed SET state = 'x'")
        dba.type("verify", "--repair", "bed")
        assert pending(pipeline) == ["bed", "bed"]
