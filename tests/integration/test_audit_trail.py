"""An audit trail points, by generic references, to rows that are gone: its lines arrive, and mean together what they meant together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import LiteralString

import pytest

from dbsync.capture.backfill import backfill
from dbsync.postgres import connect
from tests.integration.clinic_schema import held
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import SHIFT_SEQUENCES, Pipeline, prepared

pytestmark = ONE_MIXTURE

SCHEMA = """
CREATE TABLE django_content_type (id int PRIMARY KEY, app_label text NOT NULL, model text NOT NULL, UNIQUE (app_label, model));
CREATE TABLE lab_site (id serial PRIMARY KEY, code text NOT NULL UNIQUE);
CREATE TABLE lab_visit (id serial PRIMARY KEY, site_id int NOT NULL REFERENCES lab_site, day date NOT NULL, UNIQUE (site_id, day));
CREATE TABLE lab_scan (visit_ptr_id int PRIMARY KEY REFERENCES lab_visit, film text);
CREATE TABLE lab_box (id serial PRIMARY KEY, label text);
CREATE TABLE lab_tube (id uuid PRIMARY KEY, note text);
CREATE TABLE lab_unit (code text PRIMARY KEY);
CREATE TABLE list_item (id serial PRIMARY KEY, code text NOT NULL UNIQUE);
CREATE TABLE entry (id serial PRIMARY KEY, said text NOT NULL, site_id int REFERENCES lab_site ON DELETE SET NULL,
    content_type_id int NOT NULL REFERENCES django_content_type, object_id text NOT NULL);
CREATE TABLE auditlog_logentry (id serial PRIMARY KEY, content_type_id int NOT NULL REFERENCES django_content_type,
    object_pk varchar(255) NOT NULL, object_id bigint, action smallint NOT NULL);
INSERT INTO django_content_type VALUES (1, 'lab', 'visit'), (2, 'lab', 'box'), (3, 'lab', 'tube'), (4, 'lab', 'unit'), (5, 'list', 'item'),
    (6, 'nobody', 'knows'), (7, 'lab', 'scan'), (8, 'lab', 'site');
"""
TABLES = """
[[tables]]
name = "django_content_type"
mode = "lookup"
[[tables]]
name = "list_item"
mode = "lookup"
[[tables]]
name = "lab_box"
key = "row_id"
[[tables]]
name = "lab_*"
[[tables]]
name = "entry"
key = "row_id"
generic = [{ type = "content_type_id", id = "object_id" }]
[[tables]]
name = "auditlog_logentry"
key = "row_id"
generic = [{ type = "content_type_id", id = "object_id" }, { type = "content_type_id", id = "object_pk" }]
"""
ROWS = """
    INSERT INTO lab_site VALUES (1, 'north');
    INSERT INTO lab_visit VALUES (1, 1, '2026-01-01'), (2, 1, '2026-01-02');
    INSERT INTO lab_scan VALUES (1);
    INSERT INTO lab_box VALUES (1, 'a box'), (2, 'another');
    INSERT INTO lab_tube VALUES ('00000000-0000-4000-8000-000000000001');
    INSERT INTO lab_unit VALUES ('mg')"""
MADE = """
    INSERT INTO entry (said, content_type_id, object_id) VALUES ('made', 1, '1'), ('made', 2, '1'),
        ('made', 3, '00000000-0000-4000-8000-000000000001'), ('made', 4, 'mg'), ('made', 7, '1')"""
GONE = MADE.replace("made", "gone")
DELETE = """
    DELETE FROM lab_scan; DELETE FROM lab_visit WHERE id = 1;
    DELETE FROM lab_box WHERE id = 1; DELETE FROM lab_tube; DELETE FROM lab_unit"""
MEANT = "SELECT content_type_id, array_agg(DISTINCT object_id) FROM entry GROUP BY 1 ORDER BY 1"
LIVING = """
    SELECT FROM entry e WHERE EXISTS (SELECT FROM lab_visit t WHERE e.content_type_id = 1 AND e.object_id = t.id::text)
        OR EXISTS (SELECT FROM lab_box t WHERE e.content_type_id = 2 AND e.object_id = t.id::text)
