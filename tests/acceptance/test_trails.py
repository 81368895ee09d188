"""Applications that others made keep trails of what was done: their tables are proposed, shipped, and mean upstream what they meant."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.places import Place
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair
from tests.support.django import run_in
from tests.support.pipeline import SHIFT_SEQUENCES

PROJECT = "tests.clinic.trail.settings"
OTHER_TYPES = """
    BEGIN; SET CONSTRAINTS ALL DEFERRED;
    UPDATE auth_permission SET content_type_id = content_type_id + 500;
    UPDATE django_content_type SET id = id + 500;
    TRUNCATE easyaudit_crudevent;
    COMMIT"""
LINES = """
    SELECT t.model, e.action, p.code, count(*) FROM auditlog_logentry e JOIN django_content_type t ON t.id = e.content_type_id
    LEFT JOIN trail_patient p ON t.model = 'patient' AND p.id::text = e.object_pk AND p.id = e.object_id
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""
EVENTS = """
    SELECT t.model, e.event_type, p.code, count(*) FROM easyaudit_crudevent e JOIN django_content_type t ON t.id = e.content_type_id
    LEFT JOIN trail_patient p ON t.model = 'patient' AND p.id::text = e.object_id GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""
TAGS = """
    SELECT p.code, g.name FROM taggit_taggeditem i JOIN trail_patient p ON p.id = i.object_id
    JOIN taggit_tag g ON g.id = i.tag_id ORDER BY 1, 2"""
RIGHTS = (
    "SELECT p.code FROM guardian_userobjectpermission o JOIN trail_patient p ON p.id::text = o.object_pk ORDER BY 1"
)
VERSIONS = "SELECT p.code FROM reversion_version v JOIN trail_patient p ON p.id::text = v.object_id ORDER BY 1"
GONE = """
    SELECT count(*), count(DISTINCT object_pk) FROM auditlog_logentry e JOIN django_content_type t ON t.id = e.content_type_id
    WHERE t.model = 'patient' AND NOT EXISTS (SELECT FROM trail_patient p WHERE p.id = e.object_id)"""


def migrated(databases: Databases, version: int, name: str) -> Database:
    """Give a database with the project's tables."""
    database = databases.create(version, name=name)
    run_in(PROJECT, database.dsn, "-m", "django", "migrate", "--run-syncdb", "--verbosity=0")
    database.sql("TRUNCATE easyaudit_crudevent")  # the migrations themselves
    return database


@ONE_MIXTURE
def test_what_was_done_is_upstream_as_it_was_done(databases: Databases, pair: Pair, tmp_path: Path) -> None:
    version, above = pair.versions
    place = Place(
        folder=tmp_path, source=migrated(databases, version, "trail"), upstream=migrated(databases, above, "above")
    )
    place.upstream.script(OTHER_TYPES)
    run_in(PROJECT, place.source.dsn, "-m", "tests.clinic.trail.day", "old")
    place.must("init", "--node", "a", "--source", place.source.dsn, "--upstream", place.upstream.dsn, "--tables", "*")
    place.must("check")
    place.install()
    place.upstream.script(SHIFT_SEQUENCES)
    place.must("backfill")
    place.must("run", "--once")
    run_in(PROJECT, place.source.dsn, "-m", "tests.clinic.trail.day", "new")
    place.must("run", "--once")
    assert place.must("quarantine", "list").out == "nothing is in quarantine\n"
    assert place.must("verify").out.splitlines()[-1].endswith("source and upstream agree.")
    for meant in (LINES, EVENTS, TAGS, RIGHTS, VERSIONS):
        rows = place.source.sql(meant.encode())
        assert rows
        assert place.upstream.sql(meant.encode()) == rows
    assert place.upstream.sql(GONE) == place.source.sql(GONE) == [(4, 2)]
