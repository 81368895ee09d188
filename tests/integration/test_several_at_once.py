"""One statement that does several things to one table: what it took a key from loses it before another row has it."""

from __future__ import annotations

from typing import LiteralString

import pytest

from tests.integration.clinic_schema import held
from tests.support.databases import ONE_MIXTURE
from tests.support.pipeline import Pipeline

MERGE: LiteralString = """
MERGE INTO {table} t USING (VALUES {rows}) v(id, key, value) ON t.id = v.id
WHEN MATCHED AND v.value IS NULL THEN DELETE
WHEN MATCHED THEN UPDATE SET {key} = v.key, {value} = v.value
WHEN NOT MATCHED THEN INSERT (id, {key}, {value}) VALUES (v.id, v.key, v.value)
"""


@pytest.mark.parametrize("max_changes", [1, 20_000])
@pytest.mark.parametrize(
    "rows",
    [
        "(1, '', NULL), (91, 'A', 'x')",
        "(1, 'Z', 'y'), (91, 'A', 'x')",
        "(1, '', NULL), (2, 'A', 'y')",
        "(1, '', NULL), (2, 'A', 'y'), (91, 'B', 'x')",
        "(1, 'Z', 'x'), (2, 'A', 'y'), (3, '', NULL), (91, 'B', 'z'), (92, 'C', 'w')",
    ],
    ids=["new for deleted", "new for renamed", "renamed for deleted", "from one to the next", "everything"],
)
def test_a_key_goes_from_one_row_to_another_within_a_merge(
    clinic: Pipeline, rows: LiteralString, max_changes: int
) -> None:
    clinic.source.script(
        "DELETE FROM subject; DELETE FROM site; INSERT INTO site VALUES (1, 'A', 'a'), (2, 'B', 'b'), (3, 'C', 'c')"
    )
    clinic.agree()
    merge = MERGE.format(table="site", rows=rows, key="code", value="name")
    clinic.source.script(f"UPDATE site SET name = 'before'; {merge}; UPDATE site SET name = name || '!'")
    clinic.agree(max_changes)
    assert held(clinic) == []


@pytest.mark.parametrize(
    "statement",
    [
        MERGE.format(table="subject", rows="(1, '', NULL::int), (91, 'A', 1)", key="identifier", value="age"),
        "WITH gone AS (DELETE FROM subject RETURNING 1) INSERT INTO subject (identifier) SELECT 'A' WHERE EXISTS (SELECT FROM gone)",
    ],
    ids=["merge", "with"],
)
def test_a_new_row_has_the_key_of_one_that_took_its_children_along(clinic: Pipeline, statement: LiteralString) -> None:
    clinic.source.sql(statement)
    clinic.agree()
    assert held(clinic) == []
    assert clinic.upstream.value("SELECT count(*) FROM subject WHERE identifier = 'A'") == 1


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
def test_a_key_that_two_rows_have_until_the_commit_ends_where_it_belongs(
    clinic: Pipeline, statements: LiteralString
) -> None:
    clinic.source.sql("INSERT INTO shelf (place, label) VALUES (1, 'one'), (2, 'two')")
    clinic.agree()
    clinic.source.script(f"BEGIN; SET CONSTRAINTS ALL DEFERRED; {statements}; COMMIT")
    clinic.agree()
    assert held(clinic) == []


@pytest.mark.parametrize(
    "statements",
    [
        """
        INSERT INTO visit (subject_id, code) VALUES (1, 'V');
        UPDATE subject SET identifier = 'C' WHERE id = 1;
        UPDATE subject SET identifier = 'A' WHERE id = 2;
        DELETE FROM visit WHERE subject_id = 2
        """,
        """
        UPDATE visit SET subject_id = 1 WHERE subject_id = 2;
        UPDATE subject SET identifier = 'C' WHERE id = 1;
        UPDATE subject SET identifier = 'A' WHERE id = 2;
        INSERT INTO visit (subject_id, code) VALUES (2, 'V');
        DELETE FROM visit WHERE subject_id = 1
        """,
        """
        INSERT INTO visit (subject_id, code) VALUES (1, 'V');
        UPDATE subject SET identifier = 'C' WHERE id = 1;
        UPDATE subject SET identifier = 'A' WHERE id = 2;
        UPDATE visit SET code = 'W' WHERE subject_id = 2
        """,
    ],
    ids=["deleted", "moved", "renamed"],
)
@ONE_MIXTURE
@pytest.mark.parametrize("max_changes", [1, 20_000])
def test_a_key_through_a_row_that_is_renamed_meanwhile_is_another_one(
    clinic: Pipeline, statements: LiteralString, max_changes: int
) -> None:
    clinic.source.script("""
        DELETE FROM subject;
        INSERT INTO subject (id, identifier) VALUES (1, 'A'), (2, 'B');
        INSERT INTO visit (subject_id, code, note) VALUES (2, 'V', 'of B')""")
    clinic.agree()
    clinic.source.script(f"BEGIN; {statements}; COMMIT")
    clinic.agree(max_changes)
    assert held(clinic) == []
