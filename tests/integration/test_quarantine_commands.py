"""A row is in quarantine: what the commands say of it, and what they do about it."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from dbsync.errors import Interrupted, Refusal, SchemaVersionError, UsageError
from dbsync.service import quarantine
from tests.integration.people import Person, person
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, piped
from tests.support.service import until

pytestmark = ONE_MIXTURE

SCHEMA = """
CREATE TABLE subject (id serial PRIMARY KEY, identifier text NOT NULL UNIQUE, initials text, age int);
CREATE TABLE visit (id serial PRIMARY KEY, subject_id int NOT NULL REFERENCES subject DEFERRABLE INITIALLY DEFERRED,
    code int NOT NULL, note text, UNIQUE (subject_id, code));
"""
TABLES = """
[[tables]]
name = "visit"
[[tables]]
name = "subject"
on_conflict = "quarantine"
"""
SECRET = "hush-hush"
DOUBTFUL = "ALTER TABLE subject ADD CONSTRAINT grown_up CHECK (age > 17)"


@pytest.fixture
def pipeline(databases: Databases, pair: Pair) -> Iterator[Pipeline]:
    """Give a pipeline over two tables, with one subject on both sides."""
    with piped(databases, pair, SCHEMA, TABLES) as made:
        made.source.sql("INSERT INTO subject (identifier, initials, age) VALUES ('SUBJ-0012', 'AB', 30)")
        made.agree()
        yield made


@pytest.fixture
def dba(pipeline: Pipeline, tmp_path: Path) -> Person:
    """Give somebody at the node's keyboard."""
    return person(pipeline, tmp_path, TABLES)


@pytest.fixture
def orphan(pipeline: Pipeline, dba: Person) -> int:
    """Put a visit aside whose subject somebody deleted upstream, and two later changes of the visit with it."""
    pipeline.upstream.sql("DELETE FROM subject")
    pipeline.source.sql("INSERT INTO visit (subject_id, code, note) VALUES (1, 1000, %s)", [SECRET])
    for note in ("second", "third"):
        pipeline.source.sql("UPDATE visit SET note = %s", [note])
        pipeline.ship()
    return only(dba)["id"]  # type: ignore[no-any-return]  # JSON, as the help describes it


@pytest.fixture
def child(pipeline: Pipeline, dba: Person) -> int:
    """Put a subject aside that upstream finds too young, with its visit behind it."""
    pipeline.upstream.sql(DOUBTFUL)
    pipeline.source.script("""
        INSERT INTO subject (identifier, initials, age) VALUES ('YOUNG', 'CD', 7);
        INSERT INTO visit (subject_id, code) VALUES (2, 1000)
    """)
    pipeline.ship()
    return only(dba)["id"]  # type: ignore[no-any-return]  # JSON, as the help describes it


def only(dba: Person) -> dict[str, Any]:
    """Give the only case that waits."""
    (case,) = dba.must("quarantine", "list", "--json").json["cases"]
    return case  # type: ignore[no-any-return]  # JSON, as the help describes it


def tried(out: str) -> list[str]:
    """Give the words of the first command after Try."""
    (line,) = [line for line in out.splitlines() if line.startswith("Try")]
    return shlex.split(line.removeprefix("Try").strip().split("      ")[0])[1:]


@contextmanager
def its_batch_is_being_applied(pipeline: Pipeline) -> Iterator[None]:
    """Hold the turn of the node whose changes wait."""
    with pipeline.upstream.connect() as applying, applying.transaction():
        applying.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('dbsync ' || lineage, 0)) FROM dbsync.quarantine LIMIT 1"
        )
        yield


def somebody_waits(pipeline: Pipeline) -> bool:
    return bool(pipeline.upstream.value("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"))


