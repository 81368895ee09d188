"""A migration adds a foreign key: what it holds means the same row upstream or waits there, before the triggers are renewed too."""

from __future__ import annotations

from pathlib import Path
from typing import LiteralString

import pytest

from dbsync.capture.logging_sql import NOTHING, Form
from dbsync.keys.expression import Sql
from tests.integration.clinic_schema import TABLES, held
from tests.integration.people import Person, person
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, prepared

ADD = "ALTER TABLE visit ADD site_id int REFERENCES site DEFERRABLE INITIALLY DEFERRED"
SITES = """
    SELECT p.identifier, v.code, v.note, s.code FROM visit v JOIN subject p ON p.id = v.subject_id LEFT JOIN site s ON s.id = v.site_id
    ORDER BY 1, 2
"""
RAW = (
    "site_id refers to site upstream, and the node sent the number that the row has there:"
    " it did not know the column for a reference"
)
UNTOLD = "its {} pointed to a row of {} whose key is not known"


@pytest.fixture
def visits(clinic: Pipeline) -> Pipeline:
    """Give a clinic where the number of a site at the node is another site's upstream."""
    clinic.upstream.sql("INSERT INTO site (id, code) VALUES (1, 'elsewhere'), (2, 'far away'), (3, 'nowhere')")
    return clinic


@pytest.fixture
def dba(visits: Pipeline, tmp_path: Path) -> Person:
    """Give somebody at the node's keyboard."""
    return person(visits, tmp_path, TABLES)


def migrate(clinic: Pipeline, ddl: LiteralString = ADD) -> None:
    """Migrate both ends, the upstream first."""
    for database in (clinic.upstream, clinic.source):
        database.script(ddl)
    clinic.restart()


def same(clinic: Pipeline) -> bool:
    """Say whether every visit is in the same site at both ends."""
    return clinic.upstream.sql(SITES) == clinic.source.sql(SITES)


def shipped(clinic: Pipeline) -> None:
    """Ship, and hold that nothing waits and every visit is in the site that it is in at the node."""
    clinic.ship()
    assert held(clinic) == []
    assert clinic.upstream.value("SELECT count(*) FROM dbsync.conflict") == 0
    assert same(clinic)


def cases(clinic: Pipeline) -> list[str]:
    """Give the numbers of the cases that wait by themselves."""
    rows = clinic.upstream.sql(
        "SELECT id FROM dbsync.quarantine WHERE state = 'waiting' AND behind IS NULL ORDER BY id"
    )
    return [str(row[0]) for row in rows]


def sent_again(clinic: Pipeline, dba: Person, *key: str) -> None:
    """Do what the cases say: renew the triggers, send the rows again, and leave out what was sent before."""
    dba.must("install-triggers")
    dba.must("resend", "visit", "--key", *key)
    clinic.ship()
    for number in cases(clinic):
        dba.must("quarantine", "skip", number, "--reason", "sent again")
    assert held(clinic) == []


def test_what_it_holds_means_the_same_row_upstream(visits: Pipeline) -> None:
    migrate(visits)
    with visits.source.connect() as session:
        session.execute("UPDATE visit SET site_id = 1")
        session.execute("UPDATE visit SET site_id = 2, note = 'moved' WHERE subject_id = 2")
        session.execute(
            "INSERT INTO visit (subject_id, code, site_id) VALUES (3, '10', 2), (3, '20', NULL), (3, '30', 1)"
        )
        session.execute("UPDATE visit SET site_id = NULL WHERE code = '2000'")
        session.execute("UPDATE visit SET subject_id = 2 WHERE code = '30'")
        session.execute("DELETE FROM visit WHERE code = '10'")
    shipped(visits)
    visits.source.sql("UPDATE visit SET note = 'later'")
    shipped(visits)


@ONE_MIXTURE
def test_renewing_the_triggers_before_shipping_changes_nothing_of_what_is_captured(visits: Pipeline) -> None:
    migrate(visits)
    visits.source.sql("UPDATE visit SET site_id = 1")
    visits.reinstall(TABLES)
    visits.source.sql("UPDATE visit SET site_id = 2 WHERE code = '2000'")
    shipped(visits)
    assert visits.compare("visit").agrees()


@ONE_MIXTURE
def test_sites_that_exchange_their_keys_later_are_not_mistaken_for_each_other(visits: Pipeline) -> None:
    migrate(visits)
    with visits.source.connect() as session:
        session.execute("UPDATE visit SET site_id = 1 WHERE code = '1000'")
        session.execute("UPDATE visit SET site_id = 2 WHERE code = '2000'")
        for code, number in (("-", 1), ("G", 2), ("M", 1)):
            session.execute("UPDATE site SET code = %s WHERE id = %s", [code, number])
    shipped(visits)


