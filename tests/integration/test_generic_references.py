"""Generic references: content type and object id mean the same row upstream, or the change waits; never NULL in silence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.clinic_schema import held
from tests.integration.people import person
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, prepared

pytestmark = ONE_MIXTURE

SCHEMA = """
CREATE TABLE django_content_type (id int PRIMARY KEY, app_label text NOT NULL, model text NOT NULL, UNIQUE (app_label, model));
CREATE TABLE sites_region (id serial PRIMARY KEY, code text NOT NULL UNIQUE);
CREATE TABLE sites_site (id serial PRIMARY KEY, region_id int NOT NULL REFERENCES sites_region, domain text NOT NULL,
    UNIQUE (region_id, domain));
CREATE TABLE lab_box (id serial PRIMARY KEY, label text);
CREATE TABLE other_thing (id serial PRIMARY KEY, code text NOT NULL UNIQUE);
CREATE TABLE mark (id serial PRIMARY KEY, code text NOT NULL UNIQUE, note text,
    content_type_id int REFERENCES django_content_type, object_id text);
CREATE TABLE stamp (id serial PRIMARY KEY, code text NOT NULL UNIQUE,
    content_type_id int NOT NULL REFERENCES django_content_type, object_id int NOT NULL);
CREATE TABLE lab_remark (id serial PRIMARY KEY, code text NOT NULL UNIQUE,
    content_type_id int REFERENCES django_content_type, object_id int);
CREATE TABLE lab_sheet (id serial PRIMARY KEY, code text NOT NULL UNIQUE, note text,
    content_type_id int REFERENCES django_content_type, object_id int);
CREATE TABLE lab_case (id serial PRIMARY KEY, code text NOT NULL UNIQUE, sheet_id int REFERENCES lab_sheet DEFERRABLE INITIALLY DEFERRED);
INSERT INTO django_content_type VALUES (1, 'sites', 'site'), (2, 'lab', 'box'), (3, 'other', 'thing'), (4, 'lab', 'remark'),
    (5, 'lab', 'case');
INSERT INTO sites_region VALUES (1, 'north');
"""
GENERIC = 'generic = [{ type = "content_type_id", id = "object_id" }]'
TABLES = f"""
[[tables]]
name = "django_content_type"
mode = "lookup"
[[tables]]
name = "sites_region"
mode = "lookup"
[[tables]]
name = "sites_site"
mode = "lookup"
[[tables]]
name = "lab_box"
key = "row_id"
[[tables]]
name = "lab_remark"
{GENERIC}
[[tables]]
name = "lab_sheet"
{GENERIC}
[[tables]]
name = "lab_case"
[[tables]]
name = "mark"
{GENERIC}
[[tables]]
name = "stamp"
{GENERIC}
"""
MARKS = """
    SELECT m.code, s.domain FROM mark m JOIN sites_site s ON s.id::text = m.object_id WHERE m.content_type_id = 1
    UNION ALL SELECT m.code, b.label FROM mark m JOIN lab_box b ON b.id::text = m.object_id WHERE m.content_type_id = 2
    UNION ALL SELECT m.code, s.domain FROM stamp m JOIN sites_site s ON s.id = m.object_id ORDER BY 1
"""
UNTOLD = ("reference_missing", "its object_id pointed to a row whose key the node could not tell")


@pytest.fixture
def clinic(databases: Databases, pair: Pair) -> Iterator[Pipeline]:
    """Give two ends whose sites have the same keys and each other's numbers."""
    both = prepared(databases, pair, SCHEMA)
    both.source.sql("INSERT INTO sites_site VALUES (1, 1, 'x'), (2, 1, 'y')")
    both.upstream.sql("INSERT INTO sites_site VALUES (1, 1, 'y'), (2, 1, 'x')")
    with Pipeline(both.source, both.upstream, TABLES) as pipeline:
        yield pipeline


def test_one_to_a_lookup_means_the_same_row_upstream(clinic: Pipeline) -> None:
    clinic.source.script("""
        INSERT INTO lab_box (label) VALUES ('a box');
        INSERT INTO mark (code, content_type_id, object_id) VALUES ('a', 1, '1'), ('b', 1, '2'), ('c', 2, '1');
        INSERT INTO stamp (code, content_type_id, object_id) VALUES ('d', 1, 2);
        UPDATE mark SET object_id = '2' WHERE code = 'a'""")
    clinic.agree()
    assert held(clinic) == []
    assert clinic.upstream.sql(MARKS) == [("a", "y"), ("b", "y"), ("c", "a box"), ("d", "y")]