class TestList:
    def test_nothing_in_quarantine_is_said(self, dba: Person) -> None:
        assert dba.must("quarantine", "list").out == "nothing is in quarantine\n"

    def test_a_case_is_one_line_with_what_waits_behind_it(self, orphan: int, dba: Person) -> None:
        said = dba.must("quarantine", "list")
        heading, line = said.out.splitlines()
        assert heading.split() == ["ID", "TABLE", "KEY", "OP", "NODE", "BATCH", "AGE", "CONFLICT", "WAITS"]
        assert line.split()[:5] == [str(orphan), "visit", "(SUBJ-0012,", "1000)", "insert"]
        assert line.split()[-2:] == ["reference_missing", "2"]
        assert said.err == f"1 row, and 2 changes behind it: dbsync quarantine show {orphan}\n"

    @pytest.mark.usefixtures("orphan")
    def test_filters_choose_by_table_node_conflict_and_state(self, dba: Person) -> None:
        for words, count in (
            (("vis*",), 1),
            (("subject",), 0),
            (("--node", "field-01"), 1),
            (("--node", "field-02"), 0),
            (("--conflict", "reference_missing"), 1),
            (("--conflict", "not_null_violation"), 0),
            (("--state", "skipped"), 0),
            (("--state", "all"), 1),
        ):
            assert dba.must("quarantine", "list", *words, "--json").json["total"] == count, words
        assert dba.must("quarantine", "list", "subject").out == "nothing of that kind is in quarantine\n"

    def test_the_newest_are_listed_last_and_the_older_ones_counted(self, pipeline: Pipeline, dba: Person) -> None:
        pipeline.upstream.sql(DOUBTFUL)
        for identifier in ("A", "B", "C"):
            pipeline.source.sql("INSERT INTO subject (identifier, age) VALUES (%s, 3)", [identifier])
        pipeline.ship()
        said = dba.must("quarantine", "list", "--limit", "2", "--json").json
        assert (said["total"], [case["key"] for case in said["cases"]]) == (3, [["B"], ["C"]])
        assert "1 older row (--limit)" in dba.must("quarantine", "list", "--limit", "2").err

    def test_a_server_looks_at_what_arrived_in_it(self, orphan: int, pipeline: Pipeline, tmp_path: Path) -> None:
        folder = tmp_path / "server"
        folder.mkdir()
        turned = person(pipeline, folder, TABLES, node="community")
        text = turned.config.read_text().replace(pipeline.source.dsn, "?").replace(pipeline.upstream.dsn, "!")
        turned.config.write_text(text.replace("?", pipeline.upstream.dsn).replace("!", pipeline.source.dsn))
        assert turned.must("quarantine", "list").out == "nothing is in quarantine\n"
        assert turned.must("quarantine", "list", "--here", "--json").json["total"] == 1
        shown = turned.must("quarantine", "show", str(orphan), "--here").out
        assert f"dbsync quarantine skip {orphan} --here --reason" in shown

    def test_an_upstream_without_dbsync_is_told_with_the_command(
        self, pipeline: Pipeline, pair: Pair, tmp_path: Path
    ) -> None:
        dba = person(pipeline, tmp_path, TABLES)
        dba.config.write_text(dba.config.read_text().replace(pipeline.upstream.dsn, pair.upstream.dsn))
        with pytest.raises(SchemaVersionError) as error:
            dba.type("quarantine", "list")
        assert error.value.hint == "dbsync install-upstream"


class TestShow:
    def test_it_says_what_why_what_waits_and_what_to_type(self, orphan: int, dba: Person) -> None:
        lines = dba.must("quarantine", "show", str(orphan)).out.splitlines()
        assert lines[0].startswith(f"Row {orphan}: insert visit (SUBJ-0012, 1000), from field-01 batch 2, ")
        assert lines[0].endswith(" ago     conflict: reference_missing")
        assert lines[1] == "Why    there is no subject (SUBJ-0012) upstream."
        assert lines[2] == "Waits  2 later changes of the same row. All others pass."
        assert lines[4].startswith("Try    dbsync resend subject --key SUBJ-0012      at field-01")
        assert lines[5] == f'Or     dbsync quarantine skip {orphan} --reason "..."      (kept in the ledger)'

    def test_what_is_advised_ends_the_case(self, orphan: int, pipeline: Pipeline, dba: Person) -> None:
        dba.must(*tried(dba.must("quarantine", "show", str(orphan)).out))
        pipeline.ship()
        pipeline.agree()
        assert dba.must("quarantine", "list").out == "nothing is in quarantine\n"
        shown = dba.must("quarantine", "show", str(orphan)).out
        assert "Done   released by " in shown
        assert "Try" not in shown

    def test_values_are_shown_only_when_asked_for(self, orphan: int, dba: Person) -> None:
        assert SECRET not in dba.must("quarantine", "show", str(orphan)).out
        assert SECRET not in dba.must("quarantine", "show", str(orphan), "--json").out
        lines = dba.must("quarantine", "show", str(orphan), "--show-values").out.splitlines()
        assert f"  note = '{SECRET}'" in lines
        assert "  subject_id = (SUBJ-0012)" in [line.replace("'", "") for line in lines]

    def test_an_update_shows_what_it_replaces(self, orphan: int, dba: Person) -> None:
        behind = dba.must("quarantine", "show", str(orphan), "--json").json["waiting"][0]
        out = dba.must("quarantine", "show", str(behind["id"]), "--show-values").out
        assert f"dbsync quarantine show {orphan}   it is decided with that row" in out
        assert f"  note = 'second'   (before: '{SECRET}')" in out

    def test_what_depends_on_it_is_named(self, child: int, dba: Person) -> None:
        out = dba.must("quarantine", "show", str(child)).out
        assert "Waits  1 later change that depend" in out
        assert "insert visit (YOUNG, 1000)" in out

    def test_a_number_that_is_none_is_refused(self, dba: Person) -> None:
        with pytest.raises(Refusal, match="there is no row 99"):
            dba.type("quarantine", "show", "99")


