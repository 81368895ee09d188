"""A programme has hundreds of tables: what dbsync knows of each is read once, not once for each of the others."""

from __future__ import annotations

from pathlib import Path

from tests.integration.commands import dbsync
from tests.integration.schemas import large
from tests.support.databases import ONE_MIXTURE, Pair
from tests.support.reads import reads

TABLES = 160
LOOKS = 8
"""So often a command may read all that is known, each time from one end to the other."""


def installed(pair: Pair, folder: Path, tables: int) -> None:
    """Make so many tables at both ends, and have all of them captured."""
    for database in (pair.source, pair.upstream):
        with database.connect() as connection:
            connection.execute(large(tables=tables, foreign_keys=tables))
    typed(folder, "init", "--node", "field-07", "--source", pair.source.dsn, "--upstream", pair.upstream.dsn)
    typed(folder, "install-upstream")
    typed(folder, "install-triggers")


def typed(folder: Path, *words: str) -> None:
    """Type a command that ends well."""
    done = dbsync(folder, *words)
    assert done.code == 0, done.err


@ONE_MIXTURE
def test_commands_read_what_is_known_of_the_tables_a_few_times(pair: Pair, tmp_path: Path) -> None:
    installed(pair, tmp_path, TABLES)
    pair.source.sql("INSERT INTO app_table0 (code, number) VALUES ('a', 1)")
    for words in (("run", "--once"), ("status",), ("check",), ("install-triggers",), ("verify",)):
        with reads(pair.source) as at_source, reads(pair.upstream) as at_upstream:
            typed(tmp_path, *words)
        for found in (at_source, at_upstream):
            found.hold(rows=LOOKS * TABLES, pages=LOOKS * TABLES)


@ONE_MIXTURE
def test_status_names_of_many_tables_those_that_something_is_to_be_said_of(pair: Pair, tmp_path: Path) -> None:
    installed(pair, tmp_path, 60)
    quiet = dbsync(tmp_path, "status").out
    assert "app_table" not in quiet
    assert "  60 tables with nothing pending and no change today, triggers installed: dbsync status --all\n" in quiet
    pair.source.script("""
        INSERT INTO app_table3 (code) VALUES ('a');
        DROP TABLE app_table59 CASCADE; ALTER TABLE app_table6 DISABLE TRIGGER USER""")
    said = dbsync(tmp_path, "status").out
    assert [line.split()[0] for line in said.splitlines() if line.startswith("  app_")] == ["app_table3", "app_table6"]
    assert "  and 57 more tables with nothing pending" in said
    assert dbsync(tmp_path, "status", "--all").out.count("\n  app_table") == 59
    assert len(dbsync(tmp_path, "status", "--json").json["tables"]) == 59
