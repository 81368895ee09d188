"""dbsync.toml: what it may say, and which entry speaks for a table."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from dbsync.config.advice import advise
from dbsync.config.discover import discover, usual_places
from dbsync.config.dsn import parameters, short_name
from dbsync.config.fields import Route
from dbsync.config.load import load, parse
from dbsync.config.models import Config, TableConfig, UpstreamConfig
from dbsync.config.problems import InvalidConfig
from dbsync.errors import ConfigError
from dbsync.model.names import TableName
from dbsync.model.registration import Mode, Truncate

HEAD = (
    '[node]\nname = "field-07"\nsource = "service=clinic"\n[upstream]\nurl = "postgresql://db.example.org/community"\n'
)

EXAMPLE = """
[node]
name   = "field-07"
source = "service=clinic"                  # any libpq connection string

[upstream]
url = "postgresql://sync@db.example.org/community"

[[tables]]
name = "clinic_subject"                    # key found: unique (subject_identifier)

[[tables]]
name    = "clinic_crf_*"                   # patterns; historical tables can be left out
exclude = ["free_text"]
on_conflict = "quarantine"

[[tables]]
name       = "clinic_historicalsubject"
key        = ["history_id"]
references = { id = "clinic_subject", site_id = "sites_site" }   # no constraint in the database

[[tables]]
name    = "clinic_attachment"
key     = ["sha256"]
generic = [{ type = "content_type_id", id = "object_id" }]

[[tables]]
name = "django_content_type"
mode = "lookup"                            # exists on both sides, only resolves references
"""


def read(text: str, **environ: str) -> Config:
    return parse(text, path="dbsync.toml", environ=environ)


def tables(*entries: str) -> Config:
    return read(HEAD + "".join(f"[[tables]]\n{entry}\n" for entry in entries))


def entry(config: Config, name: str) -> TableConfig:
    found = config.table_for(TableName.parse(name))
    assert found is not None
    return found


def test_the_example_of_the_manual_is_read_as_it_stands() -> None:
    config = read(EXAMPLE)
    assert (config.node.name, config.node.source) == ("field-07", "service=clinic")
    assert config.upstream.route is Route.DIRECT
    assert entry(config, "clinic_crf_vitals").exclude == ("free_text",)
    assert entry(config, "clinic_historicalsubject").key == ("history_id",)
    assert entry(config, "clinic_historicalsubject").reference_tables == {
        "id": TableName("public", "clinic_subject"),
        "site_id": TableName("public", "sites_site"),
    }
    assert entry(config, "clinic_attachment").generic[0].id == "object_id"
    assert entry(config, "django_content_type").mode is Mode.LOOKUP
    assert config.table_for(TableName.parse("auth_user")) is None


def test_what_is_not_written_has_the_defaults_of_the_manual() -> None:
    config = tables('name = "visit"')
    assert config.batch.max_changes == 20_000
    assert (config.service.poll_interval, config.service.retry_max, config.service.lock_timeout) == (0.2, 60, 2)
    visit = entry(config, "visit")
    assert (visit.mode, visit.key, visit.truncate) == (Mode.SHIP, None, Truncate.REJECT)
    assert (visit.on_conflict, visit.on_delete) == ("source", "apply")
    assert not visit.references


def test_whole_numbers_do_for_seconds() -> None:
    assert read(HEAD + "[service]\nretry_max = 5\n").service.retry_max == 5.0


def test_row_id_is_a_key() -> None:
    assert entry(tables('name = "log_*"\nkey = "row_id"'), "log_line").key == "row_id"


def test_an_entry_that_names_the_table_wins_over_patterns_wherever_it_stands() -> None:
    config = tables('name = "clinic_visit"\nkey = ["a"]', 'name = "clinic_*"\nkey = ["b"]')
    assert entry(config, "clinic_visit").key == ("a",)
    assert entry(config, "public.clinic_subject").key == ("b",)


def test_of_several_patterns_the_last_one_wins() -> None:
    config = tables('name = "clinic_*"\nkey = ["a"]', 'name = "*_visit"\nkey = ["b"]')
    assert entry(config, "clinic_visit").key == ("b",)


def test_a_skipped_table_is_no_table_of_ours() -> None:
    config = tables('name = "clinic_*"', 'name = "*_historical*"\nskip = true', 'name = "clinic_tmp"\nskip = true')
    assert config.table_for(TableName.parse("clinic_tmp")) is None
    assert config.table_for(TableName.parse("clinic_historicalvisit")) is None
    assert config.entry_for(TableName.parse("clinic_tmp")) is not None
    assert config.literal_tables() == ()


def test_what_a_pattern_excepts_another_entry_may_still_select() -> None:
    config = tables('name = "*"\nkey = ["a"]', 'name = "clinic_*"\nexcept = ["*historical*", "clinic_tmp"]')
    assert entry(config, "clinic_visit").key is None
    assert entry(config, "clinic_tmp").key == ("a",)
    assert entry(config, "clinic_historicalvisit").key == ("a",)


def test_tables_named_one_by_one_are_listed_in_the_order_of_the_file() -> None:
    config = tables('name = "visit"', 'name = "clinic_*"', 'name = "lab.\\"Box 7\\""')
    assert config.literal_tables() == (TableName("public", "visit"), TableName("lab", "Box 7"))


@pytest.mark.parametrize(
    ("pattern", "table", "selected"),
    [
        ("lab.*", "lab.box", True),
        ("lab.*", "box", False),
        ("box", "lab.box", False),
        ("box_[0-9]", "box_3", True),
        ("box_?", "box_33", False),
        ("Box*", "box", False),
        ('lab."we*ird"_*', 'lab."we*ird_x"', True),
        ('lab."we*ird"_*', 'lab."weXird_x"', False),
        ('"Box [1]"', '"Box [1]"', True),
        ('"say ""hi"""*', '"say ""hi"" now"', True),
    ],
)
def test_patterns_select_by_name_or_by_schema_and_name(pattern: str, table: str, selected: bool) -> None:
    assert TableConfig(name=pattern).selects(TableName.parse(table)) is selected


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("postgresql://sync:secret@db.example.org:5433/community?sslmode=require", "community"),
        ("postgres://db.example.org", "db.example.org"),
        ("postgresql://[::1]:5432/", "1"),
        ("postgresql:///my%20clinic", "my-clinic"),
        ("postgresql://", "upstream"),
        ("host=a.example.org dbname='the community'", "the-community"),
        ("service=community", "community"),
        ("host=/run/postgresql user=sync", "upstream"),
    ],
)
def test_an_upstream_without_a_name_is_called_after_its_database(url: str, label: str) -> None:
    assert UpstreamConfig(url=url).label == label
    assert UpstreamConfig(url=url, name="central").label == "central"