@ONE_MIXTURE
def test_a_row_that_comes_later_in_the_same_transaction_is_found(visits: Pipeline) -> None:
    migrate(visits)
    visits.source.script("""
        UPDATE visit SET site_id = 50 WHERE code = '1000';
        INSERT INTO visit (subject_id, code, site_id) VALUES (3, '10', 51);
        INSERT INTO site (id, code) VALUES (50, 'new'), (51, 'newer');
        UPDATE visit SET site_id = 50 WHERE code = '10'""")
    shipped(visits)


@ONE_MIXTURE
def test_a_row_that_goes_in_the_same_transaction_takes_its_visits_along(visits: Pipeline) -> None:
    migrate(visits, "ALTER TABLE visit ADD site_id int REFERENCES site ON DELETE CASCADE")
    visits.source.script("UPDATE visit SET site_id = 1 WHERE code = '1000'; DELETE FROM site WHERE id = 1")
    shipped(visits)
    assert visits.upstream.sql("SELECT code FROM visit") == [("2000",)]


@ONE_MIXTURE
def test_it_may_point_into_its_own_table_and_to_rows_without_a_natural_key(visits: Pipeline) -> None:
    visits.source.script("INSERT INTO note (text) VALUES ('an old note'); INSERT INTO note (text) VALUES ('a note')")
    visits.upstream.sql("INSERT INTO note (id, text) VALUES (1, 'elsewhere')")
    migrate(visits, "ALTER TABLE visit ADD before_id bigint REFERENCES visit, ADD note_id bigint REFERENCES note")
    visits.source.script("""
        UPDATE visit SET note_id = 2, before_id = 1 WHERE code = '2000';
        INSERT INTO visit (subject_id, code, before_id) SELECT 3, '10', id FROM visit WHERE subject_id = 2""")
    visits.ship()
    assert held(visits) == []
    assert visits.upstream.sql("""
        SELECT v.code, o.code, n.text FROM visit v JOIN visit o ON o.id = v.before_id LEFT JOIN note n ON n.id = v.note_id
        ORDER BY 1""") == [("10", "1000", None), ("2000", "1000", "a note")]  # fmt: skip


@ONE_MIXTURE
def test_rows_written_straight_into_a_partition_tell_it_too(visits: Pipeline) -> None:
    migrate(visits, "ALTER TABLE specimen ADD site_id int REFERENCES site")
    visits.source.script("""
        INSERT INTO specimen (kind, barcode, site_id) VALUES ('blood', '1', 1), ('urine', '2', 2);
        INSERT INTO specimen_blood (id, kind, barcode, site_id) VALUES (50, 'blood', '3', 2);
        UPDATE specimen_other SET site_id = 1""")
    visits.ship()
    assert held(visits) == []
    assert visits.upstream.sql("SELECT m.barcode, s.code FROM specimen m JOIN site s ON s.id = m.site_id ORDER BY 1") == [
        ("1", "G"), ("2", "G"), ("3", "M")]  # fmt: skip


@ONE_MIXTURE
def test_a_natural_value_travels_as_it_is(visits: Pipeline) -> None:
    migrate(visits, """
        CREATE TABLE colour (code text PRIMARY KEY); INSERT INTO colour VALUES ('red');
        ALTER TABLE visit ADD country text REFERENCES country, ADD colour text REFERENCES colour""")  # fmt: skip
    visits.source.script("""
        INSERT INTO country (code) VALUES ('BW'); UPDATE visit SET country = 'BW', colour = 'red' WHERE code = '2000'""")
    visits.ship()
    assert held(visits) == []
    assert visits.upstream.sql("SELECT country, colour FROM visit WHERE code = '2000'") == [("BW", "red")]


WARD = "CREATE TABLE ward (id serial PRIMARY KEY, name text NOT NULL UNIQUE); INSERT INTO ward (name) VALUES ('{}'), ('{}');"
WARDS = "SELECT v.code, w.name FROM visit v JOIN ward w ON w.id = v.ward_id ORDER BY 1"


@ONE_MIXTURE
def test_a_table_that_came_with_it_has_no_key_yet_and_what_refers_to_it_waits(visits: Pipeline, dba: Person) -> None:
    visits.upstream.script(WARD.format("north", "south"))
    visits.source.script(WARD.format("south", "north"))
    migrate(visits, "ALTER TABLE visit ADD ward_id int REFERENCES ward")
    visits.source.script("""
        UPDATE visit SET ward_id = 1 WHERE code = '2000'; INSERT INTO visit (subject_id, code) VALUES (3, '10');
        UPDATE visit SET note = 'passes' WHERE code = '1000'""")
    visits.ship()
    assert held(visits) == [("reference_missing", UNTOLD.format("ward_id", "ward"))]
    assert visits.upstream.sql("SELECT code, note FROM visit WHERE code <> '2000' ORDER BY 1") == [
        ("10", None), ("1000", "passes"), ("1000", "passes")]  # fmt: skip
    shown = dba.must("quarantine", "show", cases(visits)[0]).out
    assert "dbsync check, dbsync install-triggers, dbsync resend visit --key A 2000      at field-01; if this" in shown

    dba.must("install-triggers")
    dba.must("backfill", "ward")
    sent_again(visits, dba, "A", "2000")
    assert visits.upstream.sql(WARDS) == [("2000", "south")]


