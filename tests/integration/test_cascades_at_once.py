"""One statement whose cascades meet the same row more than once: it is changed, and then it goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import LiteralString

import pytest

from dbsync.changelog.compact import compact
from dbsync.postgres import connect
from tests.integration.clinic_schema import held
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import LINK, Pipeline, piped, prepared

pytestmark = ONE_MIXTURE

SCHEMA: LiteralString = """
CREATE TABLE ward (id serial PRIMARY KEY, code text NOT NULL UNIQUE, part_of int REFERENCES ward ON DELETE CASCADE);
CREATE TABLE bed (
    id serial PRIMARY KEY, number int NOT NULL, ward_id int NOT NULL REFERENCES ward ON DELETE CASCADE,
    spare_ward_id int REFERENCES ward ON DELETE SET NULL, UNIQUE (ward_id, number));
INSERT INTO ward (code) VALUES ('A'), ('B'), ('C');
INSERT INTO bed (number, ward_id, spare_ward_id) VALUES (1, 1, 2), (2, 2, 1), (3, 3, 2), (4, 3, 1)
"""
TABLES = """
[[tables]]
name = "ward"
key = ["code"]
[[tables]]
name = "bed"
"""
BOTH: LiteralString = "DELETE FROM ward WHERE code IN ('A', 'B')"


@pytest.fixture
def clinic(pair: Pair, databases: Databases) -> Iterator[Pipeline]:
    with piped(databases, pair, SCHEMA, TABLES) as pipeline:
        yield pipeline


def shipped(clinic: Pipeline, *, compacted: bool = False, max_changes: int = 20_000) -> None:
    """Ship all, and hold that nothing waits and nothing differs."""
    if compacted:
        with connect(clinic.source.dsn, name="source") as session:
            compact(session, LINK)
    clinic.agree(max_changes)
    assert held(clinic) == []


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize(
    "statements",
    [
        BOTH,
        f"UPDATE bed SET number = number + 10; {BOTH}",
        f"INSERT INTO bed (number, ward_id, spare_ward_id) VALUES (7, 1, 2), (8, 2, 1), (9, 3, 2); {BOTH}",
        f"{BOTH}; INSERT INTO ward (code) VALUES ('A'); INSERT INTO bed (number, ward_id) SELECT 1, id FROM ward WHERE code = 'A'",
        f"BEGIN; {BOTH}; COMMIT; BEGIN; INSERT INTO ward (code) VALUES ('B'); UPDATE bed SET number = 5 WHERE number = 3; COMMIT",
    ],
    ids=["before", "renamed", "new", "again", "later"],
)
def test_a_bed_that_loses_its_spare_ward_in_the_statement_that_deletes_it_is_gone(
    clinic: Pipeline, statements: LiteralString, compacted: bool
) -> None:
    clinic.source.script(statements)
    shipped(clinic, compacted=compacted)


@pytest.mark.parametrize("compacted", [False, True])
def test_so_is_a_bed_that_was_made_and_lost_before_anything_was_shipped(clinic: Pipeline, compacted: bool) -> None:
    clinic.source.script("INSERT INTO ward (id, code) VALUES (91, 'Y'), (92, 'Z')")
    clinic.source.script("INSERT INTO bed (number, ward_id, spare_ward_id) VALUES (1, 91, 92), (2, 92, 91)")
    clinic.source.script("DELETE FROM ward WHERE id > 90")
    shipped(clinic, compacted=compacted)


@pytest.mark.parametrize("compacted", [False, True])
def test_a_ward_that_takes_its_successor_along_is_gone(clinic: Pipeline, compacted: bool) -> None:
    clinic.source.sql("""
        WITH gone AS (DELETE FROM ward WHERE code = 'C' RETURNING *)
        INSERT INTO ward (code, part_of) SELECT code, id FROM gone""")
    assert clinic.source.value("SELECT count(*) FROM ward WHERE code = 'C'") == 0
    shipped(clinic, compacted=compacted)


@pytest.mark.parametrize("compacted", [False, True])
def test_one_with_its_predecessors_key_is_the_new_one(clinic: Pipeline, compacted: bool) -> None:
    clinic.source.script("UPDATE ward SET part_of = 2 WHERE code = 'C'; UPDATE bed SET number = 6 WHERE number = 3")
    clinic.source.script("""
        WITH gone AS (DELETE FROM ward WHERE code = 'C' RETURNING *) INSERT INTO ward (code, part_of) SELECT code, 1 FROM gone;
        INSERT INTO bed (number, ward_id) SELECT 3, id FROM ward WHERE code = 'C'""")
    clinic.source.script("UPDATE ward SET part_of = NULL WHERE code = 'C'; DELETE FROM bed WHERE number = 1")
    shipped(clinic, compacted=compacted)


@pytest.mark.parametrize("rule", ["row", "transaction", "stop"])
@pytest.mark.parametrize(
    "statements",
    [
        "DELETE FROM ward WHERE code = 'A'; UPDATE ward SET code = 'A' WHERE code = 'B'",
        "DELETE FROM ward WHERE code = 'A'; UPDATE ward SET code = 'A' WHERE code = 'B'; INSERT INTO bed (number, ward_id) VALUES (1, 2)",
        """DELETE FROM ward WHERE code = 'A';
           WITH emptied AS (DELETE FROM bed WHERE ward_id = 2) UPDATE ward SET code = 'A' WHERE code = 'B'""",
        """DELETE FROM ward WHERE code = 'A';
           WITH filled AS (INSERT INTO bed (number, ward_id) VALUES (9, 2)) UPDATE ward SET code = 'A' WHERE code = 'B'""",
    ],
    ids=["named", "and a bed of the same number", "and emptied", "and filled"],
)
def test_another_ward_gets_the_name_of_one_that_took_its_beds_along(
    clinic: Pipeline, statements: LiteralString, rule: str
) -> None:
    clinic.reinstall(TABLES.replace("name =", f'on_error = "{rule}"\nname ='))
    clinic.restart()
    with clinic.source.connect() as session, session.transaction():
        for statement in statements.split(";"):
            session.execute(statement)
    shipped(clinic)


@pytest.mark.parametrize("rule", ["row", "transaction"])
def test_a_row_gets_the_primary_key_of_one_that_was_deleted(pair: Pair, databases: Databases, rule: str) -> None:
    script: LiteralString = """
        CREATE TABLE drug (code text PRIMARY KEY, like_code text REFERENCES drug ON DELETE CASCADE);
        INSERT INTO drug VALUES ('a', NULL), ('b', 'b'), ('c', 'b')"""
    both = prepared(databases, pair, script)
    table = f'[[tables]]\nname = "drug"\nkey = ["code"]\non_error = "{rule}"'
    with Pipeline(both.source, both.upstream, table) as pharmacy:
        pharmacy.source.script("DELETE FROM drug WHERE code = 'b'; UPDATE drug SET code = 'b' WHERE code = 'a'")
        shipped(pharmacy)


@pytest.mark.parametrize("rule", ["row", "transaction"])
def test_what_goes_goes_before_a_rename_of_rows_that_refer_to_such_rows(
    pair: Pair, databases: Databases, rule: str
) -> None:
    script: LiteralString = """
        CREATE TABLE ward (id serial PRIMARY KEY, code text NOT NULL UNIQUE, tool_id int);
        CREATE TABLE porter (name text PRIMARY KEY, ward_id int NOT NULL REFERENCES ward ON DELETE CASCADE, home_id int REFERENCES ward);
        CREATE TABLE tool (id serial PRIMARY KEY, name text NOT NULL UNIQUE, porter text NOT NULL REFERENCES porter ON DELETE CASCADE);
        ALTER TABLE ward ADD FOREIGN KEY (tool_id) REFERENCES tool ON DELETE SET NULL"""
    both = prepared(databases, pair, script)
    tables = "\n".join(
        f'[[tables]]\nname = "{name}"\nkey = ["{key}"]\non_error = "{rule}"'
        for name, key in {"ward": "code", "porter": "name", "tool": "name"}.items()
    )
    with Pipeline(both.source, both.upstream, tables) as clinic:
        clinic.source.script("INSERT INTO ward (code) VALUES ('A'), ('B'), ('C')")
        clinic.source.script("INSERT INTO porter VALUES ('Jo', 1, 3); UPDATE porter SET name = 'Joe'")
        clinic.source.script("""
            INSERT INTO tool (name, porter) VALUES ('mop', 'Joe');
            DELETE FROM ward WHERE code = 'A'; UPDATE ward SET code = 'A' WHERE code = 'B'""")
        shipped(clinic)


@pytest.mark.parametrize("first", [True, False], ids=["altered before", "altered afterwards"])
def test_a_row_goes_with_those_that_it_leaves_behind_though_their_table_is_altered(
    clinic: Pipeline, *, first: bool
) -> None:
    clinic.source.sql("INSERT INTO bed (number, ward_id, spare_ward_id) VALUES (5, 3, 1)")
    statements = ["DELETE FROM ward WHERE code = 'A'; INSERT INTO ward (code) VALUES ('A')"]
    statements.insert(0 if first else 1, "ALTER TABLE bed ADD note text")
    clinic.upstream.sql("ALTER TABLE bed ADD note text")
    for statement in statements:
        clinic.source.script(statement)
    clinic.source.sql("INSERT INTO bed (number, ward_id, note) VALUES (6, 3, 'at the window')")
    shipped(clinic)


def test_a_transaction_that_alters_a_table_is_told_in_its_order(clinic: Pipeline) -> None:
    clinic.upstream.sql("ALTER TABLE bed ADD note text")
    clinic.source.script("""
        UPDATE bed SET number = number + 10;
        ALTER TABLE bed ADD note text;
        UPDATE bed SET number = number - 9, note = 'moved';
        DELETE FROM ward WHERE code = 'A'""")
    clinic.source.sql("UPDATE bed SET note = 'since'")
    shipped(clinic)
