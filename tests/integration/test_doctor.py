"""Faults, one by one: each is recognised among everything that is well, and its remedy, typed as it stands, mends it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import LiteralString

import pytest
from psycopg import errors, sql

from dbsync.identity.keys import Keys
from dbsync.model.findings import Severity
from tests.integration.commands import dbsync, reachable_as
from tests.integration.test_least_rights import login
from tests.integration.test_lives_migration import released
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair
from tests.support.reads import reads
from tests.support.served import admit
from tests.support.ward import SCHEMA, Ward, newcomer, psql, recognises, ward

pytestmark = ONE_MIXTURE
LARGE = ("public.ward_subject", "public.ward_note")
"""Told by rows: pages are read by autovacuum too, which comes when it likes after so many inserts."""
SLOW_CLOCK: LiteralString = """
    ALTER FUNCTION pg_catalog.clock_timestamp() RENAME TO right_clock_timestamp;
    CREATE FUNCTION pg_catalog.clock_timestamp() RETURNS timestamptz LANGUAGE sql
        AS $$ SELECT pg_catalog.right_clock_timestamp() - interval '10 minutes' $$
"""
"""For the sessions of one database, which is all that anybody can tell of a server's clock."""


@pytest.fixture(name="ward")
def a_ward(pair: Pair, databases: Databases, tmp_path: Path) -> Ward:
    """Give a healthy source and upstream."""
    return ward(databases, pair.versions, tmp_path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """A fault that SQL makes."""

    code: str
    side: str
    sql: LiteralString


def injected(code: str, side: str, sql: LiteralString) -> object:
    """Say a fault for the table below."""
    return pytest.param(Injected(code=code, side=side, sql=sql), id=f"{code}, {side}")


def test_nothing_is_wrong_with_healthy_databases(ward: Ward) -> None:
    assert ward.check() == []
    assert ward.check(here=True) == []
    codes = {one.code for one in ward.everything()}
    assert codes == {"connected", "registered", "triggers_installed", "tables_match"}


@pytest.mark.parametrize(
    "fault",
    [
        injected("trigger_missing", "source", "DROP TRIGGER dbsync_update ON ward_subject"),
        injected("trigger_disabled", "source", "ALTER TABLE ward_subject DISABLE TRIGGER dbsync_delete"),
        injected("trigger_outdated", "source", "ALTER TABLE ward_subject ALTER initials TYPE varchar(10)"),
        injected(
            "trigger_foreign",
            "source",
            "CREATE FUNCTION public.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
            " CREATE OR REPLACE TRIGGER dbsync_update AFTER UPDATE ON ward_subject"
            " FOR EACH STATEMENT EXECUTE FUNCTION public.nothing()",
        ),
        injected("key_not_unique", "source", "ALTER TABLE ward_subject DROP CONSTRAINT subject_code"),
        injected("key_not_unique_upstream", "upstream", "ALTER TABLE ward_subject DROP CONSTRAINT subject_code"),
        injected(
            "circle_required",
            "upstream",
            "ALTER TABLE ward_room ALTER best_bed_id SET NOT NULL, ALTER CONSTRAINT room_bed NOT DEFERRABLE;"
            " ALTER TABLE ward_bed ALTER CONSTRAINT bed_room NOT DEFERRABLE",
        ),
        injected("autovacuum_off", "source", "ALTER TABLE dbsync.change SET (autovacuum_enabled = off)"),
        injected(
            "triggers_skipped",
            "source",
            "DO $$ BEGIN EXECUTE format('ALTER ROLE postgres IN DATABASE %I SET session_replication_role = replica',"
            " current_database()); END $$",
        ),
        injected("capture_off", "source", "UPDATE dbsync.node SET capture_off_since = now()"),
        injected("shipping_paused", "source", "UPDATE dbsync.node SET paused_since = now()"),
        injected("database_reloaded", "source", "UPDATE dbsync.node SET system_identifier = 1"),
        injected(
            "link_silent", "source", "UPDATE dbsync.link SET state = 'stopped', contact_at = now() - interval '20 days'"
        ),
        injected("link_unused", "source", "INSERT INTO dbsync.link (name) VALUES ('old server')"),
        injected("privilege_capture", "source", "REVOKE SELECT ON ward_site FROM dbsync_capture"),
        injected(
            "index_missing_upstream",
            "upstream",
            "SET CONSTRAINTS ALL IMMEDIATE;"
            " INSERT INTO ward_visit (subject_id, number)"
            " SELECT min(id), n FROM ward_subject, generate_series(2001, 13000) n GROUP BY n;"
            " ALTER TABLE ward_visit DROP CONSTRAINT visit_number, ADD UNIQUE (number, subject_id);"
            " ANALYZE ward_visit",
        ),
    ],
)
def test_a_fault_is_recognised_and_its_remedy_mends_it(ward: Ward, fault: Injected) -> None:
    database = ward.source if fault.side == "source" else ward.upstream
    database.script(fault.sql)
    ward.mended(fault.code, database)


@recognises("not_installed")
def test_triggers_in_a_database_where_no_node_is_registered_capture_nothing(ward: Ward) -> None:
    ward.source.sql("DELETE FROM dbsync.node")
    before = ward.source.value("SELECT count(*) FROM dbsync.change")
    ward.source.sql("INSERT INTO ward_subject (code) VALUES ('S-9')")
    assert ward.source.value("SELECT count(*) FROM dbsync.change") == before
    (found,) = [one for one in ward.check() if one.code == "not_installed"]
    assert found.severity is Severity.ERROR
    ward.do(found.remedy, ward.source)
    ward.source.sql("INSERT INTO ward_subject (code) VALUES ('S-10')")
    assert ward.source.value("SELECT count(*) FROM dbsync.change") == before + 1
    assert "not_installed" not in [one.code for one in ward.check()]


@recognises("trigger_missing")
def test_triggers_that_somebody_took_away_are_an_error_and_those_of_a_table_that_is_new_are_none(ward: Ward) -> None:
    ward.tables += '\n[[tables]]\nname = "auth_user"\n'
    ward.configure()
    assert [one.severity for one in ward.check() if one.code == "trigger_missing"] == [Severity.WARNING]
    ward.must("check")
    ward.source.script("DROP TRIGGER dbsync_update ON ward_subject; DROP TRIGGER dbsync_insert ON ward_visit")
    missing = {one.severity: one for one in ward.check() if one.code == "trigger_missing"}
    assert list(missing) == [Severity.ERROR, Severity.WARNING]
    assert "ward_subject, ward_visit" in missing[Severity.ERROR].what
    assert dbsync(ward.folder, "check").code == 1
    ward.do(missing[Severity.ERROR].remedy, ward.source)
    ward.must("check")


@recognises("lookup_missing_upstream")
def test_a_lookup_that_lacks_a_row_upstream_may_be_shipped_in_its_place(ward: Ward) -> None:
    ward.source.sql("INSERT INTO ward_site (code) VALUES ('X')")
    found = ward.only("lookup_missing_upstream")
    assert "(X)" in found.what
    ward.do(found.remedy, ward.source)
    for step in (("install-triggers",), ("backfill", "ward_site"), ("run", "--once")):
        ward.must(*step)
    assert ward.check() == []
    assert ward.upstream.value("SELECT count(*) FROM ward_site WHERE code = 'X'") == 1


@recognises("generic_unregistered")
def test_rows_that_point_to_a_model_nobody_registered_are_told(ward: Ward) -> None:
    ward.source.sql("INSERT INTO ward_note (code, content_type_id, object_id) VALUES ('N-2', 3, 1)")
    found = ward.only("generic_unregistered")
    assert "auth.user" in found.what
    ward.do(found.remedy, ward.source)
    ward.must("install-triggers")
    assert ward.check() == []


@recognises("trigger_foreign")
def test_a_capture_function_that_somebody_replaced_is_told_from_one_that_is_old(ward: Ward) -> None:
    (name,) = ward.source.sql("SELECT p.proname::text FROM pg_proc p JOIN pg_trigger t ON t.tgfoid = p.oid"
                              " WHERE t.tgrelid = 'ward_subject'::regclass AND t.tgname = 'dbsync_insert'")[0]  # fmt: skip
    replaced = "CREATE OR REPLACE FUNCTION dbsync.{} () RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS {}"
    body = sql.Literal("BEGIN RETURN NULL; END")
    ward.source.sql(sql.SQL(replaced).format(sql.Identifier(name), body))
    ward.mended("trigger_foreign", ward.source)


@recognises("privilege_pages")
def test_a_login_that_may_not_serve_the_pages_is_told_where_there_are_any(ward: Ward) -> None:
    with login(ward.source, "service", "dbsync_replicator") as role:
        service = replace(ward, as_source=reachable_as(ward.source.dsn, role), limits="")
        service.configure()
        assert service.check() == []
        service.limits = '[web]\npath = "/dashboard"\n'
        service.configure()
        service.mended("privilege_pages", ward.source)


@recognises("privilege_table")
def test_a_right_that_the_service_lost_upstream_is_told_as_sql_to_paste(ward: Ward, tmp_path: Path) -> None:
    with (
        login(ward.source, "service", "dbsync_replicator") as here,
        login(ward.upstream, "service", "dbsync_replicator") as there,
    ):
        service = replace(
            ward,
            as_source=reachable_as(ward.source.dsn, here),
            as_upstream=reachable_as(ward.upstream.dsn, there),
            limits="",
        )
        service.configure()
        assert service.check() == []
        with ward.source.connect():
            told = next(
                one.what for one in service.everything() if (one.code, one.where) == ("not_looked_at", "source")
            )
        assert "other roles' sessions" in told
        assert "pg_read_all_settings" in told
        assert "which models ward_note points to" in told
        ward.upstream.sql("REVOKE UPDATE ON ward_subject FROM dbsync_replicator")
        service.mended("privilege_table", ward.upstream)


@recognises("column_missing_upstream")
def test_a_column_that_only_the_source_has_is_told(ward: Ward) -> None:
    ward.upstream.sql("ALTER TABLE ward_subject DROP COLUMN initials")
    assert "exclude" in ward.only("column_missing_upstream").remedy
    ward.upstream.sql("ALTER TABLE ward_subject ADD COLUMN initials text")
    assert ward.check() == []


@recognises("column_renamed_upstream", "column_left_out")
def test_a_column_that_a_migration_upstream_renamed_or_dropped_is_told_as_such(ward: Ward) -> None:
    ward.source.sql("INSERT INTO ward_subject (code, initials) VALUES ('S-77', 'XY')")
    ward.must("run", "--once")
    ward.upstream.sql("ALTER TABLE ward_subject RENAME initials TO letters")
    told = ward.only("column_renamed_upstream")
    assert (told.severity, "'letters'" in told.what) == (Severity.WARNING, True)
    ward.upstream.sql("ALTER TABLE ward_subject DROP letters")
    assert "any more" in ward.only("column_missing_upstream").what
    ward.do('in dbsync.toml: [[tables]] name = "ward_subject" with on_skew = "follow"', ward.source)
    assert ward.only("column_left_out").severity is Severity.WARNING
    ward.source.sql("ALTER TABLE ward_subject DROP initials")
    ward.must("install-triggers")
    assert ward.check() == []


@recognises("clock_skew")
def test_a_clock_that_is_wrong_is_told_with_the_difference(ward: Ward) -> None:
    ward.upstream.script(SLOW_CLOCK)
    found = ward.only("clock_skew")
    assert "10 min ahead of the upstream's" in found.what
    assert "timedatectl" in found.remedy


@recognises("transaction_long")
def test_a_transaction_that_stays_open_is_told_and_ended(ward: Ward) -> None:
    forgotten = ward.source.connect(application_name="a report")
    forgotten.execute("BEGIN")
    forgotten.execute("SELECT count(*) FROM ward_subject")
    assert "a report" in ward.only("transaction_long").what
    ward.mended("transaction_long", ward.source)
    forgotten.close()


@recognises("transaction_prepared")
def test_a_transaction_that_was_prepared_and_left_is_told(ward: Ward) -> None:
    ward.source.script("BEGIN; UPDATE ward_subject SET initials = 'x'; PREPARE TRANSACTION 'left''s'")
    ward.mended("transaction_prepared", ward.source)


@recognises("timeout_short")
def test_a_statement_timeout_that_cuts_a_backfill_is_told(ward: Ward) -> None:
    for name, value in (("statement_timeout", "5s"), ("idle_in_transaction_session_timeout", "2h")):
        change = sql.SQL("ALTER DATABASE {} SET {} = {}")
        ward.upstream.sql(change.format(sql.Identifier(ward.upstream.name), sql.SQL(name), sql.Literal(value)))
    assert "statement_timeout is 5 s" in ward.only("timeout_short").what
    ward.mended("timeout_short", ward.upstream)


@recognises("log_bloated")
def test_a_change_log_that_is_mostly_empty_is_told(ward: Ward) -> None:
    ward.source.script("""
        ALTER TABLE dbsync.change SET (  -- it would mend this while we look
            autovacuum_vacuum_threshold = 1000000000, autovacuum_vacuum_insert_threshold = -1);
        INSERT INTO dbsync.change (layout, op, image) SELECT 0, 'I', ARRAY[repeat('x', 1900)] FROM generate_series(1, 52000);
        DELETE FROM dbsync.change WHERE layout = 0
    """)
    assert "estimated" in ward.only("log_bloated").what
    ward.mended("log_bloated", ward.source)


@recognises("triggers_skipped")
def test_a_subscription_that_writes_into_shipped_tables_is_told(ward: Ward, databases: Databases) -> None:
    elsewhere = databases.create(ward.source.version, name="elsewhere")
    slot = f"scans_{elsewhere.name}"
    elsewhere.script(
        "CREATE TABLE ward_scan (id int PRIMARY KEY, code text, image bytea); CREATE PUBLICATION scans FOR ALL TABLES"
    )
    elsewhere.sql("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])
    ward.source.sql(
        sql.SQL(
            "CREATE SUBSCRIPTION scans CONNECTION {} PUBLICATION scans WITH (create_slot = false, slot_name = {}, copy_data = false)"
        ).format(elsewhere.dsn, slot)
    )
    try:
        remedy = next(one.remedy for one in ward.check() if one.code == "triggers_skipped")
        assert remedy == "ALTER SUBSCRIPTION scans DISABLE;"
        ward.do(remedy, ward.source)
        assert "triggers_skipped" not in {one.code for one in ward.check()}
    finally:
        ward.source.sql("ALTER SUBSCRIPTION scans DISABLE")
        ward.source.sql("ALTER SUBSCRIPTION scans SET (slot_name = NONE)")
        ward.source.sql("DROP SUBSCRIPTION scans")
        elsewhere.sql(
            "SELECT pg_terminate_backend(active_pid, 60000) FROM pg_replication_slots WHERE slot_name = %s", [slot]
        )
        elsewhere.sql("SELECT pg_drop_replication_slot(%s)", [slot])


@recognises("row_oversize")
def test_rows_that_hardly_fit_into_the_change_log_are_told_without_reading_them(ward: Ward) -> None:
    ward.source.script("""
        SET session_replication_role = replica;
        INSERT INTO ward_scan (code, image) VALUES ('S', convert_to(repeat('x', 51000000), 'UTF8'))
    """)
    found = ward.only("row_oversize")
    assert (found.where, "102.0 MB" in found.what) == ("ward_scan", True), found
    assert 'exclude = ["image"]' in found.remedy
    ward.do(found.remedy, ward.source)
    ward.must("install-triggers")
    assert ward.check() == []


@recognises("quarantine_growing")
def test_a_quarantine_that_grows_is_told_until_somebody_mends_it(ward: Ward) -> None:
    ward.upstream.sql("ALTER TABLE ward_scan ADD CONSTRAINT short CHECK (length(code) < 3)")
    ward.source.sql("INSERT INTO ward_scan (code) SELECT 'long-' || n FROM generate_series(1, 12) n")
    ward.must("run", "--once")
    assert "12 of the 12 changes" in ward.only("quarantine_growing").what
    assert ward.only("quarantine_growing", here=False).remedy == "dbsync quarantine list"
    ward.upstream.sql("UPDATE dbsync.quarantine SET quarantined_at = now() - interval '3 days'")
    assert "the oldest since" in ward.only("quarantine_waits").what
    ward.upstream.sql("ALTER TABLE ward_scan DROP CONSTRAINT short")
    ward.must("quarantine", "retry", "--all")
    assert ward.check() == []


@recognises("index_invalid")
def test_an_index_that_failed_while_it_was_made_is_told(ward: Ward) -> None:
    ward.upstream.sql("UPDATE ward_subject SET initials = 'same'")
    with pytest.raises(errors.UniqueViolation):
        ward.upstream.sql("CREATE UNIQUE INDEX CONCURRENTLY broken ON ward_subject (initials)")
    ward.upstream.sql("UPDATE ward_subject SET initials = code")
    ward.mended("index_invalid", ward.upstream)


@recognises("incarnation_wrong")
def test_a_source_that_was_restored_is_told_before_it_ships(ward: Ward, databases: Databases) -> None:
    ward.pair.source = _restored(ward, databases)
    ward.configure()
    assert "restored, or is a copy" in ward.only("incarnation_wrong").what
    ward.mended("incarnation_wrong", ward.source)


@recognises("incarnation_wrong")
def test_an_upstream_that_went_back_in_time_is_told(ward: Ward, databases: Databases) -> None:
    before = databases.create(ward.upstream.version, name="restored", template=ward.upstream.name)
    ward.source.sql("INSERT INTO ward_subject (code) VALUES ('S-3')")
    ward.must("run", "--once")
    ward.pair.upstream = before
    ward.configure()
    found = ward.only("incarnation_wrong")
    assert (found.where, "older backup" in found.what) == ("upstream", True)
    ward.do(found.remedy, ward.source)
    assert ward.check() == []


@recognises("node_name_taken")
def test_two_laptops_of_one_name_are_told_apart(ward: Ward, databases: Databases, tmp_path: Path) -> None:
    other = newcomer(ward, databases, tmp_path / "other")
    other.must("run", "--once")
    assert ward.only("node_name_taken").severity is Severity.ERROR
    found = other.only("node_name_taken")
    assert found.severity is Severity.WARNING
    psql(other.source, found.remedy.replace("ANOTHER", "field-08"))
    other.node = "field-08"
    other.configure()
    other.must("run", "--once")
    assert (other.check(), ward.check()) == ([], [])


@recognises("node_silent")
def test_a_server_tells_of_a_node_that_nobody_heard_of(ward: Ward) -> None:
    admit(ward.upstream, "field-03", Keys.generate())
    server = Ward(folder=ward.folder, pair=Pair(source=ward.upstream, upstream=ward.source), node="community")
    server.configure()
    assert server.check(here=True) == []
    ward.upstream.sql("UPDATE dbsync.peer SET enrolled_at = now() - interval '30 days'")
    found = server.only("node_silent", here=True)
    server.do(found.remedy.partition("or: ")[2].replace("...", "lost"), ward.upstream)
    assert server.check(here=True) == []


@recognises("schema_outdated")
def test_an_older_dbsync_at_the_other_end_is_told(ward: Ward, databases: Databases) -> None:
    old = databases.create(ward.upstream.version, name="old")
    old.script(SCHEMA)
    released(old)
    ward.pair.upstream = old
    ward.configure()
    found = {one.code: one for one in ward.check()}
    assert set(found) == {"schema_outdated"}
    ward.do(found["schema_outdated"].remedy, old)
    ward.must("run", "--once")
    assert ward.check() == []


def test_a_check_of_large_tables_reads_next_to_nothing_of_them(ward: Ward) -> None:
    for database, first in ((ward.source, "T-"), (ward.upstream, "U-")):
        with database.connect() as session:
            session.execute("SET session_replication_role = replica")
            session.execute("INSERT INTO ward_subject (code) SELECT %s || n FROM generate_series(1, 100000) n", [first])
            session.execute(
                "INSERT INTO ward_note (code, content_type_id, object_id) SELECT %s || n, 1, 1 FROM generate_series(1, 100000) n",
                [first],
            )
            session.execute(
                "INSERT INTO dbsync.change (layout, op, image) SELECT 0, 'I', ARRAY['x'] FROM generate_series(1, 100000)"
            )
            session.execute("ANALYZE")
    with reads(ward.source) as here, reads(ward.upstream) as there:
        assert ward.check() == []
    for found in (here, there):
        assert {name: found.of(name).rows for name in LARGE if found.of(name).rows > 100} == {}


def _restored(ward: Ward, databases: Databases) -> Database:
    """Give the source as it was before something was shipped from it."""
    before = databases.create(ward.source.version, name="restored", template=ward.source.name)
    ward.source.sql("INSERT INTO ward_subject (code) VALUES ('S-3')")
    ward.must("run", "--once")
    return before