@ONE_MIXTURE
def test_a_column_before_its_constraint_is_no_plain_value_upstream(visits: Pipeline, dba: Person) -> None:
    visits.upstream.script(ADD)
    visits.restart()
    visits.source.script("""
        ALTER TABLE visit ADD site_id int; UPDATE visit SET site_id = 1 WHERE code = '2000';
        UPDATE visit SET note = 'passes' WHERE code = '1000' AND subject_id = 1;
        INSERT INTO visit (subject_id, code, site_id) VALUES (3, '10', 2), (3, '20', NULL);
        DELETE FROM visit WHERE subject_id = 2""")
    visits.source.sql("ALTER TABLE visit ADD FOREIGN KEY (site_id) REFERENCES site")
    visits.ship()
    assert held(visits) == [("unkeyable", RAW)] * 2
    assert visits.upstream.sql(SITES) == [
        ("A", "1000", "passes", None), ("A", "2000", None, None), ("C", "20", None, None)]  # fmt: skip
    assert "dbsync resend visit --key A 2000" in dba.must("quarantine", "show", cases(visits)[0]).out

    sent_again(visits, dba, "A", "2000", "--key", "C", "10")
    assert same(visits)


@ONE_MIXTURE
def test_triggers_of_an_earlier_version_leave_it_to_a_person(
    visits: Pipeline, dba: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(_: Form, piece: str) -> Sql:  # as they were made then
        del piece
        return NOTHING

    with monkeypatch.context() as patched:
        patched.setattr(Form, "added", nothing)
        visits.source.sql("DROP TRIGGER dbsync_insert ON visit")
        visits.reinstall(TABLES)
    migrate(visits)
    visits.source.sql("UPDATE visit SET site_id = 1 WHERE code = '2000'")
    visits.ship()
    assert [conflict for conflict, _ in held(visits)] == ["unkeyable"]
    assert (
        visits.source.value("SELECT count(*) FROM dbsync.layout WHERE definition::text LIKE '%%site_id%%integer%%'")
        == 0
    )

    sent_again(visits, dba, "A", "2000")
    assert same(visits)


@ONE_MIXTURE
def test_it_may_mean_a_row_of_a_table_that_nobody_referred_to_before(visits: Pipeline) -> None:
    visits.upstream.sql("INSERT INTO shelf (place) VALUES (-1)")  # so that ids differ
    migrate(visits, "ALTER TABLE visit ADD shelf_id int REFERENCES shelf DEFERRABLE INITIALLY DEFERRED")
    visits.source.sql("INSERT INTO shelf (place) VALUES (50), (51)")
    visits.source.sql("UPDATE visit SET shelf_id = s.id FROM shelf s WHERE s.place = 51")
    visits.source.sql("DELETE FROM shelf WHERE place = 50")
    visits.source.sql("UPDATE shelf SET place = 52 WHERE place = 51")
    visits.source.sql("INSERT INTO shelf (place) VALUES (51)")
    visits.ship()
    assert held(visits) == []
    assert visits.upstream.sql("SELECT DISTINCT s.place FROM visit v LEFT JOIN shelf s ON s.id = v.shelf_id") == [(52,)]


LOOKUP = """
CREATE TABLE visit (id serial PRIMARY KEY, code text NOT NULL UNIQUE);
CREATE TABLE site (id serial PRIMARY KEY, code text NOT NULL UNIQUE);
"""
LOOKUP_TABLES = """
[[tables]]
name = "visit"
[[tables]]
name = "site"
mode = "lookup"
"""


@ONE_MIXTURE
@pytest.mark.parametrize("readable", [True, False])
def test_a_row_of_a_lookup_is_found_or_waits_until_the_triggers_are_renewed(
    databases: Databases, pair: Pair, readable: bool
) -> None:
    both = prepared(databases, pair, LOOKUP)
    both.source.sql("INSERT INTO site VALUES (1, 'G'), (2, 'M')")
    both.upstream.sql("INSERT INTO site VALUES (1, 'M'), (2, 'G')")
    with Pipeline(both.source, both.upstream, LOOKUP_TABLES) as clinic:
        if not readable:
            clinic.source.sql("REVOKE SELECT (id, code) ON site FROM dbsync_capture")
        migrate(clinic, "ALTER TABLE visit ADD site_id int REFERENCES site")
        clinic.source.sql("INSERT INTO visit (code, site_id) VALUES ('10', 1)")
        told = clinic.source.sql("SELECT refs, unresolved FROM dbsync.change")
        assert told == [(["G"], None)] if readable else [([None], ["1"])]
        clinic.reinstall(LOOKUP_TABLES)
        clinic.ship()
        assert held(clinic) == []
        assert clinic.upstream.sql("SELECT s.code FROM visit v JOIN site s ON s.id = v.site_id") == [("G",)]
