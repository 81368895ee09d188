"""dbsync as a guest in a Django project: manage.py, system checks, migrations, and the natural keys that models know."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from dbsync.config.load import load
from dbsync.config.models import Config
from dbsync.model.names import TableName
from tests.integration.commands import Done, dbsync
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair

ROOT = Path(__file__).parents[2]
NOWHERE = "host=/nonexistent dbname=community"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A Django project, its database, and the folder in which somebody types."""

    settings: str
    database: Database
    folder: Path

    def manage(self, *words: str, **environ: str) -> Done:
        """Type ``python manage.py ...``."""
        given = {"CLINIC_DSN": self.database.dsn, "DJANGO_SETTINGS_MODULE": self.settings, "PYTHONPATH": str(ROOT)}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DBSYNC", "PG"))}
        ran = subprocess.run(
            [sys.executable, "-m", "django", *words],
            cwd=self.folder,
            env={**kept, **given, **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return Done(code=ran.returncode, out=ran.stdout, err=ran.stderr)

    def must(self, *words: str, **environ: str) -> Done:
        """Type one that has to exit 0."""
        done = self.manage(*words, **environ)
        assert done.code == 0, f"{words}: {done.code}\n{done.out}{done.err}"
        return done

    @property
    def file(self) -> Path:
        """Give the dbsync.toml."""
        return self.folder / "dbsync.toml"


@pytest.fixture
def clinic(clinic_pair: Pair, tmp_path: Path) -> Project:
    """Give the clinic with one line more in its settings, and a dbsync.toml that its manage.py wrote."""
    project = Project(settings="tests.clinic.guest", database=clinic_pair.source, folder=tmp_path)
    source = clinic_pair.source.dsn
    project.must(
        "dbsync", "init", "--node", "field-01", "--source", source, "--upstream", NOWHERE, "--tables", "clinic_*"
    )
    return project


@pytest.fixture
def lab(databases: Databases, tmp_path: Path) -> Project:
    """Give the laboratory, whose models know their natural keys."""
    project = Project(settings="tests.clinic.lab.settings", database=databases.create(18, name="lab"), folder=tmp_path)
    project.must("migrate", "--run-syncdb", "--verbosity=0")
    return project


@ONE_MIXTURE
def test_manage_py_passes_its_words_on_and_ends_with_the_same_code(clinic: Project) -> None:
    assert clinic.must("dbsync", "--version").out.startswith("dbsync ")
    assert "Usage: dbsync" in clinic.must("help", "dbsync").out
    assert clinic.must("dbsync", "tables", "--json", "--settings", "tests.clinic.guest").json
    checked = clinic.manage("dbsync", "check", "--json")
    assert (checked.code, "upstream_unreachable" in checked.codes()) == (1, True)
    assert clinic.manage("dbsync", "no-such-word").code == 2
    called = "from django.core.management import call_command; call_command('dbsync', 'check', '--explain', 'no_key')"
    assert "means" in clinic.must("shell", "-c", called).out
    moved = clinic.folder / "etc"
    moved.mkdir()
    clinic.file.rename(moved / "dbsync.toml")
    assert clinic.manage("dbsync", "tables").code == 78
    assert clinic.must("dbsync", "tables", DBSYNC_CONFIG=str(moved / "dbsync.toml")).out


@ONE_MIXTURE
def test_the_system_check_names_models_that_were_forgotten_or_lost_their_key(clinic: Project) -> None:
    assert "dbsync." not in clinic.must("check").err
    text = clinic.file.read_text()
    clinic.file.write_text(_without(text, "clinic_tag", "clinic_subject_tags"))
    said = clinic.must("check").err
    assert said.count("dbsync.W001") == 2
    assert (
        "clinic.Tag: (dbsync.W001) the app clinic is shipped by dbsync, and no entry of dbsync.toml is about clinic_tag"
        in said
    )
    clinic.file.write_text(
        _without(text, "clinic_subject", "clinic_tag", "clinic_arm", "clinic_order")
        + '\n[[tables]]\nname = "clinic_subject"\nkey = ["identifier"]\n'
        + '\n[[tables]]\nname = "clinic_tag"\nskip = true\n'
        + '\n[[tables]]\nname = "clinic_arm"\nkey = ["id"]\n'
        + '\n[[tables]]\nname = "clinic_order"\n'
    )
    said = clinic.must("check").err
    assert said.count("dbsync.W002") == 3
    assert "names identifier, and it has no such column (any more)" in said
    assert "its key in dbsync.toml, (id), is not unique (any more)" in said
    assert "nothing but a generated id identifies its rows" in said
    clinic.file.write_text(text.replace("[node]", "[nod]"))
    assert "dbsync.W003" in clinic.must("check").err
    clinic.file.unlink()
    assert "dbsync." not in clinic.must("check").err


@ONE_MIXTURE
def test_a_migration_tells_what_is_left_to_be_done_and_never_fails_for_it(
    clinic: Project, databases: Databases
) -> None:
    assert "dbsync" not in clinic.must("migrate").err
    clinic.must("dbsync", "install-triggers")
    assert "dbsync" not in clinic.must("migrate").err
    clinic.database.script(
        "ALTER TABLE clinic_tag ALTER name TYPE varchar(31); ALTER TABLE clinic_arm DROP COLUMN name CASCADE"
    )
    said = clinic.must("migrate").err
    assert "table or configuration changed since the triggers were made on clinic_" in said
    assert "there is no natural key" in said
    assert "try    dbsync install-triggers" in said
    assert clinic.must("migrate", "--verbosity=0").err == ""
    other = Project(
        settings=clinic.settings,
        database=databases.create(clinic.database.version, name="other", template=clinic.database.name),
        folder=clinic.folder,
    )
    assert "dbsync" not in other.must("migrate").err
    clinic.file.write_text(clinic.file.read_text().replace("[node]", "[nod]"))
    assert "was not looked at" in clinic.must("migrate").err


def _without(text: str, *tables: str) -> str:
    """Take the entries of some tables out of a dbsync.toml."""
    head, *entries = text.split("[[tables]]\n")
    kept = [entry for entry in entries if not any(entry.startswith(f'name = "{table}"') for table in tables)]
    return "[[tables]]\n".join([head, *kept])


def test_init_takes_the_keys_that_the_models_know(lab: Project) -> None:
    lab.must("dbsync", "init", "--node", "lab", "--source", lab.database.dsn, "--upstream", NOWHERE)
    config, text = _config(lab), lab.file.read_text()
    assert _key(config, "lab_staff") == ("email",)
    assert _key(config, "lab_patient") == ("number",)
    assert _key(config, "lab_sample") == ("patient_id", "label")
    assert _key(config, "lab_result") == ("sample_id", "test")
    assert _key(config, "lab_remark") is None  # the only unique column
    assert _key(config, "lab_shelf") == "row_id"
    assert "natural_key() of lab.Patient" in text
    assert "natural_key_fields of lab.Result" in text
    assert "The natural_key() of lab.Remark was not understood: nothing of lab.Remark is called *key" in text
    assert "The natural_key() of lab.Shelf is (name), and nothing in the database makes that unique" in text
    checked = dbsync(lab.folder, "check", "--json")  # the project's settings print
    assert checked.codes() == ["not_installed", "upstream_unreachable"]


def test_init_without_the_project_says_where_to_type_it(lab: Project) -> None:
    words = (
        "init",
        "--node",
        "lab",
        "--source",
        lab.database.dsn,
        "--upstream",
        NOWHERE,
        "--django",
        "no.such.settings",
    )
    done = dbsync(lab.folder, *words)
    assert (done.code, lab.file.exists()) == (1, False)
    assert "No module named 'no'" in done.err
    assert "python manage.py dbsync init" in done.err


def _config(project: Project) -> Config:
    return load(project.file, {})


def _key(config: Config, table: str) -> object:
    entry = config.table_for(TableName.parse(table))
    assert entry is not None
    return entry.key
