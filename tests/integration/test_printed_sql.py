"""What a DBA prints, reads and pastes does all that the command would have done."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from tests.acceptance.places import EXTRA, TABLES, Place, place
from tests.support.databases import Pair
from tests.support.ward import psql

NOTES = '\n[[tables]]\nname = "note"\nkey = "row_id"\n'
LOOKUP = '\n[[tables]]\nname = "extra"\nmode = "lookup"\n'


@pytest.fixture
def here(pair: Pair, tmp_path: Path) -> Place:
    """Give a node and its upstream, on which nothing but the upstream's side is installed."""
    found = place(tmp_path, pair.source, pair.upstream)
    for database in (pair.source, pair.upstream):
        database.script("CREATE TABLE note (id serial PRIMARY KEY, words text, extra_id int REFERENCES extra)")
    found.configure(TABLES + LOOKUP + NOTES)
    found.must("install-upstream")
    return found


def paste(here: Place, *words: str) -> None:
    psql(here.source, here.must(*words, "--sql").out)


def test_what_is_written_behind_pasted_triggers_arrives(here: Place) -> None:
    for database in (here.source, here.upstream):
        database.sql("INSERT INTO extra (code) VALUES ('E-1')")
    here.source.sql("INSERT INTO note (words, extra_id) VALUES ('before', 1)")
    paste(here, "install-triggers")
    here.must("backfill")
    here.source.sql("INSERT INTO subject (identifier) VALUES ('S-1')")
    here.source.script("INSERT INTO note (words, extra_id) VALUES ('behind', 1); UPDATE note SET words = 'now'")
    here.must("run", "--once")
    assert "source and upstream agree" in here.must("verify").out
    assert {table["trigger"] for table in here.status()["tables"]} == {"installed"}
    assert here.must("install-triggers").out == "nothing to do: 3 tables are captured\n"
    here.must("check")


def test_a_table_that_is_added_by_pasting_is_shipped(here: Place) -> None:
    here.must("install-triggers")
    here.configure(TABLES + EXTRA + NOTES)
    here.must("install-upstream")
    paste(here, "install-triggers")
    here.source.sql("INSERT INTO extra (code) VALUES ('E-1')")
    file = here.folder / "dbsync.toml"
    as_the_service = make_conninfo(here.source.dsn, options="-c role=dbsync_replicator")
    file.write_text(file.read_text().replace(f'source = "{here.source.dsn}"', f'source = "{as_the_service}"'))
    assert here.must("run", "--once").out == "1 change shipped to community\n"
    here.configure(TABLES + EXTRA + NOTES)
    here.must("verify")


def test_what_is_taken_away_by_pasting_is_gone(here: Place) -> None:
    here.must("install-triggers")
    here.configure(TABLES)
    paste(here, "install-triggers")
    shipped = "SELECT relation FROM dbsync.relation WHERE mode = 'ship' ORDER BY 1"
    assert here.source.sql(shipped) == [("public.subject",), ("public.visit",)]
    paste(here, "uninstall-triggers")
    assert here.source.sql(shipped) == []
    assert here.must("install-triggers").out == "2 tables captured now, 0 were before\n"


def test_what_would_be_lost_is_not_printed_either(here: Place) -> None:
    here.must("install-triggers")
    here.source.sql("INSERT INTO subject (identifier) VALUES ('S-1')")
    for words in (("--sql",), ("--dry-run",), ("--drop-schema", "--sql")):
        refused = here.run("uninstall-triggers", *words)
        assert (refused.code, refused.out, "not acknowledged" in refused.err) == (1, "", True)
    here.must("run", "--once")
    assert "would remove triggers from subject\n" in here.must("uninstall-triggers", "--dry-run").out
    psql(here.source, here.must("uninstall-triggers", "--drop-schema", "--sql").out)
    assert here.source.value("SELECT to_regnamespace('dbsync') IS NULL")
    here.source.sql("INSERT INTO subject (identifier) VALUES ('S-2')")
