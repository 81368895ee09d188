"""``dbsync config edit add-table`` writes a table as init would have, into the file as it is, or says why not and writes nothing."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from dbsync.config.problems import InvalidConfig
from dbsync.errors import Refusal, Unreachable, UsageError
from tests.integration.people import Person
from tests.support.databases import ONE_MIXTURE, Pair

SCHEMA = """
CREATE TABLE site (id serial PRIMARY KEY, code text NOT NULL UNIQUE);
CREATE TABLE subject (id serial PRIMARY KEY, identifier text NOT NULL UNIQUE, site_id int REFERENCES site);
CREATE TABLE visit (id serial PRIMARY KEY, subject_id int NOT NULL REFERENCES subject, code int NOT NULL,
    UNIQUE (subject_id, code));
CREATE TABLE lab_box (id serial PRIMARY KEY, barcode text NOT NULL UNIQUE, shelf text, owner_id int);
CREATE TABLE lab_note (id serial PRIMARY KEY, text text);
CREATE TABLE django_session (session_key text PRIMARY KEY);
"""
FILE = """\
# The clinic's laptop.
[node]
name   = "field-07"     # a sticker on the lid
source = "{source}"

[upstream]
url  = "{upstream}"

# --- Shipped ---
[[tables]]
name = "subject"        # key: unique (identifier)
#     ["id"] would do as well

[retention]
keep = "3d"             # little disk
"""

pytestmark = ONE_MIXTURE


@pytest.fixture
def person(pair: Pair, tmp_path: Path) -> Person:
    for database in (pair.source, pair.upstream):
        database.script(SCHEMA)
    config = tmp_path / "dbsync.toml"
    config.write_text(FILE.format(source=pair.source.dsn, upstream=pair.upstream.dsn))
    config.chmod(0o640)
    return Person(config=config)


def add(person: Person, *words: str) -> str:
    return person.must("config", "edit", "add-table", *words).out


def names(person: Person) -> list[str]:
    return [entry["name"] for entry in tomllib.loads(person.config.read_text())["tables"]]


def test_a_table_is_added_with_its_reason_and_nothing_else_changes(person: Person) -> None:
    before = person.config.read_text()
    assert add(person, "lab_box").startswith("lab_box  key: unique (barcode)")
    after = person.config.read_text()
    added = '\n[[tables]]\nname = "lab_box"   # key: unique (barcode)\n'
    place = before.index("\n[retention]")
    assert after == before[:place] + added + before[place:]
    assert person.config.stat().st_mode & 0o777 == 0o640
    assert person.must("tables", "--match", "lab_box", "--json").json[0]["key"] == ["barcode"]


def test_what_a_table_refers_to_comes_along(person: Person) -> None:
    add(person, "visit")
    assert names(person) == ["subject", "visit"], "subject was there"
    person.config.write_text(person.config.read_text().replace('"subject"        #', '"lab_note" #'))
    add(person, "subject")
    assert "here because other tables refer to it" in person.config.read_text().lower()
    assert names(person) == ["lab_note", "visit", "site", "subject"]


def test_a_pattern_adds_each_table_that_it_selects(person: Person) -> None:
    add(person, "lab_*")
    assert names(person) == ["subject", "lab_box", "lab_note"]
    assert tomllib.loads(person.config.read_text())["tables"][2]["key"] == "row_id"


def test_what_is_given_takes_the_place_of_what_was_found(person: Person) -> None:
    said = add(person, "lab_box", "--key", "barcode", "--exclude", "shelf", "--reference", "owner_id=subject")
    assert "as it was given" in said
    entry = tomllib.loads(person.config.read_text())["tables"][1]
    assert entry == {"name": "lab_box", "key": ["barcode"], "exclude": ["shelf"], "references": {"owner_id": "subject"}}


def test_a_dry_run_prints_the_entry_and_writes_nothing(person: Person) -> None:
    before = person.config.read_text()
    assert add(person, "lab_box", "--dry-run") == '[[tables]]\nname = "lab_box"   # key: unique (barcode)\n'
    assert person.config.read_text() == before


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        (("lab_bx",), "the source has no table lab_bx", "tables --unregistered"),
        (("subject",), "subject stands in dbsync.toml already", "config show"),
        (("django_session",), "django_session is better left out", "--offline"),
        (("lab_box", "--key", "barcod"), "that would not do, and nothing was written", ""),
        (("lab_note", "--key", "text"), "that would not do, and nothing was written", ""),
    ],
)
def test_what_would_not_do_is_refused_and_not_written(
    person: Person, words: tuple[str, ...], what: str, hint: str
) -> None:
    before = person.config.read_text()
    with pytest.raises(Refusal) as refused:
        add(person, *words)
    assert refused.value.what == what
    assert hint in refused.value.hint
    assert person.config.read_text() == before
    assert [path.name for path in person.config.parent.iterdir()] == ["dbsync.toml"]


def test_a_slip_names_what_was_probably_meant(person: Person) -> None:
    with pytest.raises(Refusal, match="no table") as refused:
        add(person, "lab_bx")
    assert refused.value.why == "did you mean lab_box?"


def test_what_only_one_table_can_have_is_not_said_of_several(person: Person) -> None:
    for words in (
        ("lab_box", "lab_note", "--key", "id"),
        ("lab_*", "--row-id"),
        ("lab_box", "--key", "id", "--row-id"),
    ):
        with pytest.raises(UsageError):
            add(person, *words)
    with pytest.raises(UsageError, match="not a reference"):
        add(person, "lab_box", "--reference", "owner_id")


def test_without_a_database_a_table_is_added_as_it_is_given(person: Person, pair: Pair) -> None:
    person.config.write_text(person.config.read_text().replace(pair.source.dsn, "host=/nonexistent dbname=clinic"))
    with pytest.raises(Unreachable):
        add(person, "lab_box")
    add(person, "lab.box", "--offline", "--mode", "lookup", "--key", "barcode")
    entry = tomllib.loads(person.config.read_text())["tables"][1]
    assert entry == {"name": "lab.box", "mode": "lookup", "key": ["barcode"]}


def test_a_file_that_is_wrong_already_is_not_touched(person: Person) -> None:
    person.config.write_text(person.config.read_text().replace("keep =", "kep ="))
    before = person.config.read_text()
    with pytest.raises(InvalidConfig):
        add(person, "lab_box")
    assert person.config.read_text() == before