class TestRetry:
    def test_what_still_cannot_be_applied_stays_and_says_why(self, child: int, dba: Person) -> None:
        said = dba.type("quarantine", "retry", str(child))
        assert said.code == 1
        assert said.out.splitlines()[0] == "0 changes applied, 2 changes still waiting"
        assert f"row {child} still waits: check_violation" in said.out
        assert only(dba)["attempts"] == 2

    def test_what_can_be_applied_now_goes_in_with_all_behind_it(
        self, child: int, pipeline: Pipeline, dba: Person
    ) -> None:
        pipeline.upstream.sql("ALTER TABLE subject DROP CONSTRAINT grown_up")
        assert dba.must("quarantine", "retry", str(child)).out == "2 changes applied, 0 changes still waiting\n"
        pipeline.agree()

    @pytest.mark.usefixtures("child")
    def test_all_tries_everything(self, pipeline: Pipeline, dba: Person) -> None:
        pipeline.upstream.sql("ALTER TABLE subject DROP CONSTRAINT grown_up")
        assert dba.must("quarantine", "retry", "--all", "--node", "field-02").out.startswith("0 changes applied")
        dba.must("quarantine", "retry", "--all")
        pipeline.agree()

    @pytest.mark.usefixtures("child")
    def test_a_row_that_is_mended_at_the_node_goes_in_by_itself(self, pipeline: Pipeline, dba: Person) -> None:
        pipeline.source.sql("UPDATE subject SET age = 18 WHERE identifier = 'YOUNG'")
        pipeline.ship()
        pipeline.agree()
        assert dba.must("quarantine", "list", "--json").json["cases"] == []

    def test_source_wins_decides_a_conflict_for_the_source(self, pipeline: Pipeline, dba: Person) -> None:
        pipeline.upstream.sql("UPDATE subject SET initials = 'UP'")
        pipeline.source.sql("UPDATE subject SET initials = 'SO'")
        pipeline.ship()
        case = only(dba)
        assert case["conflict"] == "update_origin_differs"
        assert dba.type("quarantine", "retry", str(case["id"])).code == 1
        assert pipeline.upstream.value("SELECT initials FROM subject") == "UP"
        dba.must("quarantine", "retry", str(case["id"]), "--source-wins")
        pipeline.agree()

    def test_what_waits_behind_another_is_not_tried_alone(self, child: int, dba: Person) -> None:
        behind = dba.must("quarantine", "show", str(child), "--json").json["waiting"][0]["id"]
        with pytest.raises(Refusal, match=f"waits behind row {child}"):
            dba.type("quarantine", "retry", str(behind))

    def test_it_waits_a_moment_for_the_batch_that_is_being_applied(
        self, child: int, pipeline: Pipeline, dba: Person
    ) -> None:
        pipeline.upstream.sql("ALTER TABLE subject DROP CONSTRAINT grown_up")
        with its_batch_is_being_applied(pipeline):
            retrying = Thread(target=dba.must, args=("quarantine", "retry", str(child)))
            retrying.start()
            until(lambda: somebody_waits(pipeline), "the retry does not wait for its turn")
        retrying.join(20)
        pipeline.agree()

    @pytest.mark.parametrize("which", ["by id", "all"])
    def test_a_batch_that_takes_long_is_named_and_nothing_is_said_to_be_tried(
        self, child: int, pipeline: Pipeline, dba: Person, monkeypatch: pytest.MonkeyPatch, which: str
    ) -> None:
        monkeypatch.setattr(quarantine, "PATIENCE", 0.05)
        words = ("quarantine", "retry", str(child) if which == "by id" else "--all")
        with its_batch_is_being_applied(pipeline), pytest.raises(Interrupted) as error:
            dba.type(*words)
        assert error.value.exit_code == 75
        assert str(error.value) == (
            "upstream: what waits of field-01 was not tried (a batch of field-01 is being applied at this moment)"
        )
        assert error.value.hint == "type the same again in a moment"
        assert only(dba)["attempts"] == 1
        assert dba.type(*words).out.startswith("0 changes applied, 2 changes still waiting")

    @pytest.mark.parametrize("words", [(), ("1", "--all"), ("1", "--node", "field-01")])
    def test_one_or_all_has_to_be_said(self, dba: Person, words: tuple[str, ...]) -> None:
        with pytest.raises(UsageError):
            dba.type("quarantine", "retry", *words)


