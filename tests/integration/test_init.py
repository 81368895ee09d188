from __future__ import annotations

import os
from pathlib import Path

import pytest

from dbsync import __version__
from dbsync.catalog.inspect import inspect
from dbsync.config.load import load
from dbsync.identity.keys import Keys
from dbsync.keys.register import register
from dbsync.model.names import TableName
from dbsync.model.registration import Registry
from dbsync.postgres import connect
from tests.integration.commands import dbsync
from tests.integration.schemas import large
from tests.support.databases import ONE_MIXTURE, Pair

NOWHERE = "host=/nonexistent dbname=community"


def init(pair: Pair, folder: Path, *more: str) -> Registry:
    done = dbsync(
        folder, "init", "--node", "field-07", "--source", pair.source.dsn, "--upstream", pair.upstream.dsn, *more
    )
    assert (done.code, done.out) == (0, ""), done.err
    with connect(pair.source.dsn, name="source") as connection:
        registry, _ = register(load(folder / "dbsync.toml", os.environ), inspect(connection))
    return registry


def leaves(registry: Registry, name: str) -> tuple[str, ...]:
    return registry.tables[TableName.parse(name)].key.leaves()


def test_a_django_project_passes_check_as_proposed(clinic_pair: Pair, tmp_path: Path) -> None:
    registry = init(clinic_pair, tmp_path)
    done = dbsync(tmp_path, "check", "--json")
    assert done.code == 0, done.out
    assert done.codes() == ["not_installed", "not_installed"]
    assert leaves(registry, "clinic_crf") == ("visit_id.subject_id.subject_identifier", "visit_id.visit_code")
    assert leaves(registry, "clinic_panel") == ("name",)
    assert leaves(registry, "clinic_order") == ("row_id",)
    assert leaves(registry, "clinic_admission") == ("encounter_ptr_id.code",)
    assert leaves(registry, '"Clinic Box"') == ("Box Label",)
    assert leaves(registry, "clinic_user_user_permissions") == (
        "user_id.username",
        "permission_id.content_type_id.app_label",
        "permission_id.content_type_id.model",
        "permission_id.codename",
    )


@ONE_MIXTURE
def test_historical_and_generic_references_are_written(clinic_pair: Pair, tmp_path: Path) -> None:
    registry = init(clinic_pair, tmp_path)
    trail = registry.tables[TableName.parse("clinic_historicalvisit")]
    assert {r.columns[0]: str(r.target.table) for r in trail.references} == {
        "id": "clinic_visit",
        "history_user_id": "clinic_user",
        "reporter_id": "clinic_user",
        "subject_id": "clinic_subject",
    }
    for name in ("clinic_note", "clinic_attachment"):
        (generic,) = registry.tables[TableName.parse(name)].generics
        assert (generic.type_column, generic.id_column) == ("content_type_id", "object_id")
        assert generic.targets["clinic.subject"].leaves() == ("subject_identifier",)


@ONE_MIXTURE
def test_450_tables_with_650_foreign_keys_pass_check_as_proposed(pair: Pair, tmp_path: Path) -> None:
    for database in (pair.source, pair.upstream):
        with database.connect() as connection:
            connection.execute(large(tables=450, foreign_keys=650))
    registry = init(pair, tmp_path)
    assert len(registry.tables) == 450
    done = dbsync(tmp_path, "check", "--json")
    assert done.code == 0, done.out
    assert done.codes() == ["not_installed", "not_installed"]


@ONE_MIXTURE
def test_patterns_choose_tables_and_what_they_refer_to(clinic_pair: Pair, tmp_path: Path) -> None:
    registry = init(clinic_pair, tmp_path, "--tables", "clinic_visit", "clinic_arm")
    assert {str(name): table.mode.value for name, table in registry.tables.items()} == {
        "clinic_arm": "ship",
        "clinic_subject": "lookup",
        "clinic_user": "lookup",
        "clinic_visit": "ship",
    }
    assert dbsync(tmp_path, "check").code == 0


@ONE_MIXTURE
def test_tables_that_check_would_refuse_are_left_out_and_what_is_left_to_decide_is_said(
    clinic_pair: Pair, tmp_path: Path
) -> None:
    for database in (clinic_pair.source, clinic_pair.upstream):
        database.script("""
            CREATE TABLE lab_range (code text NOT NULL UNIQUE, low numeric);
            CREATE TABLE lab_unit (code text NOT NULL UNIQUE);
            CREATE TABLE lab_result (
                id serial PRIMARY KEY, number int NOT NULL UNIQUE, unit text REFERENCES lab_unit (code))""")
    registry = init(clinic_pair, tmp_path)
    assert TableName.parse("lab_range") not in registry.tables
    assert registry.tables[TableName.parse("lab_unit")].mode.value == "lookup"
    text = (tmp_path / "dbsync.toml").read_text()
    assert text.count("no primary key, by which its rows are written") == 2
    assert dbsync(tmp_path, "check").code == 0
    clinic_pair.upstream.script("ALTER TABLE lab_result DROP CONSTRAINT lab_result_number_key")
    said = dbsync(
        tmp_path, "init", "--force", "--source", clinic_pair.source.dsn, "--upstream", clinic_pair.upstream.dsn
    )
    assert "To be decided by you: lab_result: the key (number) has no unique index upstream" in said.err
    assert dbsync(tmp_path, "check").code == 1


