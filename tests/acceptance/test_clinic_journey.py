"""The whole journey of a Django clinic by the real commands, from an empty folder to two laptops on one server."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.places import Place
from tests.integration.commands import Done
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair
from tests.support.django import clinic_template, orm, orm_code


def laptop(folder: Path, source: Database, upstream: Database, node: str) -> Place:
    """Make a folder and let ``dbsync init`` write its dbsync.toml."""
    folder.mkdir()
    place = Place(folder=folder, source=source, upstream=upstream)
    place.must("init", "--node", node, "--source", source.dsn, "--upstream", upstream.dsn, "--tables", "*")
    return place


def set_up(place: Place) -> None:
    """Do what stands in the quick start."""
    place.must("check")
    place.must("install-upstream")
    place.must("install-triggers")
    place.must("backfill")
    place.must("run", "--once")


def agreed(done: Done) -> bool:
    return done.out.splitlines()[-1].endswith("source and upstream agree.")


def test_two_laptops_and_a_server_from_init_to_verify(clinic_pair: Pair, databases: Databases, tmp_path: Path) -> None:
    orm(clinic_pair.source.dsn, "all", prefix="field-01")
    first = laptop(tmp_path / "one", clinic_pair.source, clinic_pair.upstream, "field-01")
    written = (first.folder / "dbsync.toml").read_text()
    set_up(first)
    assert first.must("install-upstream").out == "upstream: nothing to do\n"
    assert first.must("install-triggers").out.startswith("nothing to do: ")
    assert agreed(first.must("verify"))

    orm(first.source.dsn, "all", prefix="later")
    orm(first.source.dsn, "all", prefix="field-01")
    assert first.status()["pending"] > 0
    first.must("run", "--once")
    assert agreed(first.must("verify"))

    template = clinic_template(databases.servers, first.source.version, "b")
    source = databases.create(first.source.version, name="clinic_second", template=template)
    orm(source.dsn, "all", prefix="field-02")
    second = laptop(tmp_path / "two", source, clinic_pair.upstream, "field-02")
    set_up(second)
    orm(second.source.dsn, "save", "rename", "recreate", "cascade", "history", prefix="field-02")
    orm(first.source.dsn, "get_or_create", "history", prefix="field-01")
    second.must("run", "--once")
    first.must("run", "--once")
    for place in (first, second):
        assert "agree" in place.must("verify", "--ignore-extra").out
    shared = first.upstream.sql("""
        SELECT (SELECT count(*) FROM clinic_household WHERE code = 'shared-household'),
               (SELECT count(*) FROM clinic_tag WHERE name = 'shared-tag'),
               (SELECT count(*) FROM clinic_panel WHERE name = 'viral load')
    """)
    assert shared == [(1, 1, 1)]
    assert first.upstream.value("""
        SELECT count(*) FROM clinic_subject s JOIN clinic_household h ON h.id = s.household_id
        WHERE h.code = 'shared-household'
    """) == 3  # fmt: skip
    assert (first.folder / "dbsync.toml").read_text() == written


@ONE_MIXTURE
def test_tables_and_status_have_the_shape_that_their_help_describes(clinic_pair: Pair, tmp_path: Path) -> None:
    place = laptop(tmp_path / "one", clinic_pair.source, clinic_pair.upstream, "field-01")
    place.must("install-triggers")
    tables = place.must("tables", "--json").json
    assert all(set(row) == {"table", "registered", "mode", "key", "rows", "problems"} for row in tables)
    by_name = {row["table"]: row for row in tables}
    assert by_name["clinic_visit"]["key"] == ["subject_id.subject_identifier", "visit_code"]
    assert (by_name["clinic_visit"]["registered"], by_name["clinic_visit"]["mode"]) == (True, "ship")
    assert by_name["django_content_type"]["mode"] == "lookup"
    assert (by_name["django_migrations"]["registered"], by_name["django_migrations"]["mode"]) == (False, None)
    registered = place.must("tables", "--registered", "--json").json
    unregistered = place.must("tables", "--unregistered", "--json").json
    assert sorted(row["table"] for row in (*registered, *unregistered)) == sorted(by_name)
    chosen = place.must("tables", "--match", "clinic_*", "--exclude", "*historical*", "--json").json
    assert {row["table"] for row in chosen} == {
        name for name in by_name if name.startswith("clinic_") and "historical" not in name
    }

    orm_code(place.source.dsn, "Tag.objects.create(name='red')")
    status = place.status()
    assert set(status) >= {"node", "link", "pending", "lag", "tables", "events"}
    assert set(status["node"]) == {
        "name", "lineage", "incarnation", "capture_off_since", "paused_since", "reloaded"
    }  # fmt: skip
    assert set(status["link"]) == {
        "name", "state", "since", "reason", "last_batch", "last_changes", "last_at", "clock_off", "above", "custody"
    }  # fmt: skip
    assert (status["pending"], status["link"]["state"], status["link"]["last_batch"]) == (1, "new", 0)
    assert status["lag"] > 0
    assert all(
        set(row) == {"table", "pending", "oldest", "today", "trigger", "quarantined"} for row in status["tables"]
    )
    assert {row["table"]: row["pending"] for row in status["tables"] if row["pending"]} == {"clinic_tag": 1}
    assert {row["trigger"] for row in status["tables"]} == {"installed"}


@ONE_MIXTURE
def test_a_table_added_to_the_file_is_captured_after_install_triggers(clinic_pair: Pair, tmp_path: Path) -> None:
    place = laptop(tmp_path / "one", clinic_pair.source, clinic_pair.upstream, "field-01")
    set_up(place)
    for database in (place.source, place.upstream):
        database.script(
            "CREATE TABLE clinic_fridge (id serial PRIMARY KEY, label text NOT NULL UNIQUE, degrees numeric)"
        )
    with (place.folder / "dbsync.toml").open("a") as file:
        file.write('\n[[tables]]\nname = "clinic_fridge"\n')
    place.source.sql("INSERT INTO clinic_fridge (label) VALUES ('before')")
    assert "  clinic_fridge\n" in place.must("install-triggers").err
    place.source.sql("INSERT INTO clinic_fridge (label, degrees) VALUES ('after', 4.0)")
    place.must("backfill", "clinic_fridge")
    place.must("run", "--once")
    assert agreed(place.must("verify"))
    assert place.upstream.value("SELECT count(*) FROM clinic_fridge") == 2
