"""Two people changed the same row: the ledger shows it, and the decision can be taken back."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import LiteralString

import pytest

from dbsync.errors import Refusal, UsageError
from tests.integration.people import Person, person
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, piped
from tests.support.service import until

pytestmark = ONE_MIXTURE

SCHEMA = """
CREATE TABLE site (id serial PRIMARY KEY, code text NOT NULL UNIQUE);
CREATE TABLE subject (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, identifier text NOT NULL UNIQUE,
    initials character(5), weight numeric(6, 2), answers json, site_id int REFERENCES site,
    shouted text GENERATED ALWAYS AS (upper(identifier)) STORED);
CREATE TABLE visit (id serial PRIMARY KEY, subject_id int NOT NULL REFERENCES subject ON DELETE CASCADE
    DEFERRABLE INITIALLY DEFERRED, code int NOT NULL, UNIQUE (subject_id, code));
CREATE TABLE note (id serial PRIMARY KEY, text text);
"""
TABLES = """
[[tables]]
name = "site"
[[tables]]
name = "visit"
[[tables]]
name = "note"
key = "row_id"
on_conflict = "{0}"
[[tables]]
name = "subject"
on_conflict = "{0}"
"""
ROW = "SELECT initials, weight::text, answers::text, (SELECT code FROM site WHERE id = site_id) FROM subject"
FIRST = ("AB   ", "70.00", '{"a": 1}', "G")
CHANGED = ("SO   ", "71.50", '{"b" : 2}', "M")
MINE: LiteralString = """
UPDATE subject SET initials = 'SO', weight = 71.5, answers = '{"b" : 2}',
    site_id = (SELECT id FROM site WHERE code = 'M')
