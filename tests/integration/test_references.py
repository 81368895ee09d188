"""References to rows that are not there yet, or that run in circles."""

from __future__ import annotations

import pytest

from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, prepared


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


@ONE_MIXTURE
def test_an_update_of_one_reference_tells_what_the_others_are(clinic: Pipeline) -> None:
    clinic.source.script(
        "INSERT INTO note (text, subject_id) VALUES ('a', 1); INSERT INTO note (text, answers_id) VALUES ('b', 1)"
    )
    clinic.agree()
    clinic.source.sql("UPDATE note SET subject_id = 2")
    assert clinic.source.sql("SELECT DISTINCT unresolved FROM dbsync.change WHERE op = 'U'") == [(None,)]
    clinic.agree()


@ONE_MIXTURE
@pytest.mark.parametrize("max_changes", [1, 20_000])
def test_rows_follow_the_one_they_refer_to_when_it_gets_another_id(clinic: Pipeline, max_changes: int) -> None:
    clinic.upstream.script("""
        INSERT INTO subject (id, identifier) VALUES (9000, 'N');
        INSERT INTO visit (id, subject_id, code, note) VALUES (9000, 9000, '1000', 'by others')""")
    before = clinic.upstream.sql("SELECT id, subject_id, code FROM visit ORDER BY id")
    clinic.source.script("""
        ALTER TABLE visit DROP CONSTRAINT visit_subject_id_fkey,
            ADD FOREIGN KEY (subject_id) REFERENCES subject ON UPDATE CASCADE ON DELETE CASCADE
    """)
    clinic.source.script("UPDATE subject SET id = id + 100; INSERT INTO subject (id, identifier) VALUES (1, 'N')")
    clinic.ship(max_changes)
    assert clinic.upstream.sql("SELECT id, subject_id, code FROM visit ORDER BY id") == before
    assert clinic.upstream.sql("SELECT conflict FROM dbsync.quarantine") == []


@pytest.mark.parametrize("version", [18])
def test_a_foreign_key_that_is_not_enforced_may_point_to_a_row_that_is_gone(version: int, databases: Databases) -> None:
    source, upstream = (databases.create(version, name=name) for name in ("source", "upstream"))
    for database in (source, upstream):
        database.script("""
            CREATE TABLE person (id serial PRIMARY KEY, name text NOT NULL UNIQUE);
            CREATE TABLE visit (id serial PRIMARY KEY, code text NOT NULL UNIQUE, person_id int REFERENCES person NOT ENFORCED)""")
    upstream.sql("SELECT setval('person_id_seq', 7001)")
    with Pipeline(source, upstream, '[[tables]]\nname = "*"\n') as pipeline:
        source.script("""
            INSERT INTO person (name) VALUES ('A'), ('B');
            INSERT INTO visit (code, person_id) VALUES ('1', 1), ('2', 2), ('3', 77), ('4', NULL)""")
        source.script("DELETE FROM person WHERE name = 'B'; UPDATE visit SET code = code || 'x'")
        pipeline.agree()
        assert upstream.sql("SELECT v.code, p.name, person_id IS NULL FROM visit v LEFT JOIN person p ON p.id = person_id ORDER BY 1") == [
            ("1x", "A", False), ("2x", None, False), ("3x", None, False), ("4x", None, True)]  # fmt: skip


@ONE_MIXTURE
@pytest.mark.parametrize("kind", ["bigint", "uuid", "text", "varchar(40)"])
def test_what_is_kept_of_a_row_that_is_gone_tells_it_from_others_whatever_its_ids_are(
    databases: Databases, pair: Pair, kind: str
) -> None:
    both = prepared(databases, pair, "SELECT 1")
    for end in (both.source, both.upstream):
        default = "GENERATED BY DEFAULT AS IDENTITY" if kind == "bigint" else ""
        end.sql(f"CREATE TABLE person (id {kind} PRIMARY KEY {default}, name text NOT NULL UNIQUE)".encode())
        end.sql(f"CREATE TABLE was (no int PRIMARY KEY, name text, person_id {kind} NOT NULL)".encode())
    tables = '[[tables]]\nname = "person"\nkey = ["name"]\n[[tables]]\nname = "was"\nkey = ["no"]\nreferences = {person_id = "person"}'
    one, other = ("1", "2") if kind == "bigint" else (f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2))
    with Pipeline(both.source, both.upstream, tables) as pipeline:
        for identity, name in ((one, "A"), (other, "B")):
            pipeline.source.sql("INSERT INTO person VALUES (%s, %s)", [identity, name])
        pipeline.ship()
        pipeline.source.sql("DELETE FROM person")
        pipeline.source.sql("INSERT INTO was VALUES (1, 'A', %s), (2, 'A', %s), (3, 'B', %s)", [one, one, other])
        pipeline.agree()
        kept = pipeline.upstream.sql(
            "SELECT string_agg(no::text, ' ' ORDER BY no) FROM was GROUP BY person_id ORDER BY 1"
        )
        assert kept == [("1 2",), ("3",)]


NUMBERED = """
CREATE TABLE person (id int PRIMARY KEY, number int NOT NULL UNIQUE, name text NOT NULL UNIQUE);
CREATE TABLE badge (
    id int PRIMARY KEY, label text NOT NULL,
    person_no int NOT NULL REFERENCES person (number) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED, UNIQUE (person_no, label));
"""


@ONE_MIXTURE
def test_a_reference_onto_another_column_than_the_id_means_the_row_with_that_value(
    databases: Databases, pair: Pair
) -> None:
    both = prepared(databases, pair, NUMBERED)
    with Pipeline(
        both.source, both.upstream, '[[tables]]\nname = "person"\nkey = ["name"]\n[[tables]]\nname = "badge"\n'
    ) as pipeline:
        pipeline.source.script("""
            INSERT INTO badge VALUES (1, 'x', 7);
            INSERT INTO person VALUES (1, 7, 'hers'), (7, 1, 'of another')""")
        pipeline.agree()
        assert pipeline.upstream.sql("SELECT name FROM badge JOIN person ON number = person_no") == [("hers",)]
        pipeline.source.sql("INSERT INTO badge VALUES (2, 'x', 1)")
        pipeline.source.script("DELETE FROM person WHERE id = 1; UPDATE person SET name = 'hers' WHERE id = 7")
        pipeline.agree()
        assert pipeline.upstream.sql("SELECT name FROM badge JOIN person ON number = person_no") == [("hers",)]
        assert pipeline.upstream.sql("SELECT conflict FROM dbsync.quarantine") == []
