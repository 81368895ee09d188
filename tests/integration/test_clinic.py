"""The clinic's Django project runs on both versions, without dbsync."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.django import SCENARIO_NAMES, clinic_template, orm, orm_code


def test_every_scenario_runs_on_every_version_and_can_run_again(databases: Databases, version: int) -> None:
    database = databases.create(version, template=clinic_template(databases.servers, version))
    orm(database.dsn, "all", prefix="field-01")
    orm(database.dsn, "all", prefix="field-01")
    orm(database.dsn, "all", prefix="field-02")
    assert database.value("SELECT count(*) FROM clinic_subject WHERE subject_identifier LIKE 'field-02-%%'") > 60


def test_the_names_of_the_scenarios_are_known_outside_of_django() -> None:
    code = "import tests.clinic.scenarios as s; print(*s.SCENARIOS)"
    command = [sys.executable, "-c", f"import django; django.setup(); {code}"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=_environment())
    assert shown.stdout.split() == SCENARIO_NAMES


def test_migrations_are_in_step_with_the_models() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "django", "makemigrations", "clinic", "--dry-run", "-v", "3"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=_environment())
    assert "No changes detected" in shown.stdout


@ONE_MIXTURE
@pytest.mark.parametrize(
    ("table", "key", "number"),
    [
        ("clinic_listitem", "name", "id"),
        ("clinic_panel", "name", "id"),
        ("clinic_arm", "name", "id"),
        ("django_content_type", "app_label || '.' || model", "id"),
        ("auth_permission", "codename", "id"),
    ],
)
def test_seeded_rows_have_other_ids_on_every_database(clinic_pair: Pair, table: str, key: str, number: str) -> None:
    query = f"SELECT {key}, {number}::text FROM {table}"
    source: dict[str, str] = dict(clinic_pair.source.sql(query))
    upstream: dict[str, str] = dict(clinic_pair.upstream.sql(query))
    assert source.keys() == upstream.keys()
    assert all(source[name] != upstream[name] for name in source)


def test_a_piece_of_orm_code_runs_against_the_database_it_is_given(databases: Databases) -> None:
    database = databases.create(15, template=clinic_template(databases.servers, 15))
    orm(database.dsn, "save")
    orm_code(database.dsn, "Subject.objects.filter(subject_identifier='field-01-child').update(first_name='Zuri')")
    assert database.value("SELECT first_name FROM clinic_subject WHERE mother_id IS NOT NULL") == "Zuri"


def _environment() -> dict[str, str]:
    return {"DJANGO_SETTINGS_MODULE": "tests.clinic.settings", "CLINIC_DSN": "host=/nowhere dbname=none"}