@pytest.mark.parametrize(
    ("model", "identity"),
    [("1", "99"), ("1", "no number"), ("1", ""), ("3", "1"), (None, "1")],
    ids=["nobody", "no number", "empty", "model not registered", "no model"],
)
def test_one_to_a_row_that_cannot_be_told_waits_and_all_else_passes(
    clinic: Pipeline, model: str | None, identity: str
) -> None:
    clinic.source.sql("INSERT INTO other_thing VALUES (1, 'a thing')")
    clinic.source.sql("INSERT INTO mark (code, content_type_id, object_id) VALUES ('a', 1, '1'), ('none', 1, NULL)")
    clinic.source.sql("INSERT INTO mark (code, content_type_id, object_id) VALUES ('b', %s, %s)", [model, identity])
    clinic.ship()
    assert held(clinic) == [UNTOLD]
    assert clinic.upstream.sql("SELECT code, object_id FROM mark ORDER BY 1") == [("a", "2"), ("none", None)]


def test_one_that_comes_to_point_nowhere_waits(clinic: Pipeline) -> None:
    clinic.source.sql("INSERT INTO mark (code, content_type_id, object_id) VALUES ('a', 1, '1')")
    clinic.agree()
    clinic.source.sql("UPDATE mark SET object_id = '99'")
    clinic.ship()
    assert held(clinic) == [UNTOLD]
    assert clinic.upstream.sql(MARKS) == [("a", "x")]


def test_one_whose_row_is_gone_stays_as_it_is_while_the_rest_of_its_row_changes(clinic: Pipeline) -> None:
    clinic.source.sql("INSERT INTO mark (code, content_type_id, object_id) VALUES ('a', 1, '1')")
    clinic.agree()
    clinic.source.script("DELETE FROM sites_site WHERE id = 1; UPDATE mark SET note = 'later'")
    clinic.ship()
    assert held(clinic) == []
    assert clinic.upstream.sql("SELECT note, object_id FROM mark") == [("later", "2")]


@pytest.mark.parametrize("rule", ["row", "transaction"])
def test_remarks_on_remarks_arrive_together(clinic: Pipeline, rule: str) -> None:
    clinic.reinstall(TABLES.replace('name = "lab_remark"', f'name = "lab_remark"\non_error = "{rule}"'))
    clinic.restart()
    clinic.upstream.sql("SELECT setval('lab_remark_id_seq', 500)")
    clinic.source.script("""
        BEGIN;
        INSERT INTO lab_remark (code) VALUES ('first'), ('other');
        INSERT INTO lab_remark (code, content_type_id, object_id) VALUES ('z', 4, 1), ('b', 4, 2);
        INSERT INTO lab_remark (code, content_type_id, object_id) VALUES ('a', 4, 3);
        INSERT INTO mark (code, content_type_id, object_id) VALUES ('on it', 4, '5');
        COMMIT""")
    clinic.agree()
    assert clinic.upstream.sql("SELECT FROM dbsync.quarantine WHERE state = 'waiting'") == []
    remarks = "SELECT r.code, o.code FROM lab_remark r LEFT JOIN lab_remark o ON o.id = r.object_id ORDER BY 1"
    assert clinic.upstream.sql(remarks) == [
        ("a", "z"),
        ("b", "other"),
        ("first", None),
        ("other", None),
        ("z", "first"),
    ]


@pytest.mark.parametrize("rule", ["row", "transaction"])
@pytest.mark.parametrize("at_once", [True, False], ids=["one transaction", "several"])
@pytest.mark.parametrize("then", ["stays", "goes", "its key is given on"])
def test_a_remark_on_one_that_is_renamed_before_both_are_shipped_arrives(
    clinic: Pipeline, rule: str, at_once: bool, then: str
) -> None:
    clinic.reinstall(TABLES.replace('name = "lab_remark"', f'name = "lab_remark"\non_error = "{rule}"'))
    clinic.restart()
    clinic.upstream.sql("SELECT setval('lab_remark_id_seq', 500)")
    statements = [
        "INSERT INTO lab_remark (code) VALUES ('first'), ('other')",
        "INSERT INTO lab_remark (code, content_type_id, object_id) VALUES ('on first', 4, 1), ('on other', 4, 2)",
        "UPDATE lab_remark SET code = 'renamed' WHERE code = 'first'",
        "INSERT INTO lab_remark (code, content_type_id, object_id) VALUES ('on renamed', 4, 1)",
        *{
            "stays": [],
            "goes": ["DELETE FROM lab_remark WHERE code IN ('renamed', 'on first')"],
            "its key is given on": [
                "DELETE FROM lab_remark WHERE code = 'other'",
                "UPDATE lab_remark SET code = 'other' WHERE code = 'renamed'",
            ],
        }[then],
    ]
    for script in [";".join(statements)] if at_once else statements:
        clinic.source.script(script)
    clinic.ship()
    assert held(clinic) == []
    remarks = "SELECT r.code, o.code FROM lab_remark r LEFT JOIN lab_remark o ON o.id = r.object_id ORDER BY 1"
    assert clinic.upstream.sql(remarks) == clinic.source.sql(remarks)


