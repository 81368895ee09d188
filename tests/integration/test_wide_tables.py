"""Forms with hundreds of questions, each in a column of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.integration.clinic_schema import held
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, prepared

pytestmark = ONE_MIXTURE

SCHEMA = """
CREATE TABLE site (id serial PRIMARY KEY, code text NOT NULL UNIQUE);
CREATE TABLE form (id serial PRIMARY KEY, code text NOT NULL UNIQUE, site_id int REFERENCES site);
"""
TABLES = """
[[tables]]
name = "site"
[[tables]]
name = "form"
on_conflict = "{rule}"
"""
WIDEN = "DO $$BEGIN FOR i IN 1..{0} LOOP EXECUTE format('ALTER TABLE form ADD COLUMN q%s text', i); END LOOP; END$$"

Open = Callable[..., Pipeline]


@pytest.fixture
def opened(pair: Pair, databases: Databases) -> Iterator[Open]:
    """Open a pipeline whose forms have so many questions."""
    both = prepared(databases, pair, SCHEMA)
    with ExitStack() as stack:

        def of(questions: int, rule: str = "source") -> Pipeline:
            for side in (both.source, both.upstream):
                side.sql(WIDEN.format(questions).encode())
            return stack.enter_context(Pipeline(both.source, both.upstream, TABLES.format(rule=rule)))

        yield of


@pytest.mark.parametrize("many", [3, 1200])
def test_forms_arrive_are_changed_renamed_and_deleted(opened: Open, many: int) -> None:
    clinic = opened(450)
    clinic.source.script("INSERT INTO site (code) VALUES ('x'), ('y')")
    clinic.source.sql(
        "INSERT INTO form (code, site_id, q1, q444) SELECT 'f' || g, 1, 'yes', g FROM generate_series(1, %s) g", [many]
    )
    clinic.agree()
    clinic.source.script("""
        UPDATE form SET q1 = 'no', q400 = 'seldom'; UPDATE form SET code = 'F3', q2 = 'x', site_id = 2 WHERE code = 'f3';
        INSERT INTO form (code, q3) VALUES ('new', 'z'); UPDATE form SET q3 = NULL WHERE code = 'new';
        DELETE FROM form WHERE code = 'f2'""")
    clinic.agree()
    assert held(clinic) == []
    assert clinic.upstream.sql("SELECT conflict FROM dbsync.conflict") == []
    assert clinic.upstream.sql("SELECT q1, q2, q400, q444 FROM form WHERE code = 'F3'") == [("no", "x", "seldom", "3")]


@pytest.mark.parametrize(("rule", "there"), [("source", "mine"), ("upstream", "theirs"), ("quarantine", "theirs")])
def test_a_question_that_both_sides_answered_is_a_conflict(opened: Open, rule: str, there: str) -> None:
    clinic = opened(450, rule)
    clinic.source.sql("INSERT INTO form (code, q400) VALUES ('f', 'before')")
    clinic.agree()
    clinic.upstream.sql("UPDATE form SET q400 = 'theirs', q401 = 'too'")
    clinic.source.sql("UPDATE form SET q400 = 'mine', q402 = 'and'")
    clinic.ship()
    assert clinic.upstream.sql("SELECT q400, q401 FROM form") == [(there, "too")]
    assert clinic.upstream.sql("SELECT conflict, columns FROM dbsync.conflict") == [("update_origin_differs", ["q400"])]