def test_connection_strings_are_taken_apart_as_libpq_does() -> None:
    assert parameters(r"host = a password='it\'s' options=-c\ x=1 dbname=") == {
        "host": "a",
        "password": "it's",
        "options": "-c x=1",
        "dbname": "",
    }
    assert parameters("postgresql://u:p@a:1,[::1]:2/d?sslmode=require") == {
        "user": "u",
        "password": "p",
        "host": "a,::1",
        "port": "1,2",
        "dbname": "d",
        "sslmode": "require",
    }
    for wrong in ("", "  ", "clinic", "host=a b", "password='open", "mysql://h/d"):
        with pytest.raises(ValueError, match=r"connection string|pairs|address"):
            parameters(wrong)
        assert short_name(wrong) == "upstream"


def test_a_shown_configuration_has_no_connection_strings() -> None:
    config = read(HEAD.replace("service=clinic", "host=a password=hunter2"))
    assert "hunter2" not in repr(config)


def test_a_configuration_does_not_change() -> None:
    config = read(EXAMPLE)
    with pytest.raises(ValidationError):
        config.node.name = "other"
    with pytest.raises(TypeError):
        config.tables[2].references["x"] = "y"  # type: ignore[index]


def test_two_readings_of_one_file_are_equal() -> None:
    first, second = read(EXAMPLE), read(EXAMPLE)
    assert first.literal_tables()
    assert first == second
    assert first != read(EXAMPLE.replace("lookup", "ship"))