def test_a_transaction_of_remarks_that_was_refused_goes_in_once_it_may(clinic: Pipeline) -> None:
    clinic.reinstall(TABLES.replace('name = "lab_remark"', 'name = "lab_remark"\non_error = "transaction"'))
    clinic.restart()
    clinic.upstream.sql("ALTER TABLE lab_remark ADD CONSTRAINT no_x CHECK (code <> 'x')")
    clinic.source.script("""
        BEGIN;
        INSERT INTO lab_remark (code) VALUES ('first'), ('x');
        INSERT INTO lab_remark (code, content_type_id, object_id) VALUES ('on it', 4, 1);
        UPDATE lab_remark SET content_type_id = 4, object_id = 3 WHERE code = 'x';
        COMMIT""")
    clinic.ship()
    assert clinic.upstream.sql("SELECT FROM lab_remark") == []
    clinic.upstream.sql("ALTER TABLE lab_remark DROP CONSTRAINT no_x")
    clinic.applier.release()
    remarks = "SELECT r.code, o.code FROM lab_remark r LEFT JOIN lab_remark o ON o.id = r.object_id ORDER BY 1"
    assert clinic.upstream.sql(remarks) == [("first", None), ("on it", "first"), ("x", "on it")]
    assert held(clinic) == []


SHEETS = """
    SELECT c.code, s.code, o.code FROM lab_case c LEFT JOIN lab_sheet s ON s.id = c.sheet_id
    LEFT JOIN lab_case o ON s.content_type_id = 5 AND o.id = s.object_id ORDER BY 1
"""


@pytest.mark.parametrize("sheet", ["may be null", "must be set"])
@pytest.mark.parametrize("case", ["may be null", "must be set"])
def test_rows_that_need_each_other_by_a_foreign_key_and_by_one_arrive_together(
    clinic: Pipeline, sheet: str, case: str
) -> None:
    for side in (clinic.source, clinic.upstream):
        if sheet == "must be set":
            side.sql("ALTER TABLE lab_sheet ALTER object_id SET NOT NULL")
        if case == "must be set":
            side.sql("ALTER TABLE lab_case ALTER sheet_id SET NOT NULL")
    clinic.reinstall(TABLES)
    clinic.restart()
    clinic.upstream.script("SELECT setval('lab_sheet_id_seq', 500); SELECT setval('lab_case_id_seq', 700)")
    clinic.source.script("""
        INSERT INTO lab_case (code, sheet_id) VALUES ('a', 1), ('b', 2);
        INSERT INTO lab_sheet (code, content_type_id, object_id) VALUES ('x', 5, 1), ('y', 5, 2)""")
    clinic.agree()
    assert (clinic.upstream.sql(SHEETS), held(clinic)) == ([("a", "x", "a"), ("b", "y", "b")], [])
    clinic.source.script("""
        UPDATE lab_sheet SET object_id = 3 - object_id, note = 'swapped';
        INSERT INTO lab_case (code, sheet_id) VALUES ('c', 3);
        INSERT INTO lab_sheet (code, content_type_id, object_id) VALUES ('z', 5, 3);
        UPDATE lab_case SET sheet_id = 3 WHERE code = 'b'""")
    clinic.agree()
    assert held(clinic) == []
    assert clinic.upstream.sql(SHEETS) == [("a", "x", "b"), ("b", "z", "c"), ("c", "z", "c")]
    assert clinic.upstream.sql("SELECT conflict FROM dbsync.conflict") == []


@pytest.mark.parametrize("rule", ["source", "upstream", "quarantine"])
def test_a_case_its_sheet_and_the_way_back_arrive_as_an_application_makes_them(clinic: Pipeline, rule: str) -> None:
    clinic.reinstall(TABLES.replace('name = "lab_', f'on_conflict = "{rule}"\nname = "lab_'))
    clinic.restart()
    clinic.upstream.script("SELECT setval('lab_sheet_id_seq', 500); SELECT setval('lab_case_id_seq', 700)")
    clinic.source.script("""
        INSERT INTO lab_case (code) VALUES ('a');
        INSERT INTO lab_sheet (code, content_type_id, object_id) VALUES ('x', 5, 1);
        UPDATE lab_case SET sheet_id = 1""")
    clinic.agree()
    assert (clinic.upstream.sql(SHEETS), held(clinic)) == ([("a", "x", "a")], [])
    assert clinic.upstream.sql("SELECT conflict FROM dbsync.conflict") == []