class TestSkip:
    def test_it_stays_in_the_ledger_with_reason_and_name(self, orphan: int, dba: Person) -> None:
        said = dba.must("quarantine", "skip", str(orphan), "--reason", "entered twice", "--by", "Neema")
        assert said.out.splitlines()[0] == f"row {orphan} is skipped, and stays in the ledger"
        (case,) = dba.must("quarantine", "list", "--state", "skipped", "--json").json["cases"]
        assert (case["decided_by"], case["decision"]) == ("Neema", "entered twice")
        assert "skipped by Neema" in dba.must("quarantine", "show", str(orphan)).out
        assert SECRET in dba.must("quarantine", "show", str(orphan), "--show-values").out

    def test_what_waited_behind_it_becomes_a_case_of_its_own(self, child: int, pipeline: Pipeline, dba: Person) -> None:
        dba.must("quarantine", "skip", str(child), "--reason", "too young")
        left = only(dba)
        assert (left["table"], left["conflict"], left["behind"]) == ("visit", "reference_missing", None)
        assert left["awaits"]["key"] == ["YOUNG"]
        assert pipeline.upstream.value("SELECT count(*) FROM subject") == 1

    def test_a_decided_row_is_not_decided_again(self, child: int, dba: Person) -> None:
        dba.must("quarantine", "skip", str(child), "--reason", "too young")
        for words in (("skip", str(child), "--reason", "again"), ("retry", str(child))):
            with pytest.raises(Refusal, match="skipped by"):
                dba.type("quarantine", *words)

    def test_a_reason_has_to_be_given(self, child: int, dba: Person) -> None:
        with pytest.raises(UsageError, match="reason"):
            dba.type("quarantine", "skip", str(child), "--reason", " ")
        assert dba.type("quarantine", "skip", str(child)).code == 2
        assert only(dba)["id"] == child

    def test_it_waits_for_the_batch_that_is_being_applied(self, child: int, pipeline: Pipeline, dba: Person) -> None:
        with its_batch_is_being_applied(pipeline):
            skipping = Thread(target=dba.must, args=("quarantine", "skip", str(child), "--reason", "too young"))
            skipping.start()
            until(lambda: somebody_waits(pipeline), "the skip does not wait for its turn")
            assert pipeline.upstream.value("SELECT count(*) FROM dbsync.quarantine WHERE state = 'skipped'") == 0
        skipping.join(20)
        assert only(dba)["conflict"] == "reference_missing"


class TestExport:
    def test_json_has_everything_that_waits_and_no_values(self, child: int, dba: Person) -> None:
        rows = dba.must("quarantine", "export").json
        assert [(row["table"], row["op"], row["key"], row["behind"]) for row in rows] == [
            ("subject", "insert", ["YOUNG"], None),
            ("visit", "insert", ["YOUNG", "1000"], child),
        ]
        assert not any("new" in row for row in rows)

    @pytest.mark.usefixtures("child")
    def test_csv_with_values_for_a_data_manager(self, dba: Person) -> None:
        out = dba.must("quarantine", "export", "subject", "--format", "csv", "--show-values").out
        (row,) = csv.DictReader(io.StringIO(out))
        assert (row["table"], row["key"], row["conflict"]) == ("subject", '["YOUNG"]', "check_violation")
        assert row["new"] == '{"identifier":"YOUNG","initials":"CD","age":"7"}'

    def test_nothing_is_an_empty_list(self, dba: Person) -> None:
        assert dba.must("quarantine", "export", "--show-values").json == []
