"""Foreign keys that only say where a column points: PostgreSQL 18 calls them NOT ENFORCED."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.clinic_schema import held
from tests.support.databases import Databases, Pair
from tests.support.pipeline import Pipeline, piped

pytestmark = pytest.mark.parametrize("pair", [(18, 18)], indirect=True, ids=["18->18"])

SCHEMA = """
CREATE TABLE subject (id serial PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE visit (
    id serial PRIMARY KEY, code text NOT NULL UNIQUE, subject_id int REFERENCES subject ON DELETE CASCADE NOT ENFORCED);
"""
VISITS = (
    "SELECT v.code, s.name, v.subject_id IS NULL FROM visit v LEFT JOIN subject s ON s.id = v.subject_id ORDER BY 1"
)


@pytest.fixture
def clinic(pair: Pair, databases: Databases) -> Iterator[Pipeline]:
    with piped(databases, pair, SCHEMA, '[[tables]]\nname = "*"\n') as pipeline:
        pipeline.source.script("""
            INSERT INTO subject (name) VALUES ('A'), ('B');
            INSERT INTO visit (code, subject_id) VALUES ('1', 1), ('2', 2), ('3', 99), ('4', NULL)""")
        yield pipeline


def test_rows_arrive_whose_row_is_not_there(clinic: Pipeline) -> None:
    clinic.agree()
    assert held(clinic) == []
    assert [row[:2] for row in clinic.upstream.sql(VISITS)] == [("1", "A"), ("2", "B"), ("3", None), ("4", None)]


def test_a_row_is_deleted_though_others_point_to_it_for_good(clinic: Pipeline) -> None:
    clinic.agree()
    clinic.source.script("DELETE FROM subject WHERE name = 'A'; UPDATE visit SET code = '1b' WHERE code = '1'")
    clinic.agree()
    assert held(clinic) == []
    assert clinic.upstream.sql("SELECT name FROM subject") == [("B",)]
    assert clinic.upstream.sql(VISITS)[0] == ("1b", None, False)