def test_a_sheet_whose_case_is_refused_waits_for_it(clinic: Pipeline) -> None:
    clinic.upstream.sql("ALTER TABLE lab_case ADD CONSTRAINT no_a CHECK (code <> 'a')")
    clinic.source.script("""
        INSERT INTO lab_case (code) VALUES ('a'), ('b');
        INSERT INTO lab_sheet (code, content_type_id, object_id) VALUES ('x', 5, 1), ('y', 5, 2);
        UPDATE lab_case SET sheet_id = id""")
    clinic.ship()
    assert clinic.upstream.sql("SELECT code FROM lab_sheet") == [("y",)]
    clinic.upstream.sql("ALTER TABLE lab_case DROP CONSTRAINT no_a")
    clinic.applier.release()
    assert (clinic.upstream.sql(SHEETS), held(clinic)) == ([("a", "x", "a"), ("b", "y", "b")], [])


def test_an_installation_of_before_finds_rows_of_lookups_after_the_next_install_triggers(
    clinic: Pipeline, tmp_path: Path
) -> None:
    clinic.source.sql(
        "UPDATE dbsync.relation SET key_query = '', key_tree = NULL, key_width = NULL WHERE mode = 'lookup'"
    )
    clinic.source.sql("INSERT INTO mark (code, content_type_id, object_id) VALUES ('a', 1, '1')")
    clinic.ship()
    assert held(clinic) == [UNTOLD]
    number = str(clinic.upstream.value("SELECT id FROM dbsync.quarantine"))
    dba = person(clinic, tmp_path, TABLES)
    assert "dbsync install-triggers, dbsync resend mark --key a " in dba.must("quarantine", "show", number).out
    dba.must("install-triggers")
    dba.must("resend", "mark", "--key", "a")
    clinic.ship()
    assert held(clinic) == []
    assert clinic.upstream.sql(MARKS) == [("a", "x")]


def test_one_to_a_table_that_was_shipped_before_and_is_a_lookup_now_means_the_same_row_upstream(
    clinic: Pipeline, tmp_path: Path
) -> None:
    lookup = '[[tables]]\nname = "sites_site"\nmode = "lookup"\n'
    assert lookup in TABLES
    dba = person(clinic, tmp_path, TABLES.replace(lookup, '[[tables]]\nname = "sites_site"\n'))
    dba.must("install-triggers")
    person(clinic, tmp_path, TABLES).must("install-triggers")
    clinic.source.sql("INSERT INTO mark (code, content_type_id, object_id) VALUES ('a', 1, '1')")
    clinic.ship()
    assert held(clinic) == []
    assert clinic.upstream.sql(MARKS) == [("a", "x")]


MANY = 60


def test_one_that_may_point_into_very_many_tables_arrives(databases: Databases, pair: Pair) -> None:
    names = [f"k{place}" for place in range(30)]
    columns = ", ".join(f"{name} int NOT NULL DEFAULT 0" for name in names)
    tables = [
        f"CREATE TABLE many_t{n} (id serial PRIMARY KEY, {columns}, UNIQUE ({', '.join(names)}))" for n in range(MANY)
    ]
    both = prepared(
        databases,
        pair,
        f"""
        CREATE TABLE django_content_type (id int PRIMARY KEY, app_label text NOT NULL, model text NOT NULL, UNIQUE (app_label, model));
        INSERT INTO django_content_type SELECT n, 'many', 't' || n FROM generate_series(0, {MANY - 1}) n;
        {"; ".join(tables)};
        CREATE TABLE mark (id serial PRIMARY KEY, code text NOT NULL UNIQUE, note text,
            content_type_id int REFERENCES django_content_type, object_id int);""",
    )
    rule = f'[[tables]]\nname = "mark"\non_conflict = "quarantine"\n{GENERIC}\n[[tables]]\nname = "many_*"\n'
    with Pipeline(
        both.source, both.upstream, f'[[tables]]\nname = "django_content_type"\nmode = "lookup"\n{rule}'
    ) as clinic:
        clinic.source.script("""
            INSERT INTO many_t7 (k1) VALUES (5); INSERT INTO many_t8 (k2) VALUES (6);
            INSERT INTO mark (code, content_type_id, object_id) VALUES ('a', 7, 1), ('b', 8, 1), ('c', NULL, NULL)""")
        clinic.agree()
        clinic.source.script(
            "UPDATE mark SET content_type_id = 7, note = 'x' WHERE code = 'b'; DELETE FROM mark WHERE code = 'a'"
        )
        clinic.agree()
        assert held(clinic) == []
        clinic.upstream.sql("UPDATE mark SET note = 'y' WHERE code = 'b'")
        clinic.source.sql("UPDATE mark SET note = 'z' WHERE code = 'b'")
        clinic.ship()
        assert [conflict for conflict, _ in held(clinic)] == ["update_origin_differs"]
        assert clinic.upstream.sql("SELECT columns FROM dbsync.conflict") == [(["note"],)]