"""


@pytest.fixture
def lab(databases: Databases, pair: Pair) -> Iterator[Pipeline]:
    """Give two ends with nothing in them yet."""
    both = prepared(databases, pair, SCHEMA)
    both.upstream.script(SHIFT_SEQUENCES)
    with Pipeline(both.source, both.upstream, TABLES) as pipeline:
        yield pipeline


def means_one_row_each(lab: Pipeline, lines: int) -> None:
    """See that all lines are there, that those about one row name one id, and that no living row has it."""
    assert held(lab) == []
    assert lab.upstream.value("SELECT count(*) FROM entry") == lines
    meant: dict[int, list[str]] = dict(lab.upstream.sql(MEANT))
    assert [len(ids) for ids in meant.values()] == [1, 1, 1, 1, 1]
    assert (meant[3], meant[4]) == (["00000000-0000-4000-8000-000000000001"], ["mg"])
    assert lab.upstream.sql(LIVING) == []
    assert not lab.compare().differences


@pytest.mark.parametrize("shipped", ["when it was made", "with its end"])
def test_a_line_that_is_written_with_the_delete_of_its_row_means_the_row_that_was_there(
    lab: Pipeline, shipped: str
) -> None:
    lab.source.script(f"{ROWS}; {MADE}")
    if shipped == "when it was made":
        lab.agree()
    lab.source.script(f"BEGIN; {DELETE}; {GONE}; COMMIT")
    lab.ship()
    assert held(lab) == []
    assert lab.upstream.value("SELECT count(*) FROM entry") == 10
    if shipped == "when it was made":
        means_one_row_each(lab, 10)


def test_a_line_that_says_where_it_was_written_means_another_row(lab: Pipeline) -> None:
    lab.source.script(f"{ROWS}; INSERT INTO lab_site VALUES (2, 'south')")
    lab.agree()
    south = lab.upstream.value("SELECT id::text FROM lab_site WHERE code = 'south'")
    lab.source.script("""
        BEGIN;
        DELETE FROM lab_site WHERE id = 2;
        INSERT INTO entry (said, site_id, content_type_id, object_id) VALUES ('gone', 1, 8, '2');
        COMMIT""")
    lab.ship()
    assert held(lab) == []
    assert lab.upstream.sql("SELECT s.code, e.object_id FROM entry e JOIN lab_site s ON s.id = e.site_id") == [
        ("north", south)
    ]


def test_a_line_that_names_its_row_twice_names_one_row(lab: Pipeline) -> None:
    line = "INSERT INTO auditlog_logentry (content_type_id, object_pk, object_id, action) VALUES (1, '1', 1, {})"
    lab.source.script(f"{ROWS}; {line.format(0)}")
    lab.agree()
    lab.source.script(f"BEGIN; {DELETE}; {line.format(2)}; COMMIT; {line.format(3)}")
    lab.ship()
    assert held(lab) == []
    ids = "SELECT count(DISTINCT object_pk), count(*), bool_and(object_pk = object_id::text) FROM auditlog_logentry"
    assert lab.upstream.sql(ids) == [(1, 3, True)]
    assert not lab.compare().differences


def test_lines_about_rows_that_were_gone_before_them_name_an_id_that_no_living_row_has(lab: Pipeline) -> None:
    lab.source.script(f"{ROWS}; {DELETE}")
    lab.ship()
    lab.source.script(MADE)
    lab.ship()
    lab.source.script(GONE)
    lab.ship()
    means_one_row_each(lab, 10)


def test_a_trail_of_years_is_backfilled(databases: Databases, pair: Pair) -> None:
    both = prepared(databases, pair, SCHEMA)
    both.upstream.script(SHIFT_SEQUENCES)
    both.source.script(f"{ROWS}; {MADE}; {DELETE}; {GONE}")
    with Pipeline(both.source, both.upstream, TABLES) as lab, connect(both.source.dsn, name="source") as session:
        backfill(session, lab.registry, lab.catalog, [t.name for t in lab.registry.shipped()], lambda *_: None)
        lab.ship()
        means_one_row_each(lab, 10)


def test_a_row_that_comes_later_in_its_transaction_is_meant_as_it_is(lab: Pipeline) -> None:
    lab.source.script("""
        BEGIN;
        INSERT INTO entry (said, content_type_id, object_id) VALUES ('v', 1, '7'), ('b', 2, '8');
        INSERT INTO lab_site VALUES (1, 'north');
        INSERT INTO lab_visit VALUES (7, 1, '2026-01-01');
        INSERT INTO lab_box VALUES (8, 'a box');
        COMMIT""")
    lab.agree()
    assert held(lab) == []
    assert lab.upstream.value(f"SELECT count(*) FROM ({LIVING}) l") == 2


def test_a_line_that_is_written_again_once_its_row_is_gone(lab: Pipeline) -> None:
    lab.source.script(f"{ROWS}; {MADE}")
    lab.agree()
    lab.source.script(f"BEGIN; {DELETE}; {GONE}; COMMIT")
    lab.ship()
    lab.source.sql("UPDATE entry SET said = 'read'")
    lab.ship()
    means_one_row_each(lab, 10)
    lab.source.sql("UPDATE entry SET object_id = '2' WHERE said = 'read' AND content_type_id = 1")
    lab.ship()
    assert held(lab) == []
    days = "SELECT DISTINCT t.day::text FROM entry e JOIN lab_visit t ON e.content_type_id = 1 AND e.object_id = t.id::text"
    assert lab.upstream.sql(days) == [("2026-01-02",)]


def test_a_row_that_is_known_by_its_id_is_meant_also_when_another_one_has_it_by_now(lab: Pipeline) -> None:
    lab.source.script(f"{ROWS}; {DELETE}")
    lab.source.script(f"{MADE}; INSERT INTO lab_unit VALUES ('mg')")
    lab.ship()
    assert held(lab) == []
    assert lab.upstream.sql("SELECT object_id FROM entry WHERE content_type_id = 4") == [("mg",)]


def test_gone_rows_are_told_to_a_service_that_may_not_use_the_schema(lab: Pipeline) -> None:
    lab.source.script("""
        CREATE SCHEMA closed; CREATE TABLE closed.lab_unit (code text PRIMARY KEY); DROP TABLE lab_unit;
        REVOKE ALL ON SCHEMA closed FROM PUBLIC""")
    lab.upstream.script("CREATE SCHEMA closed; ALTER TABLE lab_unit SET SCHEMA closed")
    lab.reinstall(TABLES.replace('name = "lab_*"', 'name = "lab_*"\n[[tables]]\nname = "closed.lab_unit"'))
    lab.source.script("INSERT INTO closed.lab_unit VALUES ('mg'); DELETE FROM closed.lab_unit")
    lab.source.sql("INSERT INTO entry (said, content_type_id, object_id) VALUES ('gone', 4, 'mg')")
    with lab.source.connect() as service:
        service.execute("SET ROLE dbsync_replicator")
        assert service.execute("SELECT has_schema_privilege('closed', 'USAGE')").fetchone() == (False,)
        assert lab.reads(service).next_cut(20_000) is not None
    refs = lab.source.value("SELECT refs FROM dbsync.change ORDER BY seq DESC LIMIT 1")
    assert refs[-2] == "closed.lab_unit"
    assert refs[-1].startswith("{mg,")


def test_a_trail_goes_on_to_the_centre(databases: Databases, pair: Pair) -> None:
    first, second = (prepared(databases, pair, SCHEMA) for _ in range(2))
    for upstream in (first.upstream, second.upstream):
        upstream.script(SHIFT_SEQUENCES)
    with (
        Pipeline(first.source, first.upstream, TABLES) as lab,
        Pipeline(first.upstream, second.upstream, TABLES, node="community") as community,
    ):
        lab.source.script(f"{ROWS}; {MADE}")
        lab.ship()
        lab.source.script(f"BEGIN; {DELETE}; {GONE}; COMMIT")
        lab.source.sql("INSERT INTO entry (said, content_type_id, object_id) VALUES ('asked', 1, '1')")
        lab.ship()
        community.ship()
        means_one_row_each(lab, 11)
        means_one_row_each(community, 11)


@pytest.mark.parametrize(
    ("model", "identity"),
    [(1, "no number"), (1, ""), (1, "99999999999999999999"), (3, "no uuid"), (5, "1"), (6, "1")],
    ids=["no number", "empty", "too large", "no uuid", "of a lookup", "model not registered"],
)
def test_what_cannot_be_a_row_that_was_shipped_waits(lab: Pipeline, model: int, identity: str) -> None:
    lab.source.sql("INSERT INTO entry (said, content_type_id, object_id) VALUES ('x', %s, %s)", [model, identity])
    lab.ship()
    assert held(lab) == [("reference_missing", "its object_id pointed to a row whose key the node could not tell")]


@pytest.mark.parametrize("statement", ["DELETE FROM lab_site WHERE id = 2", "UPDATE entry SET site_id = 2"])
def test_it_is_no_hindrance_to_what_else_is_told_of_its_row(lab: Pipeline, statement: LiteralString) -> None:
    lab.source.script(f"{ROWS}; INSERT INTO lab_site VALUES (2, 'south'); {MADE}; UPDATE entry SET site_id = 2")
    lab.agree()
    later = "INSERT INTO lab_site VALUES (3, 'east'); UPDATE entry SET site_id = 3 WHERE said = 'gone'"
    lab.source.script(f"BEGIN; {DELETE}; {statement}; {GONE}; {later}; COMMIT")
    lab.ship()
    means_one_row_each(lab, 10)
    sites = "SELECT e.said, s.code FROM entry e LEFT JOIN lab_site s ON s.id = e.site_id GROUP BY 1, 2 ORDER BY 1, 2"
    assert lab.upstream.sql(sites) == lab.source.sql(sites)