@ONE_MIXTURE
def test_init_overwrites_nothing_unless_told(clinic_pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "dbsync.toml").write_text("# mine\n")
    dsns = ("--source", clinic_pair.source.dsn, "--upstream", clinic_pair.upstream.dsn)
    refused = dbsync(tmp_path, "init", *dsns)
    assert refused.code == 1
    assert "dbsync.toml exists already" in refused.err
    assert (tmp_path / "dbsync.toml").read_text() == "# mine\n"
    assert dbsync(tmp_path, "init", *dsns, "--force").code == 0
    assert "[[tables]]" in (tmp_path / "dbsync.toml").read_text()
    made = Keys.load(tmp_path / "keys").public
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()} == {0o600}
    assert dbsync(tmp_path, "init", *dsns, "--force").code == 0
    assert Keys.load(tmp_path / "keys").public == made, "a node has its keys once"


@ONE_MIXTURE
def test_the_same_schema_gives_the_same_file(clinic_pair: Pair, tmp_path: Path) -> None:
    init(clinic_pair, tmp_path)
    first = (tmp_path / "dbsync.toml").read_text()
    init(clinic_pair, tmp_path, "--force")
    assert (tmp_path / "dbsync.toml").read_text() == first


@ONE_MIXTURE
def test_the_file_is_its_owners_only_and_warns_of_a_password(pair: Pair, tmp_path: Path) -> None:
    init(Pair(source=pair.source, upstream=pair.upstream), tmp_path)
    assert (tmp_path / "dbsync.toml").stat().st_mode & 0o777 == 0o600
    secret = f"{pair.source.dsn} password=geheim"
    done = dbsync(tmp_path, "init", "--source", secret, "--upstream", pair.upstream.dsn, "--output", "other.toml")
    assert done.code == 0, done.err
    assert "PGPASSFILE" in (tmp_path / "other.toml").read_text()
    assert "geheim" not in done.err + done.out


@ONE_MIXTURE
def test_an_upstream_out_of_reach_does_not_stop_the_proposal(clinic_pair: Pair, tmp_path: Path) -> None:
    done = dbsync(tmp_path, "init", "--source", clinic_pair.source.dsn, "--upstream", NOWHERE)
    assert done.code == 0, done.err
    assert "The upstream was not asked" in done.err


@ONE_MIXTURE
def test_the_proposal_can_be_printed(clinic_pair: Pair, tmp_path: Path) -> None:
    done = dbsync(tmp_path, "init", "--source", clinic_pair.source.dsn, "--upstream", NOWHERE, "--output", "-")
    assert done.code == 0, done.err
    (tmp_path / "printed.toml").write_text(done.out)
    assert load(tmp_path / "printed.toml", os.environ).tables
    assert not (tmp_path / "dbsync.toml").exists()


def test_a_source_out_of_reach_exits_69_and_writes_nothing(tmp_path: Path) -> None:
    done = dbsync(tmp_path, "init", "--source", "host=/nonexistent", "--upstream", NOWHERE)
    assert done.code == 69
    assert "source" in done.err
    assert list(tmp_path.iterdir()) == []


@ONE_MIXTURE
def test_a_lookup_whose_key_runs_through_rows_without_a_natural_one_passes_check(
    clinic_pair: Pair, tmp_path: Path
) -> None:
    for database in (clinic_pair.source, clinic_pair.upstream):
        database.script("""
            CREATE TABLE ward_event (id serial PRIMARY KEY, words text);
            CREATE TABLE ward_fall (event_ptr_id int PRIMARY KEY REFERENCES ward_event);
            CREATE TABLE ward_report (id serial PRIMARY KEY, code text NOT NULL UNIQUE, fall_id int REFERENCES ward_fall)""")
    registry = init(clinic_pair, tmp_path, "--tables", "ward_report")
    assert registry.tables[TableName.parse("ward_fall")].mode.value == "lookup"
    for step in ("check", "install-upstream", "install-triggers", "check"):
        done = dbsync(tmp_path, step)
        assert done.code == 0, done.out + done.err


@ONE_MIXTURE
def test_a_pattern_that_selects_nothing_is_a_slip_and_writes_nothing(clinic_pair: Pair, tmp_path: Path) -> None:
    dsns = ("--source", clinic_pair.source.dsn, "--upstream", clinic_pair.upstream.dsn)
    done = dbsync(tmp_path, "init", *dsns, "--tables", "clinic_*", "--tables", "clinic_visits")
    assert (done.code, "is called clinic_visits" in done.err, "did you mean clinic_visit?" in done.err) == (
        2,
        True,
        True,
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--source", "dbname=a"], ["--upstream", "dbname=a"], ["--nonsense"]])
def test_missing_words_exit_2(arguments: list[str], tmp_path: Path) -> None:
    assert dbsync(tmp_path, "init", *arguments).code == 2


def test_a_dsn_that_is_none_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    done = dbsync(tmp_path, "init", "--source", "clinic", "--upstream", "dbname=a")
    assert done.code == 78
    assert "not a connection string" in done.err


@ONE_MIXTURE
def test_tables_says_what_is_registered_and_how(clinic_pair: Pair, tmp_path: Path) -> None:
    init(clinic_pair, tmp_path, "--tables", "clinic_visit")
    done = dbsync(tmp_path, "tables", "--registered")
    assert done.code == 0
    assert done.out.splitlines()[0].split() == ["TABLE", "MODE", "ROWS", "KEY"]
    assert any(
        line.split() == ["clinic_visit", "ship", "0", "subject_id.subject_identifier,", "visit_code"]
        for line in done.out.splitlines()
    )
    assert "clinic_crf" not in done.out
    unregistered = dbsync(
        tmp_path, "tables", "--unregistered", "--match", "clinic_*", "--exclude", "*historical*", "--json"
    )
    names = [row["table"] for row in unregistered.json]
    assert "clinic_crf" in names
    assert not [name for name in names if "historical" in name or not name.startswith("clinic_")]
    assert {row["registered"] for row in unregistered.json} == {False}


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    assert dbsync(tmp_path, "--version").out == f"dbsync {__version__}\n"
