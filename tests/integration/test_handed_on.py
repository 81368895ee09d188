"""A value that only one row may have goes from one row to another, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import LiteralString

import pytest

from tests.integration.clinic_schema import held
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, prepared

pytestmark = ONE_MIXTURE

SCHEMA: LiteralString = """
CREATE TABLE device (id serial PRIMARY KEY, serial text NOT NULL UNIQUE, holder text UNIQUE, n int CHECK (n < 9));
INSERT INTO device (serial, holder) VALUES ('d1', 'Ann'), ('d2', 'Ben'), ('d3', NULL)
"""
CIRCLE: LiteralString = """
CREATE TABLE team (id serial PRIMARY KEY, name text NOT NULL UNIQUE, lead_id int);
CREATE TABLE person (
    id serial PRIMARY KEY, name text NOT NULL UNIQUE, team_id int NOT NULL REFERENCES team DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE team ADD FOREIGN KEY (lead_id) REFERENCES person;
INSERT INTO team (name) VALUES ('one'), ('two');
INSERT INTO person (name, team_id) SELECT 'lead of ' || name, id FROM team;
UPDATE team SET lead_id = p.id FROM person p WHERE p.team_id = team.id
"""
DOSES: LiteralString = """
CREATE TABLE drug (code text PRIMARY KEY);
CREATE TABLE bed (code text PRIMARY KEY, first_dose int);
CREATE TABLE dose (
    id serial PRIMARY KEY, bed_code text NOT NULL REFERENCES bed ON DELETE CASCADE, no int NOT NULL, UNIQUE (bed_code, no),
    drug_code text NOT NULL REFERENCES drug ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE bed ADD FOREIGN KEY (first_dose) REFERENCES dose DEFERRABLE INITIALLY DEFERRED;
INSERT INTO drug VALUES ('aspirin'), ('water');
INSERT INTO bed VALUES ('A'), ('B');
INSERT INTO dose (bed_code, no, drug_code) VALUES ('A', 1, 'aspirin'), ('A', 2, 'aspirin'), ('B', 1, 'water');
UPDATE bed SET first_dose = d.id FROM dose d WHERE d.bed_code = bed.code AND d.no = 1
"""
GIVE_D4: LiteralString = "INSERT INTO device (serial, holder) VALUES ('d4', 'Ann')"

Open = Callable[..., Pipeline]


@pytest.fixture(params=["row", "transaction", "stop"])
def opened(pair: Pair, databases: Databases, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Open a pipeline whose tables all have one rule for what cannot be applied."""
    with ExitStack() as stack:

        def of(schema: LiteralString, *names: str) -> Pipeline:
            both = prepared(databases, pair, schema)
            tables = "\n".join(f'[[tables]]\nname = "{name}"\non_error = "{request.param}"' for name in names)
            return stack.enter_context(Pipeline(both.source, both.upstream, tables))

        yield of


def told(clinic: Pipeline, statements: str) -> None:
    """Run statements in one transaction."""
    with clinic.source.connect() as session, session.transaction():
        for statement in statements.split(";"):
            session.execute(statement.encode())


@pytest.mark.parametrize(
    "statements",
    [
        f"DELETE FROM device WHERE serial = 'd1'; {GIVE_D4}",
        f"UPDATE device SET holder = NULL WHERE serial = 'd1'; {GIVE_D4}",
        "UPDATE device SET holder = NULL WHERE serial = 'd1'; UPDATE device SET holder = 'Ann' WHERE serial = 'd3'",
        "UPDATE device SET holder = NULL WHERE serial = 'd2'; UPDATE device SET holder = 'Ben' WHERE serial = 'd1'",
        "DELETE FROM device WHERE serial = 'd1'; UPDATE device SET holder = 'Ann' WHERE serial = 'd2'",
        """UPDATE device SET holder = 'nobody' WHERE serial = 'd2'; UPDATE device SET holder = 'Ben' WHERE serial = 'd1';
           UPDATE device SET holder = 'Ann' WHERE serial = 'd2'""",
        f"DELETE FROM device WHERE serial = 'd1'; {GIVE_D4}; UPDATE device SET serial = 'd1' WHERE serial = 'd4'",
    ],
    ids=[
        "deleted, new",
        "taken, new",
        "taken, given",
        "taken, given back",
        "deleted, given",
        "exchanged",
        "and the key with it",
    ],
)
def test_a_device_goes_to_another_person_whatever_the_rule(opened: Open, statements: str) -> None:
    clinic = opened(SCHEMA, "device")
    told(clinic, statements)
    clinic.agree()
    assert held(clinic) == []


def test_teams_go_before_their_leads_whom_a_constraint_asks_for_at_once(opened: Open) -> None:
    clinic = opened(CIRCLE, "team", "person")
    told(clinic, "DELETE FROM team; DELETE FROM person")
    clinic.agree()
    assert held(clinic) == []


def test_doses_go_before_the_drug_that_they_name_by_its_very_code(opened: Open) -> None:
    clinic = opened(DOSES, "drug", "bed", "dose")
    told(clinic, "DELETE FROM bed WHERE code = 'A'; DELETE FROM drug WHERE code = 'aspirin'")
    clinic.agree()
    assert held(clinic) == []


@pytest.mark.parametrize("opened", ["transaction"], indirect=True)
def test_nothing_of_it_goes_in_where_one_change_is_refused(opened: Open) -> None:
    clinic = opened(SCHEMA, "device")
    clinic.source.sql("ALTER TABLE device DROP CONSTRAINT device_n_check")
    before = clinic.upstream.sql("SELECT * FROM device ORDER BY id")
    told(clinic, f"DELETE FROM device WHERE serial = 'd1'; {GIVE_D4}; UPDATE device SET n = 9 WHERE serial = 'd2'")
    clinic.ship()
    assert clinic.upstream.sql("SELECT * FROM device ORDER BY id") == before
    assert len(held(clinic)) == 3
    clinic.upstream.sql("ALTER TABLE device DROP CONSTRAINT device_n_check")
    clinic.applier.release()
    clinic.agree()
    assert held(clinic) == []
