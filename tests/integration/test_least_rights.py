"""The clinic, installed by a DBA and run by a login that is nobody but the service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import LiteralString

import psycopg
from psycopg import sql

from tests.acceptance.places import SCHEMA, Place, place
from tests.integration.commands import Done, reachable_as
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair
from tests.support.django import orm
from tests.support.servers import own_cluster


@contextmanager
def login(database: Database, word: str, *member_of: str, options: str = "") -> Iterator[str]:
    """Make a login for a test, and remove it."""
    name = f"{word}_{database.name}"
    database.sql(sql.SQL("CREATE ROLE {} LOGIN " + options).format(sql.Identifier(name)))
    try:
        for group in member_of:
            database.sql(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(name)))
        yield name
    finally:
        for step in ("REASSIGN OWNED BY {} TO CURRENT_USER", "DROP OWNED BY {}"):
            database.sql(sql.SQL(step).format(sql.Identifier(name)))
        for group in ("dbsync", "dbsync_capture", "dbsync_replicator", "dbsync_reader", "dbsync_web"):
            database.sql(sql.SQL("REVOKE {} FROM {} CASCADE").format(sql.Identifier(group), sql.Identifier(name)))
        database.sql(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def folder_as(here: Place, folder: Path, source: str, upstream: str) -> Place:
    """Give a folder with the same configuration, for other logins."""
    folder.mkdir()
    text = (here.folder / "dbsync.toml").read_text()
    text = text.replace(here.source.dsn, reachable_as(here.source.dsn, source))
    text = text.replace(here.upstream.dsn, reachable_as(here.upstream.dsn, upstream))
    (folder / "dbsync.toml").write_text(text)
    return Place(folder=folder, source=here.source, upstream=here.upstream)


@ONE_MIXTURE
def test_the_service_ships_the_clinic_with_no_right_but_dbsync_replicator(clinic_pair: Pair, tmp_path: Path) -> None:
    dba = Place(folder=tmp_path / "dba", source=clinic_pair.source, upstream=clinic_pair.upstream)
    dba.folder.mkdir()
    dba.must("init", "--node", "field-01", "--source", dba.source.dsn, "--upstream", dba.upstream.dsn, "--tables", "*")
    orm(dba.source.dsn, "all", prefix="field-01")
    dba.install()
    assert dba.must("install-upstream").out == "upstream: nothing to do\n"
    dba.must("backfill")
    with (
        login(dba.source, "service", "dbsync_replicator") as here,
        login(dba.upstream, "service", "dbsync_replicator") as there,
        login(dba.source, "watcher", "dbsync_reader") as watcher,
    ):
        service = folder_as(dba, tmp_path / "service", here, there)
        service.must("check")
        service.must("run", "--once")
        orm(dba.source.dsn, "all", prefix="later")
        service.must("pause")
        assert service.run("run", "--once").code == 1
        service.must("resume")
        assert service.status()["pending"] > 0
        service.must("run", "--once")
        for words in (("quarantine", "list"), ("conflicts", "list")):
            service.must(*words)
        assert dba.must("verify").out.splitlines()[-1].endswith("source and upstream agree.")
        assert folder_as(dba, tmp_path / "watcher", watcher, there).status()["pending"] == 0
        unregistered = set(dba.upstream.sql("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'")) - {
            (row["table"].strip('"'),) for row in dba.must("tables", "--registered", "--json").json
        }
        assert ("django_migrations",) in unregistered
        held = set(dba.upstream.sql(_HELD, [there]))
        assert held & unregistered == set()
        attacks = (
            "SELECT FROM django_migrations", "DELETE FROM django_content_type", "UPDATE django_content_type SET model = ''",
            "TRUNCATE clinic_visit", "DROP TABLE clinic_visit", "SET ROLE dbsync",
        )  # fmt: skip
        assert {attack: came_of(dba.upstream, there, attack) for attack in attacks} == dict.fromkeys(attacks, "42501")


@ONE_MIXTURE
def test_a_tier_between_takes_in_and_passes_on_with_no_right_but_dbsync_replicator(
    pair: Pair, databases: Databases, tmp_path: Path
) -> None:
    """What the community notes of a batch that it passes on, that it won over what stood there among it, takes rights too."""
    laptop = databases.create(pair.source.version, name="laptop")
    low, high = tmp_path / "low", tmp_path / "high"
    low.mkdir()
    high.mkdir()
    field = place(low, laptop, pair.source)
    community = Place(folder=high, source=pair.source, upstream=pair.upstream)
    pair.upstream.script(SCHEMA)
    community.configure(node="community")
    for there in (community, field):
        there.install()
    with (
        login(laptop, "service", "dbsync_replicator") as at_the_laptop,
        login(pair.source, "service", "dbsync_replicator") as at_the_community,
        login(pair.upstream, "service", "dbsync_replicator") as at_the_centre,
    ):
        first = folder_as(field, tmp_path / "field", at_the_laptop, at_the_community)
        second = folder_as(community, tmp_path / "community", at_the_community, at_the_centre)
        laptop.sql("INSERT INTO subject (identifier, initials) VALUES ('a', 'AA'), ('b', 'AA')")
        first.must("run", "--once")
        pair.source.sql("UPDATE subject SET initials = 'XX' WHERE identifier = 'a'")
        laptop.sql("UPDATE subject SET initials = 'BB'")
        first.must("run", "--once")
        second.must("run", "--once")
        names = "SELECT identifier, initials FROM subject ORDER BY 1"
        assert pair.source.sql(names) == pair.upstream.sql(names) == [("a", "BB"), ("b", "BB")]


_HELD = """
    SELECT c.relname::text FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
      AND has_any_column_privilege(%s, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
"""


def came_of(database: Database, role: str, attack: LiteralString) -> str | None:
    """Try something as a role and give the SQLSTATE; None when it was done."""
    try:
        with database.connect(user=role) as session:
            session.execute(attack)
    except psycopg.Error as error:
        return error.sqlstate
    return None


@ONE_MIXTURE
def test_check_names_what_the_service_lacks_upstream_as_sql_to_paste(pair: Pair, tmp_path: Path) -> None:
    dba = place(tmp_path, pair.source, pair.upstream)
    dba.install()
    with (
        login(pair.source, "service") as here,
        login(pair.upstream, "service") as there,
    ):
        service = folder_as(dba, tmp_path / "service", here, there)
        done = service.run("check", "--json")
        members = [one for one in done.json["findings"] if one["code"] == "privilege_member"]
        assert {one["remedy"].split()[1] for one in members} == {"dbsync_replicator"}
        for database, one in zip(
            (pair.source, pair.upstream), sorted(members, key=lambda m: str(m["where"])), strict=True
        ):
            database.sql(sql.SQL(one["remedy"]))
        service.must("check")
        pair.upstream.script("REVOKE ALL ON visit, subject_id_seq FROM dbsync_replicator")
        done = service.run("check", "--json")
        assert (done.code, done.codes()) == (1, ["privilege_table", "privilege_sequence"])
        for one in done.json["findings"]:
            if one["code"].startswith("privilege"):
                assert one["remedy"].endswith('TO "dbsync_replicator";')
                pair.upstream.sql(sql.SQL(one["remedy"]))
        service.must("check")


@ONE_MIXTURE
def test_install_upstream_says_what_it_would_grant_and_grants_only_that(pair: Pair, tmp_path: Path) -> None:
    here = place(tmp_path, pair.source, pair.upstream)
    held = """
        SELECT c.relname::text, string_agg(a.privilege_type, ',' ORDER BY a.privilege_type)
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.relnamespace = 'public'::regnamespace AND a.grantee = to_regrole('dbsync_replicator') GROUP BY 1 ORDER BY 1
    """
    printed = here.must("install-upstream", "--sql").out
    assert pair.upstream.value("SELECT to_regnamespace('dbsync') IS NULL")
    assert 'GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "public"."subject" TO dbsync_replicator;' in printed
    assert "would grant 4 rights to dbsync_replicator" in here.must("install-upstream", "--dry-run").out
    assert "4 rights granted" in here.must("install-upstream").out
    everything = "DELETE,INSERT,SELECT,UPDATE"
    expected = [("subject", everything), ("subject_id_seq", "USAGE"), ("visit", everything), ("visit_id_seq", "USAGE")]
    assert pair.upstream.sql(held) == expected
    here.configure('[[tables]]\nname = "subject"\nmode = "lookup"\n\n[[tables]]\nname = "extra"\n')
    assert "would grant 2 rights" in here.must("install-upstream", "--dry-run").out
    here.must("install-upstream")
    functions = "SELECT p.proname, p.prosrc FROM pg_proc p WHERE p.pronamespace = 'dbsync'::regnamespace ORDER BY 1"
    made = pair.upstream.sql(functions)
    pair.upstream.script("DROP SCHEMA dbsync CASCADE")
    with pair.upstream.connect() as session:
        session.execute(sql.SQL(printed))
    assert here.must("install-upstream").out == "upstream: nothing to do\n"
    assert pair.upstream.sql(functions) == made


@ONE_MIXTURE
def test_who_does_not_own_the_upstreams_tables_is_told_what_their_owner_is_to_paste(pair: Pair, tmp_path: Path) -> None:
    here = place(tmp_path, pair.source, pair.upstream)
    here.must("install-upstream")
    pair.upstream.script("REVOKE ALL ON subject, visit, subject_id_seq FROM dbsync_replicator")
    with login(pair.upstream, "dba", "dbsync") as dba:
        other = folder_as(here, tmp_path / "other", pair.source.sql("SELECT current_user")[0][0], dba)
        done = other.run("install-upstream")
        assert done.code == 78, done.err
        assert "you do not own public.subject, public.visit, public.subject_id_seq" in done.err
        pair.upstream.sql(sql.SQL(_hint(done)))
        assert other.must("install-upstream").out == "upstream: nothing to do\n"


def _hint(done: Done) -> str:
    return done.err.partition("as their owner: ")[2].strip()


def test_a_dba_who_is_no_superuser_installs_on_both_sides(version: int, tmp_path: Path) -> None:
    """Owner of the tables, with CREATEROLE: from PostgreSQL 16 on, making a role does not mean being a member of it."""
    with own_cluster(version) as cluster:
        ends = [Database(cluster=cluster, name=name) for name in ("source", "upstream")]
        for database in ends:
            cluster.create_database(database.name)
        here = place(tmp_path, *ends)
        ends[0].sql("CREATE ROLE dba LOGIN CREATEROLE")
        for database in ends:
            database.sql(sql.SQL("GRANT CREATE ON DATABASE {} TO dba").format(sql.Identifier(database.name)))
            database.script("""
                ALTER TABLE subject OWNER TO dba; ALTER TABLE visit OWNER TO dba; ALTER TABLE extra OWNER TO dba
            """)
        mine = folder_as(here, tmp_path / "mine", "dba", "dba")
        mine.install()
        mine.must("check")
        ends[0].sql("INSERT INTO subject (identifier) VALUES ('S-1')")
        mine.must("run", "--once")
        assert ends[1].value("SELECT count(*) FROM subject") == 1
        assert {row["trigger"] for row in mine.status()["tables"]} == {"installed"}
