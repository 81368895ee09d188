"""``dbsync verify`` as a person or a script meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from dbsync.cli.verify import verify
from dbsync.errors import Refusal, UsageError
from tests.acceptance.places import parts, place
from tests.support.databases import ONE_MIXTURE, Pair

pytestmark = ONE_MIXTURE

SCHEMA = """
CREATE TABLE subject (id serial PRIMARY KEY, identifier text NOT NULL UNIQUE, initials text);
CREATE TABLE visit (id serial PRIMARY KEY, subject_id int NOT NULL REFERENCES subject, code int NOT NULL,
    UNIQUE (subject_id, code));
INSERT INTO subject (identifier, initials) VALUES ('S-1', 'AB'), ('S-2', '[red]');
INSERT INTO visit (subject_id, code) VALUES (1, 1000), (2, 1000), (2, 2000);
"""


@pytest.fixture
def config(pair: Pair, tmp_path: Path) -> Path:
    """Write a dbsync.toml for two databases that agree."""
    pair.source.script(SCHEMA)
    pair.upstream.script(SCHEMA)
    path = tmp_path / "dbsync.toml"
    path.write_text(
        f'[node]\nname = "field-07"\nsource = "{pair.source.dsn}"\n[upstream]\nurl = "{pair.upstream.dsn}"\n'
        '[[tables]]\nname = "*"\n'
    )
    return path


def run(config: Path, *words: str) -> Result:
    """Run the command, and raise what it raises."""
    app = typer.Typer()
    app.command()(verify)
    result = CliRunner().invoke(app, ["--config", str(config), *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_agreement_is_exit_0_and_one_closing_line(config: Path) -> None:
    result = run(config)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "2 tables, 5 rows: source and upstream agree."


def test_difference_is_exit_1_with_the_rows_and_what_to_do(config: Path, pair: Pair) -> None:
    pair.upstream.script("DELETE FROM visit WHERE code = 2000; UPDATE subject SET initials = 'x' WHERE id = 2")
    result = run(config)
    assert result.exit_code == 1
    assert "visit (S-2, 2000)   missing\n" in result.stdout
    assert "subject (S-2)   different: initials\n" in result.stdout
    assert "Try    dbsync verify --repair subject visit" in result.stdout
    assert "[red]" in run(config, "--show-values").stdout


def test_extra_rows_are_exit_1_unless_ignored(config: Path, pair: Pair) -> None:
    pair.upstream.script("INSERT INTO subject (identifier) VALUES ('OTHER')")
    assert run(config).exit_code == 1
    assert run(config, "--ignore-extra").exit_code == 0


def test_json_is_one_object(config: Path, pair: Pair) -> None:
    pair.upstream.script("DELETE FROM visit WHERE code = 2000")
    result = run(config, "--json", "vis*")
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (found["agree"], found["pending"]) == (False, None)
    assert [(t["table"], t["missing"]) for t in found["tables"]] == [("visit", 1)]
    assert [(d["kind"], d["key"]) for d in found["differences"]] == [("missing", ["S-2", "2000"])]


def test_unknown_table_is_a_usage_error(config: Path) -> None:
    with pytest.raises(UsageError, match="nonsense"):
        run(config, "subject", "nonsense")


def test_table_that_cannot_be_registered_is_a_refusal_not_an_agreement(config: Path, pair: Pair) -> None:
    pair.source.script("CREATE TABLE log (id serial PRIMARY KEY, line text)")
    with pytest.raises(Refusal) as error:
        run(config)
    assert error.value.hint == "dbsync check"


def test_one_row_that_differs_is_found_among_many_that_are_ignored(config: Path, pair: Pair) -> None:
    pair.upstream.script("""
        INSERT INTO subject (identifier) SELECT 'A' || n FROM generate_series(1, 500) n;
        UPDATE subject SET initials = 'x' WHERE identifier = 'S-2'""")
    result = run(config, "--ignore-extra")
    assert result.exit_code == 1
    assert "subject (S-2)   different: initials\n" in result.stdout
    assert result.stdout.splitlines()[-1] == (
        "2 tables, 5 rows: 1 row in 1 table differs (500 extra rows upstream ignored)."
    )
    assert "--ignore-extra" not in result.stdout
    found = json.loads(run(config, "--ignore-extra", "--json").stdout)
    assert [row["key"] for row in found["differences"]] == [["S-2"]]


def test_where_no_table_is_selected_nothing_agrees(config: Path) -> None:
    config.write_text(config.read_text().replace('name = "*"', 'name = "visits_*"'))
    with pytest.raises(Refusal) as error:
        run(config)
    assert "selects no table" in error.value.why


def test_a_table_that_is_captured_and_that_a_misspelt_pattern_leaves_out_is_no_agreement(
    pair: Pair, tmp_path: Path
) -> None:
    here = place(tmp_path, pair.source, pair.upstream, tables='[[tables]]\nname = "subj*"\n[[tables]]\nname = "vis*"\n')
    here.install()
    here.source.sql("INSERT INTO subject (identifier) VALUES ('S-1')")
    here.source.sql("INSERT INTO visit (subject_id, code) VALUES (1, 1000)")
    here.must("run", "--once")
    here.must("verify")
    here.upstream.sql("DELETE FROM visit")
    here.configure('[[tables]]\nname = "subj*"\n[[tables]]\nname = "visti*"\n')
    done = here.run("verify")
    assert (done.code, parts(done)["where"]) == (1, "visit"), done.out
    assert "visti*" in parts(done)["why"]


def test_a_row_that_waits_in_quarantine_is_not_to_be_sent_again(pair: Pair, tmp_path: Path) -> None:
    here = place(tmp_path, pair.source, pair.upstream)
    here.install()
    here.upstream.sql("ALTER TABLE subject ADD CONSTRAINT two_letters CHECK (length(initials) = 2)")
    here.source.script("INSERT INTO subject (identifier, initials) VALUES ('A', 'ABC'), ('B', 'AB')")
    here.source.sql("INSERT INTO visit (subject_id, code) VALUES (2, 1000)")
    here.must("run", "--once")
    here.upstream.sql("DELETE FROM visit")
    advice = [line.removeprefix("Try    ") for line in here.run("verify").out.splitlines() if line.startswith("Try")]
    assert [line.partition("   ")[0] for line in advice] == [
        "dbsync quarantine list subject",
        "dbsync verify --repair visit",
    ]
    for line in advice:
        here.run(*line.partition("   ")[0].split()[1:])
    here.must("run", "--once")
    assert here.upstream.value("SELECT count(*) FROM visit") == 1
    assert here.upstream.value("SELECT count(*) FROM dbsync.quarantine") == 1, "nothing more waits behind the case"