"""
THEIRS: LiteralString = """UPDATE subject SET initials = 'UP', weight = 80, answers = 'null', site_id = NULL"""


def made(databases: Databases, pair: Pair, rule: str) -> Pipeline:
    pipeline = piped(databases, pair, SCHEMA, TABLES.format(rule))
    pipeline.source.script("""
        INSERT INTO site (code) VALUES ('G'), ('M');
        INSERT INTO subject (identifier, initials, weight, answers, site_id) VALUES ('S-1', 'AB', 70, '{"a": 1}', 1);
        INSERT INTO note (text) VALUES ('a note')
    """)
    pipeline.agree()
    return pipeline


@pytest.fixture
def pipeline(databases: Databases, pair: Pair) -> Iterator[Pipeline]:
    """Give a pipeline in which the source wins."""
    with made(databases, pair, "source") as ready:
        yield ready


@pytest.fixture
def yielding(databases: Databases, pair: Pair) -> Iterator[Pipeline]:
    """Give a pipeline in which the upstream wins."""
    with made(databases, pair, "upstream") as ready:
        yield ready


def dba(pipeline: Pipeline, folder: Path) -> Person:
    return person(pipeline, folder, TABLES.format("source"))


def both_changed(pipeline: Pipeline, mine: LiteralString = MINE, theirs: LiteralString = THEIRS) -> None:
    pipeline.source.script(mine)
    pipeline.upstream.script(theirs)
    pipeline.ship()


def number(who: Person) -> str:
    (conflict,) = who.must("conflicts", "list", "--json").json["conflicts"]
    return str(conflict["id"])


def test_no_conflict_is_said(pipeline: Pipeline, tmp_path: Path) -> None:
    who = dba(pipeline, tmp_path)
    assert who.must("conflicts", "list").out == "no conflicts\n"
    assert who.must("conflicts", "list", "--since", "1h").out == "no conflicts of that kind\n"


def test_the_ledger_lists_and_filters_what_was_decided(pipeline: Pipeline, tmp_path: Path) -> None:
    both_changed(pipeline)
    who = dba(pipeline, tmp_path)
    said = who.must("conflicts", "list")
    assert said.out.splitlines()[0].split()[:4] == ["ID", "TABLE", "KEY", "CONFLICT"]
    assert said.out.splitlines()[1].split()[1:5] == ["subject", "(S-1)", "update_origin_differs", "field-01"]
    for words, count in (
        (("sub*",), 1),
        (("site",), 0),
        (("--node", "field-02"), 0),
        (("--conflict", "update_origin_differs"), 1),
        (("--conflict", "insert_exists"), 0),
        (("--since", "1h"), 1),
        (("--since", "2100-01-01"), 0),
    ):
        assert who.must("conflicts", "list", *words, "--json").json["total"] == count, words
    with pytest.raises(UsageError, match="no time"):
        who.type("conflicts", "list", "--since", "yesterday-ish")


def test_a_conflict_is_shown_without_values_unless_asked(pipeline: Pipeline, tmp_path: Path) -> None:
    both_changed(pipeline)
    who = dba(pipeline, tmp_path)
    plain = who.must("conflicts", "show", number(who)).out
    assert "Differ initials, weight, answers, site_id" in plain
    assert 'Rule   on_conflict = "source": what the source wanted was written' in plain
    assert "SO" not in plain
    shown = who.must("conflicts", "show", number(who), "--show-values").out.splitlines()
    assert ["*", "weight", "'71.50'", "'80.00'"] in [line.split() for line in shown]


def test_undo_gives_the_row_back_what_upstream_had(pipeline: Pipeline, tmp_path: Path) -> None:
    both_changed(pipeline)
    who = dba(pipeline, tmp_path)
    assert pipeline.upstream.sql(ROW) == [CHANGED]
    said = who.must("conflicts", "undo", number(who), "--dry-run").out
    assert said == "subject (S-1): initials, weight, answers, site_id would be given back what the loser wanted\n"
    assert pipeline.upstream.sql(ROW) == [CHANGED]
    who.must("conflicts", "undo", number(who), "--by", "Neema")
    assert pipeline.upstream.sql(ROW) == [("UP   ", "80.00", "null", None)]
    assert "Undone by Neema" in who.must("conflicts", "show", number(who)).out


def test_undo_gives_the_row_what_the_source_wanted_where_upstream_won(yielding: Pipeline, tmp_path: Path) -> None:
    both_changed(yielding)
    who = dba(yielding, tmp_path)
    assert yielding.upstream.sql(ROW) == [("UP   ", "80.00", "null", None)]
    who.must("conflicts", "undo", number(who))
    yielding.agree()


def test_only_the_columns_that_both_changed_are_undone(pipeline: Pipeline, tmp_path: Path) -> None:
    both_changed(pipeline, theirs="UPDATE subject SET initials = 'UP'")
    who = dba(pipeline, tmp_path)
    who.must("conflicts", "undo", number(who))
    assert pipeline.upstream.sql(ROW) == [("UP   ", *CHANGED[1:])]


def test_undo_is_done_once(pipeline: Pipeline, tmp_path: Path) -> None:
    both_changed(pipeline)
    who = dba(pipeline, tmp_path)
    who.must("conflicts", "undo", number(who))
    with pytest.raises(Refusal, match="was undone before"):
        who.type("conflicts", "undo", number(who), "--force")


def test_an_undo_is_not_undone_and_the_row_stays_as_it_left_it(pipeline: Pipeline, tmp_path: Path) -> None:
    both_changed(pipeline)
    who = dba(pipeline, tmp_path)
    who.must("conflicts", "undo", number(who), "--by", "Neema")
    for words in ((), ("--dry-run",), ("--force",)):
        with pytest.raises(Refusal, match="was undone before, by Neema") as error:
            who.type("conflicts", "undo", number(who), *words)
        assert "the winner's values stand in the ledger" in error.value.why
        assert error.value.hint == f"dbsync conflicts show {number(who)} --show-values"
    assert pipeline.upstream.sql(ROW) == [("UP   ", "80.00", "null", None)]
    assert pipeline.upstream.value("SELECT undone_by FROM dbsync.conflict") == "Neema"


def test_a_conflict_that_an_undo_leads_to_is_another_one_and_is_undone_in_its_turn(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    both_changed(pipeline, theirs="UPDATE subject SET initials = 'UP'")
    who = dba(pipeline, tmp_path)
    who.must("conflicts", "undo", number(who))
    pipeline.source.sql("UPDATE subject SET initials = 'S2'")
    pipeline.ship()
    assert pipeline.upstream.value("SELECT initials FROM subject") == "S2   "
    first, second = (entry["id"] for entry in who.must("conflicts", "list", "--json").json["conflicts"])
    with pytest.raises(Refusal, match="was undone before"):
        who.type("conflicts", "undo", str(first))
    who.must("conflicts", "undo", str(second))
    assert pipeline.upstream.value("SELECT initials FROM subject") == "UP   "


@pytest.mark.parametrize("words", [(), ("--force",)])
def test_a_row_that_holds_what_the_loser_wanted_is_not_written_again(
    pipeline: Pipeline, tmp_path: Path, words: tuple[str, ...]
) -> None:
    both_changed(pipeline, theirs="UPDATE subject SET initials = 'UP'")
    pipeline.upstream.sql("UPDATE subject SET initials = 'UP'")
    who = dba(pipeline, tmp_path)
    with pytest.raises(Refusal, match="holds what the loser wanted already"):
        who.type("conflicts", "undo", number(who), *words)
    assert not who.must("conflicts", "list", "--json").json["conflicts"][0]["undone_at"]


def test_an_older_conflict_of_the_row_does_not_overwrite_what_undoing_a_newer_one_brought(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    both_changed(pipeline, theirs="UPDATE subject SET initials = 'U1'")
    pipeline.upstream.sql("UPDATE subject SET initials = 'U2'")
    pipeline.source.sql("UPDATE subject SET initials = 'S2'")
    pipeline.ship()
    who = dba(pipeline, tmp_path)
    first, second = (str(entry["id"]) for entry in who.must("conflicts", "list", "--json").json["conflicts"])
    with pytest.raises(Refusal, match="has changed since"):
        who.type("conflicts", "undo", first)
    who.must("conflicts", "undo", second)
    assert pipeline.upstream.value("SELECT initials FROM subject") == "U2   "
    with pytest.raises(Refusal, match="has changed since"):
        who.type("conflicts", "undo", first)


def test_a_row_that_changed_since_is_left_alone_unless_forced(pipeline: Pipeline, tmp_path: Path) -> None:
    both_changed(pipeline)
    pipeline.upstream.sql("UPDATE subject SET initials = 'NEW'")
    who = dba(pipeline, tmp_path)
    with pytest.raises(Refusal, match="has changed since"):
        who.type("conflicts", "undo", number(who))
    assert pipeline.upstream.value("SELECT initials FROM subject") == "NEW  "
    who.must("conflicts", "undo", number(who), "--force")
    assert pipeline.upstream.value("SELECT initials FROM subject") == "UP   "


def test_another_change_of_the_row_does_not_hinder_an_undo(pipeline: Pipeline, tmp_path: Path) -> None:
    both_changed(pipeline, theirs="UPDATE subject SET initials = 'UP'")
    pipeline.upstream.sql("UPDATE subject SET weight = 99")
    who = dba(pipeline, tmp_path)
    who.must("conflicts", "undo", number(who))
    assert pipeline.upstream.sql("SELECT initials, weight::text FROM subject") == [("UP   ", "99.00")]


def test_a_row_that_the_source_deleted_comes_back_under_its_id(pipeline: Pipeline, tmp_path: Path) -> None:
    before = pipeline.upstream.value("SELECT id FROM subject")
    both_changed(pipeline, mine="DELETE FROM subject")
    assert pipeline.upstream.value("SELECT count(*) FROM subject") == 0
    who = dba(pipeline, tmp_path)
    assert who.must("conflicts", "undo", number(who)).out == "subject (S-1) was inserted again\n"
    assert pipeline.upstream.sql("SELECT id, initials, shouted FROM subject") == [(before, "UP   ", "S-1")]


def test_a_row_known_by_its_uuid_only_comes_back_as_the_same_row(pipeline: Pipeline, tmp_path: Path) -> None:
    uuid = pipeline.source.value("SELECT row_key FROM dbsync.row_key")
    both_changed(pipeline, mine="DELETE FROM note", theirs="UPDATE note SET text = 'better'")
    assert pipeline.upstream.value("SELECT count(*) FROM dbsync.row_key") == 0
    who = dba(pipeline, tmp_path)
    who.must("conflicts", "undo", number(who))
    assert pipeline.upstream.sql(
        "SELECT n.text, k.row_key FROM note n JOIN dbsync.row_key k ON k.local_id = n.id::text"
    ) == [("better", uuid)]


def test_a_row_that_only_looks_like_the_one_made_anew_is_not_taken_away(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.source.sql("INSERT INTO note (text) VALUES ('done')")  # another note, which nobody disputes
    pipeline.agree()
    pipeline.upstream.sql("DELETE FROM note WHERE text = 'a note'")
    pipeline.source.sql("UPDATE note SET text = 'done' WHERE text = 'a note'")
    pipeline.ship()
    (other,), (anew,) = pipeline.upstream.sql("SELECT id FROM note WHERE text = 'done' ORDER BY id")
    pipeline.upstream.sql("UPDATE note SET text = 'done, and said so' WHERE id = %s", (anew,))
    who = dba(pipeline, tmp_path)
    with pytest.raises(Refusal, match="as it was left"):
        who.type("conflicts", "undo", number(who))
    assert pipeline.upstream.value("SELECT text FROM note WHERE id = %s", (other,)) == "done"


def test_a_server_passes_an_undo_on_to_its_own_upstream(
    pipeline: Pipeline, databases: Databases, tmp_path: Path
) -> None:
    central = databases.create(pipeline.upstream.version, name="central")
    central.script(SCHEMA)
    with Pipeline(pipeline.upstream, central, TABLES.format("source"), node="community") as onward:
        both_changed(pipeline)
        who = dba(pipeline, tmp_path)
        who.must("conflicts", "undo", number(who))
        captured = onward.source.sql("SELECT op::text, origin FROM dbsync.change ORDER BY seq")
        assert captured == [("U", None), ("U", "field-01"), ("U", None)]  # by hand, by apply, by the undo


def test_a_delete_that_upstream_did_not_take_is_done_after_all(yielding: Pipeline, tmp_path: Path) -> None:
    both_changed(yielding, mine="DELETE FROM subject")
    who = dba(yielding, tmp_path)
    assert who.must("conflicts", "undo", number(who)).out == "subject (S-1) was deleted\n"
    yielding.agree()


def test_a_row_that_others_refer_to_is_not_deleted(yielding: Pipeline, tmp_path: Path) -> None:
    both_changed(yielding, mine="DELETE FROM subject")
    yielding.upstream.sql("INSERT INTO visit (subject_id, code) SELECT id, 1000 FROM subject")
    who = dba(yielding, tmp_path)
    with pytest.raises(Refusal, match="is referred to by now") as error:
        who.type("conflicts", "undo", number(who), "--force")
    assert "visit" in error.value.why
    assert yielding.upstream.value("SELECT count(*) FROM visit") == 1


def test_nor_one_that_a_partition_alone_refers_to(yielding: Pipeline, tmp_path: Path) -> None:
    both_changed(yielding, mine="DELETE FROM subject")
    yielding.upstream.script("""
        CREATE TABLE lab (kind text, subject_id int) PARTITION BY LIST (kind);
        CREATE TABLE lab_blood PARTITION OF lab FOR VALUES IN ('blood');
        ALTER TABLE lab_blood ADD FOREIGN KEY (subject_id) REFERENCES subject ON DELETE CASCADE;
        INSERT INTO lab SELECT 'blood', id FROM subject""")
    who = dba(yielding, tmp_path)
    with pytest.raises(Refusal, match="is referred to by now"):
        who.type("conflicts", "undo", number(who))
    assert yielding.upstream.value("SELECT count(*) FROM lab") == 1


@pytest.mark.parametrize("mine", [MINE, "DELETE FROM subject"])
def test_an_undo_that_a_trigger_keeps_out_is_none(pipeline: Pipeline, tmp_path: Path, mine: LiteralString) -> None:
    both_changed(pipeline, mine=mine)
    pipeline.upstream.script("""
        CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
        CREATE TRIGGER keep BEFORE INSERT OR UPDATE ON subject FOR EACH ROW EXECUTE FUNCTION keep()""")
    before = pipeline.upstream.sql(ROW)
    who = dba(pipeline, tmp_path)
    with pytest.raises(Refusal, match="cannot be undone") as error:
        who.type("conflicts", "undo", number(who))
    assert error.value.why == "a trigger upstream kept the row as it was"
    pipeline.upstream.sql("DROP TRIGGER keep ON subject")
    assert pipeline.upstream.sql(ROW) == before
    who.must("conflicts", "undo", number(who))
    assert pipeline.upstream.sql(ROW) != before


def test_a_row_that_somebody_refers_to_at_this_moment_is_not_deleted(yielding: Pipeline, tmp_path: Path) -> None:
    both_changed(yielding, mine="DELETE FROM subject")
    who = dba(yielding, tmp_path)
    with yielding.upstream.connect() as other, other.transaction():
        other.execute("INSERT INTO visit (subject_id, code) SELECT id, 1000 FROM subject")
        other.execute("SET CONSTRAINTS ALL IMMEDIATE")
        refused = undone_meanwhile(yielding, who)
    assert "is referred to by now" in str(refused.result(20))
    assert yielding.upstream.value("SELECT count(*) FROM visit") == 1


def test_two_who_undo_at_once_do_it_once(pipeline: Pipeline, tmp_path: Path) -> None:
    both_changed(pipeline)
    who = dba(pipeline, tmp_path)
    with pipeline.upstream.connect() as other, other.transaction():
        other.execute("UPDATE dbsync.conflict SET undone_at = now(), undone_by = 'Thabo'")
        refused = undone_meanwhile(pipeline, who)
    assert "was undone before, by Thabo" in str(refused.result(20))
    assert pipeline.upstream.sql(ROW) == [CHANGED]


def undone_meanwhile(pipeline: Pipeline, who: Person) -> Future[BaseException | None]:
    """Begin an undo that has to wait for somebody; what it raises comes later."""
    pool = ThreadPoolExecutor(1)
    told = pool.submit(lambda one: what_is_raised(who, one), number(who))
    pool.shutdown(wait=False)
    until(
        lambda: pipeline.upstream.value("SELECT count(*) FROM pg_locks WHERE NOT granted") > 0, "the undo does not wait"
    )
    return told


def what_is_raised(who: Person, one: str) -> BaseException | None:
    try:
        who.must("conflicts", "undo", one)
    except Refusal as refusal:
        return refusal
    return None


def test_a_row_that_the_source_made_anew_is_taken_away_again(pipeline: Pipeline, tmp_path: Path) -> None:
    both_changed(pipeline, theirs="DELETE FROM subject")
    assert pipeline.upstream.sql(ROW) == [CHANGED]
    who = dba(pipeline, tmp_path)
    assert who.must("conflicts", "undo", number(who)).out == "subject (S-1) was deleted\n"
    assert pipeline.upstream.sql(ROW) == []


def test_a_row_made_anew_and_changed_since_is_not_taken_away(pipeline: Pipeline, tmp_path: Path) -> None:
    both_changed(pipeline, theirs="DELETE FROM subject")
    pipeline.upstream.sql("UPDATE subject SET weight = 99")
    who = dba(pipeline, tmp_path)
    with pytest.raises(Refusal, match="is not there as it was left"):
        who.type("conflicts", "undo", number(who))
    assert pipeline.upstream.value("SELECT count(*) FROM subject") == 1


def test_a_row_that_upstream_did_not_want_back_comes_with_a_new_id(yielding: Pipeline, tmp_path: Path) -> None:
    both_changed(yielding, theirs="DELETE FROM subject")
    assert yielding.upstream.sql(ROW) == []
    who = dba(yielding, tmp_path)
    assert who.must("conflicts", "undo", number(who)).out == "subject (S-1) was inserted again\n"
    yielding.agree()


def test_an_undo_that_the_upstream_refuses_changes_nothing(pipeline: Pipeline, tmp_path: Path) -> None:
    both_changed(pipeline)
    pipeline.upstream.sql("ALTER TABLE subject ADD CONSTRAINT light CHECK (weight < 75)")
    who = dba(pipeline, tmp_path)
    with pytest.raises(Refusal, match="cannot be undone") as error:
        who.type("conflicts", "undo", number(who))
    assert "light" in error.value.why
    assert pipeline.upstream.sql(ROW) == [CHANGED]
    assert not who.must("conflicts", "list", "--json").json["conflicts"][0]["undone_at"]


def test_what_waits_in_quarantine_is_not_undone_but_decided(databases: Databases, pair: Pair, tmp_path: Path) -> None:
    with made(databases, pair, "quarantine") as waiting:
        both_changed(waiting)
        who = dba(waiting, tmp_path)
        assert "it waits for a person" in who.must("conflicts", "show", number(who)).out
        with pytest.raises(Refusal) as error:
            who.type("conflicts", "undo", number(who))
        assert error.value.hint == "dbsync quarantine list"


def test_an_undo_meets_the_triggers_of_the_application_as_its_own_statements_do(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    pipeline.upstream.script("""
        CREATE TABLE trail (said text);
        CREATE FUNCTION trail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO trail VALUES (new.identifier);
            RETURN NULL;
        END $$;
        CREATE TRIGGER trail AFTER UPDATE ON subject FOR EACH ROW EXECUTE FUNCTION trail();
        CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON subject DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION trail()""")
    both_changed(pipeline)
    who = dba(pipeline, tmp_path)
    who.must("conflicts", "undo", number(who))
    assert pipeline.upstream.value("SELECT count(*) FROM trail") == 6