def test_environment_variables_are_filled_in() -> None:
    text = HEAD.replace("service=clinic", "host=a password=${PG_PASS} options=$${x} $5")
    text = text.replace("$5", "user=$5")
    assert read(text, PG_PASS="s").node.source == "host=a password=s options=${x} user=$5"


def test_secrets_are_read_from_files_beside_the_configuration_or_anywhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("  word\n")
    path = tmp_path / "dbsync.toml"
    for written in ("secret", tmp_path / "secret"):
        path.write_text(HEAD.replace("service=clinic", f"host=a password=${{file:{written}}}"))
        assert load(path, {}).node.source == "host=a password=word"


def test_a_file_from_windows_is_read(tmp_path: Path) -> None:
    path = tmp_path / "dbsync.toml"
    path.write_bytes(b"\xef\xbb\xbf" + EXAMPLE.replace("\n", "\r\n").encode())
    assert load(path, {}) == read(EXAMPLE).from_folder(tmp_path)


def test_a_missing_file_is_answered_with_the_command_that_writes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file") as caught:
        load(tmp_path / "dbsync.toml", {})
    assert caught.value.hint.startswith("dbsync init --source")
    assert not isinstance(caught.value, InvalidConfig)
    with pytest.raises(ConfigError, match="directory"):
        load(tmp_path, {})


def test_the_file_named_on_the_command_line_comes_first_then_the_environment(tmp_path: Path) -> None:
    environ = {"DBSYNC_CONFIG": "b.toml", "HOME": str(tmp_path)}
    assert discover(Path("a.toml"), environ) == Path("a.toml")
    assert discover(None, environ) == Path("b.toml")


def test_the_usual_places_are_searched_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {"HOME": str(tmp_path / "home"), "DBSYNC_CONFIG": ""}
    in_home = tmp_path / "home" / ".config" / "dbsync" / "dbsync.toml"
    in_home.parent.mkdir(parents=True)
    in_home.touch()
    assert discover(None, environ) == in_home
    Path("dbsync.toml").touch()
    assert discover(None, environ) == Path("dbsync.toml")
    assert [str(place) for place in usual_places({})] == ["dbsync.toml", "/etc/dbsync/dbsync.toml"]


def test_no_file_anywhere_is_answered_with_the_places_and_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dbsync.config.discover.SYSTEM_WIDE", tmp_path / "etc.toml")
    with pytest.raises(ConfigError, match="there is no configuration file") as caught:
        discover(None, {"HOME": os.fspath(tmp_path)})
    assert "dbsync init --source" in caught.value.hint
    assert "etc.toml" in caught.value.why


def test_a_file_that_this_account_may_not_look_for_is_no_reason_to_write_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Debian package keeps /etc/dbsync to root and its own group."""
    place = tmp_path / "kept to others" / "dbsync.toml"

    really = Path.stat

    def stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path == place:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return really(path, follow_symlinks=follow_symlinks)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dbsync.config.discover.SYSTEM_WIDE", place)
    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(ConfigError, match="may not look") as caught:
        discover(None, {})
    assert caught.value.where == str(place)
    assert caught.value.hint.startswith(f"ls -ld '{place.parent}' '{place}'   shows who may")
    assert "init" not in caught.value.hint


def test_a_password_in_the_file_is_allowed_with_a_warning() -> None:
    text = HEAD.replace("service=clinic", "host=a password=hunter2")
    read(text)
    (warning,) = advise(text)
    assert warning.at() == "dbsync.toml:3:10"
    assert "password stands in the file" in warning.message
    assert "hunter2" not in warning.message + warning.hint
    assert advise(text.replace("hunter2", "${PG_PASS}")) == ()


def test_settings_without_effect_are_warned_of() -> None:
    text = HEAD + '[[tables]]\nname="a"\nmode="lookup"\nexclude=["x"]\n[[tables]]\nname="b"\nskip=true\nkey=["k"]\n'
    assert [warning.message for warning in advise(text)] == [
        "'exclude' has no effect: a lookup table is not shipped",
        "'key' has no effect: the entry says 'skip'",
    ]
    assert advise("no toml") == ()
