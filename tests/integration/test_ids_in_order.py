"""Rows that are new upstream get ids in the order in which they were entered: applications list them so."""

from __future__ import annotations

import pytest

from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import SHIFT_SEQUENCES, Pipeline, prepared

pytestmark = ONE_MIXTURE

SCHEMA = """
CREATE TABLE subject (id serial PRIMARY KEY, code text NOT NULL UNIQUE, place int, mother_id int REFERENCES subject);
CREATE TABLE visit (id serial PRIMARY KEY, subject_id int NOT NULL REFERENCES subject, place int NOT NULL, UNIQUE (subject_id, place));
CREATE TABLE note (id serial PRIMARY KEY, subject_id int REFERENCES subject, place int);
"""
TABLES = """
[[tables]]
name = "subject"
[[tables]]
name = "visit"
[[tables]]
name = "note"
key = "row_id"
"""
ROWS = """
    INSERT INTO subject (code, place, mother_id) SELECT md5(n::text), n, nullif(n - 1, 0) FROM generate_series(1, {0}) n;
    INSERT INTO visit (subject_id, place) SELECT 1 + (n * 7919) % {0}, n FROM generate_series(1, {0}) n;
    INSERT INTO note (subject_id, place) SELECT 1 + (n * 7919) % {0}, n FROM generate_series(1, {0}) n;
    UPDATE subject SET mother_id = NULL WHERE id % 7 = 0"""


@pytest.mark.parametrize("rows", [30, 300, 3_000])
def test_new_rows_have_ids_in_the_order_in_which_they_were_entered(databases: Databases, pair: Pair, rows: int) -> None:
    both = prepared(databases, pair, SCHEMA)
    both.upstream.script(SHIFT_SEQUENCES)
    with Pipeline(both.source, both.upstream, TABLES) as clinic:
        clinic.source.script(ROWS.format(rows))
        clinic.agree()
        for table in ("subject", "visit", "note"):
            places = clinic.upstream.sql(f"SELECT place FROM {table} ORDER BY id".encode())
            assert [place for (place,) in places] == list(range(1, rows + 1)), table
