"""Tables whose rows cannot be without each other: what came in one transaction goes in together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import LiteralString

import pytest

from dbsync.catalog.inspect import inspect
from dbsync.check.circles import of_circles
from dbsync.model.findings import Finding
from tests.integration.clinic_schema import held
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, piped, prepared

pytestmark = ONE_MIXTURE

HOUSEHOLDS: LiteralString = """
CREATE TABLE household (id {kind} PRIMARY KEY, code text NOT NULL UNIQUE, head_id {type} NOT NULL UNIQUE, n int);
CREATE TABLE person (
    id {kind} PRIMARY KEY, name text NOT NULL, age int, household_id {type} NOT NULL REFERENCES household {when}, UNIQUE ({key}));
ALTER TABLE household ADD FOREIGN KEY (head_id) REFERENCES person DEFERRABLE INITIALLY DEFERRED;
CREATE FUNCTION move_in(home text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    its household.id%TYPE := {new_home};
    hers person.id%TYPE := {new_head};
BEGIN
    INSERT INTO household (id, code, head_id) OVERRIDING SYSTEM VALUE VALUES (its, home, hers);
    INSERT INTO person (id, name, household_id) OVERRIDING SYSTEM VALUE VALUES (hers, 'head of ' || home, its);
END $$;
"""
NUMBERS = {
    "kind": "bigint GENERATED ALWAYS AS IDENTITY",
    "type": "bigint",
    "when": "DEFERRABLE INITIALLY DEFERRED",
    "key": "name",
    "known": "",
    "new_home": "nextval(pg_get_serial_sequence('household', 'id'))",
    "new_head": "nextval(pg_get_serial_sequence('person', 'id'))",
}
UUIDS = {
    "kind": "uuid DEFAULT gen_random_uuid()",
    "type": "uuid",
    "new_home": "gen_random_uuid()",
    "new_head": "gen_random_uuid()",
}
SCHEMAS: dict[str, dict[str, str]] = {
    "numbers": NUMBERS,
    "uuids": NUMBERS | UUIDS,
    "a person's home must be there at once": NUMBERS | {"when": ""},
    "a person is known by the home": NUMBERS | {"key": "household_id, name"},
    "a person is known by a UUID of dbsync's": NUMBERS | {"known": 'key = "row_id"'},
}
TABLES = """
[[tables]]
name = "person"
on_conflict = "{rule}"
{known}
[[tables]]
name = "household"
key = ["code"]
on_conflict = "{rule}"
"""
HEADS: LiteralString = """
SELECT h.code, p.name, home.code FROM household h JOIN person p ON p.id = h.head_id JOIN household home ON home.id = p.household_id
ORDER BY 1
"""
MOVE_IN: LiteralString = "SELECT move_in(code) FROM unnest(string_to_array(%s, ' ')) code"

Open = Callable[..., Pipeline]


@pytest.fixture
def opened(pair: Pair, databases: Databases) -> Iterator[Open]:
    """Open a pipeline between two databases without a household."""
    with ExitStack() as stack:

        def of(schema: str = "numbers", rule: str = "source") -> Pipeline:
            words = SCHEMAS[schema]
            tables = TABLES.format(rule=rule, **words)
            return stack.enter_context(piped(databases, pair, HOUSEHOLDS.format(**words), tables))

        yield of


def circles(pipeline: Pipeline) -> list[Finding]:
    """Say what check finds wrong with the circle."""
    with pipeline.upstream.connect() as session:
        return list(of_circles(pipeline.registry, inspect(session)))


def home(*codes: str) -> list[tuple[str, str, str]]:
    return [(code, f"head of {code}", code) for code in codes]


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("size", [1, 20_000])
def test_a_household_and_its_head_go_in_together(opened: Open, schema: str, size: int) -> None:
    clinic = opened(schema)
    clinic.source.sql(MOVE_IN, ["A B"])
    clinic.source.sql(MOVE_IN, ["C"])
    clinic.agree(size)
    assert (clinic.upstream.sql(HEADS), held(clinic)) == (home("A", "B", "C"), [])


@pytest.mark.parametrize("schema", SCHEMAS)
def test_check_has_nothing_to_say_of_them_but_where_nothing_waits_for_the_commit(opened: Open, schema: str) -> None:
    clinic = opened(schema)
    assert circles(clinic) == []
    clinic.upstream.script("""
        ALTER TABLE household ALTER CONSTRAINT household_head_id_fkey NOT DEFERRABLE;
        ALTER TABLE person ALTER CONSTRAINT person_household_id_fkey NOT DEFERRABLE""")
    (found,) = circles(clinic)
    assert found.code == "circle_required"
    clinic.upstream.sql(found.remedy.encode())
    assert circles(clinic) == []
    clinic.source.sql(MOVE_IN, ["A"])
    clinic.agree()


@pytest.mark.parametrize("rule", ["source", "upstream", "quarantine"])
def test_that_is_no_conflict_whatever_the_rule(opened: Open, rule: str) -> None:
    clinic = opened(rule=rule)
    clinic.source.sql(MOVE_IN, ["A B"])
    clinic.agree()
    clinic.source.sql("UPDATE household SET n = 1")
    clinic.source.sql(MOVE_IN, ["C"])
    clinic.agree()
    assert (clinic.upstream.sql(HEADS), held(clinic)) == (home("A", "B", "C"), [])
    assert clinic.upstream.sql("SELECT conflict, columns FROM dbsync.conflict") == []


def test_many_households_at_once(opened: Open) -> None:
    clinic = opened()
    clinic.source.sql("SELECT move_in('H' || i) FROM generate_series(1, 1500) i")
    clinic.agree()
    assert clinic.upstream.value("SELECT count(*) FROM household") == 1500


def test_a_head_that_changes_and_a_family_that_moves_out(opened: Open) -> None:
    clinic = opened()
    clinic.source.sql(MOVE_IN, ["A B"])
    clinic.agree()
    clinic.source.script("""
        UPDATE person SET name = 'the old one' WHERE name = 'head of A';
        INSERT INTO person (name, household_id) SELECT 'head of A', id FROM household WHERE code = 'A';
        UPDATE household SET head_id = (SELECT id FROM person WHERE name = 'head of A') WHERE code = 'A'""")
    clinic.agree()
    assert clinic.upstream.sql(HEADS) == home("A", "B")
    with clinic.source.connect() as session, session.transaction():
        session.execute("DELETE FROM household WHERE code = 'A'")
        session.execute("DELETE FROM person WHERE household_id NOT IN (SELECT id FROM household)")
    clinic.agree()
    assert (clinic.upstream.sql(HEADS), held(clinic)) == (home("B"), [])


def test_what_came_together_waits_together_for_the_one_that_is_refused_and_says_why(opened: Open) -> None:
    clinic = opened()
    clinic.upstream.sql("ALTER TABLE person ADD CONSTRAINT no_b CHECK (name <> 'head of B')")
    clinic.source.sql(MOVE_IN, ["A"])
    clinic.source.sql(MOVE_IN, ["B C"])
    clinic.source.sql(MOVE_IN, ["D"])
    clinic.ship()
    assert clinic.upstream.sql(HEADS) == home("A", "D")
    (why, *others) = clinic.upstream.sql("SELECT conflict, behind, reason FROM dbsync.quarantine ORDER BY id")
    assert why[:2] == ("check_violation", None)
    assert "no_b" in why[2]
    assert [conflict for conflict, *_ in others] == ["waits"] * 3
    clinic.upstream.sql("ALTER TABLE person DROP CONSTRAINT no_b")
    clinic.applier.release()
    assert (clinic.upstream.sql(HEADS), held(clinic)) == (home("A", "B", "C", "D"), [])


@pytest.mark.parametrize("size", [2, 20_000])
def test_edits_that_follow_go_in_with_them_or_after_them(opened: Open, size: int) -> None:
    clinic = opened()
    clinic.source.sql(MOVE_IN, ["A B"])
    clinic.source.sql("UPDATE household SET n = 2")
    clinic.source.sql("UPDATE person SET age = 30")
    clinic.agree(size)
    assert (clinic.upstream.sql(HEADS), held(clinic)) == (home("A", "B"), [])


def test_what_is_upstream_already_stays_the_one_it_is(opened: Open) -> None:
    clinic = opened()
    clinic.upstream.sql(MOVE_IN, ["A B"])
    before = clinic.upstream.sql("SELECT id, code, head_id FROM household ORDER BY 1")
    clinic.source.sql(MOVE_IN, ["A B"])
    clinic.agree()
    assert clinic.upstream.sql("SELECT id, code, head_id FROM household ORDER BY 1") == before
    assert clinic.upstream.sql("SELECT conflict FROM dbsync.conflict") == []


def test_a_tier_passes_them_on(pair: Pair, databases: Databases) -> None:
    first, second = (prepared(databases, pair, HOUSEHOLDS.format(**NUMBERS)) for _ in range(2))
    tables = TABLES.format(rule="source", **NUMBERS)
    with ExitStack() as stack:
        low = stack.enter_context(Pipeline(first.source, second.source, tables))
        high = stack.enter_context(Pipeline(second.source, first.upstream, tables, node="community"))
        low.source.sql(MOVE_IN, ["A B"])
        low.agree()
        high.agree()
        assert (high.upstream.sql(HEADS), held(high)) == (home("A", "B"), [])
