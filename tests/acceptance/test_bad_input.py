"""Bad input gets a clear error with its four parts, the right exit code, and loses nothing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import conninfo, sql

from dbsync.demo.server import Cluster
from tests.acceptance.places import TABLES, Place, parts, place
from tests.support.databases import Database, Databases
from tests.support.servers import own_cluster


@pytest.fixture
def here(databases: Databases, tmp_path: Path) -> Place:
    """Give a laptop and its server; nothing is installed yet."""
    return place(tmp_path, databases.create(15, name="source"), databases.create(18, name="upstream"))


def errors(place: Place) -> list[dict[str, Any]]:
    """Run check, which has to find fault, and give the errors."""
    done = place.run("check", "--json")
    assert done.code == 1, done.err
    found = [finding for finding in done.json["findings"] if finding["severity"] == "error"]
    assert all(finding["remedy"] and finding["where"] and finding["what"] for finding in found)
    return found


def test_a_wrong_file_is_told_whole_and_nothing_is_started(here: Place) -> None:
    (here.folder / "dbsync.toml").write_text(
        '[node]\nname = "field-07"\nsource = "host=${NOWHERE_SET}"\n[upstream]\nurl = "ftp://example.org"\n'
        '[batch]\nmax_changes = "many"\n[[tables]]\nname = "subject"\nkeyy = ["identifier"]\n'
    )
    for command in (["run"], ["check"], ["status"], ["install-triggers"], ["backfill"], ["verify"], ["tables"]):
        done = here.run(*command)
        assert (done.code, done.out) == (78, "")
        for words in (
            "dbsync.toml:3:",
            "NOWHERE_SET",
            "dbsync.toml:5:",
            "dbsync.toml:7:",
            "dbsync.toml:10:",
            "did you mean 'key'?",
        ):
            assert words in done.err
        assert "4 problems" in done.err


def test_a_file_that_is_not_there_is_told(here: Place) -> None:
    done = here.run("status", "--config", "nowhere.toml")
    assert done.code == 78
    assert "nowhere.toml" in done.err
    assert "dbsync init" in done.err


def test_a_table_that_is_not_there_is_named_with_the_nearest(here: Place) -> None:
    here.configure('[[tables]]\nname = "subjct"\n')
    done = here.run("install-triggers")
    assert done.code == 1
    assert parts(done)["where"] == "subjct"
    assert [finding["code"] for finding in errors(here)] == ["unknown_table"]
    assert here.source.value("SELECT to_regnamespace('dbsync') IS NULL")


def test_a_table_without_a_key_is_refused_with_what_to_write(here: Place) -> None:
    for database in (here.source, here.upstream):
        database.script("CREATE TABLE line (id serial PRIMARY KEY, words text)")
    here.configure(TABLES + '[[tables]]\nname = "line"\n')
    done = here.run("install-triggers")
    assert done.code == 1
    assert parts(done)["where"] == "line"
    assert "row_id" in parts(done)["try"]
    here.configure(TABLES + '[[tables]]\nname = "line"\nkey = "row_id"\n')
    here.install()


def test_a_key_that_is_not_unique_upstream_is_told_with_the_index_to_make(here: Place) -> None:
    here.upstream.script("ALTER TABLE subject DROP CONSTRAINT subject_identifier_key")
    (finding,) = errors(here)
    assert finding["code"] == "key_not_unique_upstream"
    here.upstream.sql(sql.SQL(finding["remedy"].rstrip(";")))
    assert here.must("check", "--json").json["ok"]


def test_an_upstream_that_is_the_source_under_another_address_is_refused_and_nothing_is_written(here: Place) -> None:
    here.install()
    here.source.sql("INSERT INTO subject (identifier) VALUES ('S-1')")
    here.source.sql("DELETE FROM subject")
    here.source.sql("INSERT INTO subject (identifier) VALUES ('S-1')")
    row = here.source.sql("SELECT id, xmin::text FROM subject")
    itself = conninfo.make_conninfo(here.source.dsn, application_name="community")
    file = here.folder / "dbsync.toml"
    file.write_text(f"{file.read_text().replace(here.upstream.dsn, itself)}[batch]\nmax_changes = 1\n")
    for command in (["run", "--once"], ["run"]):
        refused = here.run(*command)
        assert (refused.code, parts(refused)["what"]) == (78, "source and upstream are the same database")
        assert "dbsync check" in parts(refused)["try"]
    assert [finding["code"] for finding in errors(here)] == ["same_database"]
    assert here.source.sql("SELECT id, xmin::text FROM subject") == row


TRAPS = """
CREATE SCHEMA traps;
CREATE FUNCTION traps.sprung() RETURNS bool LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''sprung''; END';
CREATE FUNCTION traps.equal(int, int) RETURNS bool LANGUAGE sql AS 'SELECT traps.sprung()';
CREATE FUNCTION traps.equal(oid, oid) RETURNS bool LANGUAGE sql AS 'SELECT traps.sprung()';
CREATE FUNCTION traps.equal(name, name) RETURNS bool LANGUAGE sql AS 'SELECT traps.sprung()';
CREATE OPERATOR traps.= (LEFTARG = int, RIGHTARG = int, FUNCTION = traps.equal);
CREATE OPERATOR traps.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = traps.equal);
CREATE OPERATOR traps.= (LEFTARG = name, RIGHTARG = name, FUNCTION = traps.equal);
CREATE FUNCTION traps.now() RETURNS timestamptz LANGUAGE sql AS 'SELECT CASE WHEN traps.sprung() THEN pg_catalog.now() END';
"""


def test_whoever_may_set_a_databases_search_path_has_nothing_run_by_who_installs(here: Place) -> None:
    for database in (here.source, here.upstream):
        database.script(TRAPS)
        database.sql(
            sql.SQL("ALTER DATABASE {} SET search_path = traps, pg_catalog, public").format(
                sql.Identifier(database.name)
            )
        )
    here.install()
    here.must("check")
    here.must("status")
    here.must("verify")
    here.must("uninstall-triggers", "--drop-schema")


@pytest.fixture
def plain() -> Iterator[Cluster]:
    """Give a server of its own, where no role dbsync is."""
    with own_cluster(15) as cluster:
        yield cluster


def lacking(place: Place) -> list[dict[str, Any]]:
    """Give the findings of check about privileges."""
    found = place.run("check", "--json").json["findings"]
    return [one for one in found if one["severity"] != "ok" and one["code"].startswith("privilege")]


def paste(database: Database, remedy: str) -> None:
    """Do what a remedy says, as the owner of everything."""
    with database.connect() as connection:
        made = connection.execute("SELECT to_regrole('dbsync') IS NOT NULL").fetchone() == (True,)
        for statement in remedy.removeprefix("as their owner: ").split(";"):
            if statement.strip() and not (made and "CREATE ROLE" in statement):  # both databases are on one server
                connection.execute(sql.SQL(statement))


def test_a_role_without_rights_is_told_what_to_paste_and_then_it_works(plain: Cluster, tmp_path: Path) -> None:
    databases = []
    for name in ("laptop", "community"):
        plain.create_database(name)
        databases.append(Database(cluster=plain, name=name))
    admin = place(tmp_path, databases[0], databases[1])
    databases[0].sql("CREATE ROLE nurse LOGIN")
    text = (tmp_path / "dbsync.toml").read_text()
    (tmp_path / "dbsync.toml").write_text(text.replace("user=postgres", "user=nurse"))
    refused = admin.run("install-triggers")
    assert refused.code == 78
    assert "dbsync check" in parts(refused)["try"]
    refused = admin.run("install-upstream")
    assert refused.code == 78
    assert parts(refused)["where"] == "upstream"
    for _ in range(2):  # what dbsync owns can be granted only after its role was made
        for finding in lacking(admin):
            if finding["code"] != "privilege_lookup":
                paste(databases[finding["where"] == "upstream"], finding["remedy"])
    assert [finding["code"] for finding in lacking(admin)] == ["privilege_lookup"]
    refused = admin.run("install-triggers")
    assert (refused.code, parts(refused)["where"]) == (78, "source")
    paste(databases[0], parts(refused)["try"])
    assert lacking(admin) == []
    admin.must("check")
    admin.install()
    databases[0].script("""
        INSERT INTO subject (identifier) VALUES ('S-1'), ('S-2');
        INSERT INTO visit (subject_id, code) VALUES (1, 1000);
        DELETE FROM subject WHERE id = 2;
    """)
    admin.must("run", "--once")
    admin.must("verify")
    admin.must("status")


def test_an_upstream_of_an_older_dbsync_is_told_and_nothing_is_shipped(here: Place) -> None:
    here.install()
    here.source.sql("INSERT INTO subject (identifier) VALUES ('S-1')")
    here.upstream.sql("UPDATE dbsync.alembic_version SET version_num = '0000'")
    done = here.run("run", "--once")
    assert (done.code, parts(done)["where"], parts(done)["try"]) == (78, "upstream", "dbsync install-upstream")
    assert [finding["code"] for finding in errors(here)] == ["schema_outdated"]
    found = here.status()
    assert (found["pending"], found["link"]["state"]) == (1, "halted")
    here.upstream.sql("UPDATE dbsync.alembic_version SET version_num = '9999'")
    done = here.run("run", "--once")
    assert (done.code, parts(done)["try"]) == (78, "upgrade dbsync on this machine")
    assert here.run("install-upstream").code == 78
    assert here.upstream.value("SELECT count(*) FROM subject") == 0


def test_an_upstream_without_dbsync_is_told(here: Place) -> None:
    here.must("install-triggers")
    done = here.run("run", "--once")
    assert (done.code, parts(done)["where"], parts(done)["try"]) == (78, "upstream", "dbsync install-upstream")


def test_a_source_that_is_a_hot_standby_is_refused(here: Place) -> None:
    with own_cluster(15) as primary:
        primary.create_database("clinic")
        there = Database(cluster=primary, name="clinic")
        there.script("CREATE TABLE subject (id serial PRIMARY KEY, identifier text NOT NULL UNIQUE)")
        with own_cluster(15) as standby:
            follow(primary, standby)
            copy = Place(folder=here.folder, source=Database(cluster=standby, name="clinic"), upstream=here.upstream)
            copy.configure('[[tables]]\nname = "subject"\n')
            assert "hot_standby" in [finding["code"] for finding in errors(copy)]
            done = copy.run("install-triggers")
            assert (done.code, parts(done)["try"].split("   ")[0]) == (1, "dbsync check")
            assert "standby" in parts(done)["why"]


def follow(primary: Cluster, standby: Cluster) -> None:
    """Make the second cluster a hot standby of the first."""
    standby.stop()
    shutil.rmtree(standby.data)
    program = primary.binaries.bindir / "pg_basebackup"
    if not program.exists():
        pytest.skip(f"{program} is not installed")
    owner = standby.directory.stat()
    subprocess.run(
        [str(program), "-D", str(standby.data), "-R", "-c", "fast", "-d", primary.dsn("postgres")],
        check=True,
        capture_output=True,
        user=owner.st_uid,
        group=owner.st_gid,
        cwd=standby.directory,
    )
    with (standby.data / "postgresql.auto.conf").open("a") as file:
        file.write(f"\nunix_socket_directories = '{standby.directory}'\n")
    standby.start()


def test_uninstall_refuses_while_changes_wait_and_says_how_many(here: Place) -> None:
    here.install()
    here.source.sql("INSERT INTO subject (identifier) VALUES ('S-1'), ('S-2'), ('S-3')")
    done = here.run("uninstall-triggers")
    assert done.code == 1
    assert parts(done)["what"].startswith("3 changes")
    assert "dbsync run --once" in parts(done)["try"]
    assert here.status()["tables"][0]["trigger"] == "installed"
    here.must("run", "--once")
    here.source.sql("INSERT INTO subject (identifier) VALUES ('S-4')")
    assert parts(here.run("uninstall-triggers"))["what"].startswith("1 change")
    here.must("run", "--once")
    assert here.must("uninstall-triggers").out == "triggers removed from 2 tables\n"
    assert here.must("uninstall-triggers").out == "nothing to do: no table is captured\n"
    here.source.sql("INSERT INTO subject (identifier) VALUES ('S-5')")
    assert here.status()["pending"] == 0


def test_uninstall_by_force_leaves_what_waits_in_the_log(here: Place) -> None:
    here.install()
    here.source.sql("INSERT INTO subject (identifier) VALUES ('S-1')")
    here.must("uninstall-triggers", "--force")
    here.must("run", "--once")
    assert here.upstream.value("SELECT count(*) FROM subject") == 1
    here.must("uninstall-triggers", "--force", "--drop-schema")
    assert here.source.value("SELECT to_regnamespace('dbsync') IS NULL")
    assert here.run("status").code == 78


def test_another_node_name_is_refused_wherever_it_matters(here: Place) -> None:
    here.install()
    here.configure(node="field-08")
    for command in (["install-triggers"], ["run", "--once"]):
        done = here.run(*command)
        assert done.code == 78
        assert "field-07" in parts(done)["what"]
        assert parts(done)["try"] == 'set name = "field-07" in [node]'


@pytest.mark.parametrize("command", ["status", "install-triggers", "backfill", "run", "verify", "tables", "capture"])
def test_a_source_out_of_reach_exits_69(command: str, tmp_path: Path) -> None:
    nowhere = conninfo.make_conninfo(host=str(tmp_path), dbname="clinic")
    (tmp_path / "dbsync.toml").write_text(f'[node]\nname = "n"\nsource = "{nowhere}"\n[upstream]\nurl = "dbname=b"\n')
    found = Place(folder=tmp_path, source=None, upstream=None)  # type: ignore[arg-type]  # no database is there
    done = found.run(command, *{"run": ["--once"], "capture": ["off"]}.get(command, []))
    assert done.code == 69
    assert parts(done)["where"] == "source"


def test_an_unknown_table_for_backfill_or_verify_is_a_usage_error(here: Place) -> None:
    here.install()
    for command in ("backfill", "verify"):
        done = here.run(command, "nonsense")
        assert done.code == 2
        assert "nonsense" in done.err
        assert "dbsync tables --registered" in done.err


def test_a_database_in_another_cluster_says_so_and_goes_on(here: Place) -> None:
    here.install()
    here.source.sql("INSERT INTO subject (identifier) VALUES ('S-1')")
    here.source.sql("UPDATE dbsync.node SET system_identifier = system_identifier + 1")
    assert "another PostgreSQL cluster" in here.must("status").out
    here.must("run", "--once")
    here.must("verify")
    assert [event["kind"] for event in here.status()["events"]] == ["reloaded"]
