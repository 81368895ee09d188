"""One statement that does several things to one table: what it took a key from loses it before another row has it."""

from __future__ import annotations

from typing import LiteralString

import pytest

from tests.integration.clinic_schema import held
from tests.support.databases import ONE_MIXTURE
from tests.support.pipeline import Pipeline

SUBJECTS = "SELECT identifier, age FROM subject ORDER BY identifier"
MERGE: LiteralString = """
MERGE INTO subject s USING (VALUES {}) v(id, identifier, age) ON s.id = v.id
WHEN MATCHED AND v.age IS NULL THEN DELETE
WHEN MATCHED THEN UPDATE SET identifier = v.identifier, age = v.age
WHEN NOT MATCHED THEN INSERT (id, identifier, age) VALUES (v.id, v.identifier, v.age)
"""


@pytest.mark.parametrize("max_changes", [1, 20_000])
@pytest.mark.parametrize(
    "statement",
    [
        MERGE.format("(1, '', NULL), (91, 'A', 1)"),
        MERGE.format("(1, 'Z', 2), (91, 'A', 1)"),
        MERGE.format("(1, '', NULL), (2, 'A', 2)"),
        MERGE.format("(1, '', NULL), (2, 'A', 2), (91, 'B', 1)"),
        MERGE.format("(1, 'Z', 1), (2, 'A', 2), (3, '', NULL), (91, 'B', 3), (92, 'C', 4)"),
        "WITH gone AS (DELETE FROM subject RETURNING 1) INSERT INTO subject (identifier) SELECT 'B' WHERE EXISTS (SELECT FROM gone)",
    ],
    ids=[
        "new with the key of a deleted", "new with the key of a renamed", "renamed to the key of a deleted",
        "from one to the next", "everything", "with",
    ],
)  # fmt: skip
def test_a_key_goes_from_one_row_to_another_in_one_statement(
    clinic: Pipeline, statement: LiteralString, max_changes: int
) -> None:
    clinic.source.sql("UPDATE visit SET note = 'before'")
    clinic.source.script(f"UPDATE subject SET age = age + 1; {statement}; UPDATE subject SET age = age + 1")
    clinic.agree(max_changes)
    assert clinic.upstream.sql(SUBJECTS) == clinic.source.sql(SUBJECTS)
    assert held(clinic) == []


@ONE_MIXTURE
@pytest.mark.parametrize(
    "statements",
    [
        "INSERT INTO shelf (place, label) VALUES (1, 'new'); DELETE FROM shelf WHERE label = 'one'",
        "INSERT INTO shelf (place, label) VALUES (1, 'new'); UPDATE shelf SET place = 9 WHERE label = 'one'",
        "UPDATE shelf SET place = 2 WHERE label = 'one'; DELETE FROM shelf WHERE label = 'two'",
        "INSERT INTO shelf (place, label) VALUES (3, 'x'); DELETE FROM shelf WHERE place = 3; INSERT INTO shelf (place) VALUES (3)",
    ],
)
def test_a_key_that_two_rows_have_until_the_commit_ends_where_it_belongs(clinic: Pipeline, statements: LiteralString) -> None:
    clinic.source.sql("INSERT INTO shelf (place, label) VALUES (1, 'one'), (2, 'two')")
    clinic.agree()
    clinic.source.script(f"BEGIN; SET CONSTRAINTS ALL DEFERRED; {statements}; COMMIT")
    clinic.agree()
    assert held(clinic) == []
