"""Two databases compared by natural key, on real servers of both versions."""

from __future__ import annotations

import psycopg
import pytest

from dbsync.catalog.inspect import inspect
from dbsync.errors import PrivilegeError, Refusal, UsageError
from dbsync.model.names import TableName
from dbsync.model.registration import (
    KeyTree,
    Registry,
)
from dbsync.postgres import connect
from dbsync.verify.direct import verify
from dbsync.verify.report import Kind
from tests.integration.comparing import (
    CLINIC,
    PLANS,
    ROWS,
    SUBJECT,
    VISIT,
    Plan,
    both,
    columns,
    found,
    name,
    of,
    run,
    to,
)
from tests.support.databases import ONE_MIXTURE, Database, Pair


@pytest.fixture
def clinic(pair: Pair) -> Pair:
    """Hold the same rows on both sides, under other ids."""
    both(pair, CLINIC)
    for database, offset in ((pair.source, "0"), (pair.upstream, "500")):
        with psycopg.connect(database.dsn, autocommit=True) as connection:
            connection.execute(ROWS.format(offset).encode())
    return pair


def test_same_rows_under_other_ids_agree(clinic: Pair) -> None:
    report = run(clinic, PLANS)
    assert found(report) == []
    assert report.agrees()
    assert [(str(t.table), t.source_rows, t.upstream_rows) for t in report.tables] == [
        ("crf", 2, 2),
        ("note", 2, 2),
        ("remark", 1, 1),
        ("subject", 3, 3),
        ("visit", 3, 3),
        ("visit_sites", 3, 3),
    ]


def test_every_kind_of_difference_is_found_and_named(clinic: Pair) -> None:
    clinic.source.script("UPDATE subject SET initials = 'XY', born = NULL WHERE identifier = 'S-1'")
    clinic.source.script("DELETE FROM crf WHERE id = 1")
    clinic.upstream.script("DELETE FROM visit_sites WHERE site_id = 501")
    clinic.upstream.script("UPDATE visit SET at = at + interval '1 microsecond' WHERE id = 501")
    clinic.upstream.script("UPDATE note SET text = text || ' ' WHERE id = 501")
    report = run(clinic, PLANS)
    assert not report.agrees()
    assert found(report) == [
        ("crf", "extra", ("S-1", "1000"), ()),
        ("note", "different", ("00000000-0000-0000-0000-000000000001",), ("text",)),
        ("subject", "different", ("S-1",), ("initials", "born")),
        ("visit", "different", ("S-1", "1000"), ("at",)),
        ("visit_sites", "missing", ("S-1", "1000", "north"), ()),
    ]
    assert not any(c.source or c.upstream for d in report.differences for c in d.columns)


def test_values_are_given_only_when_asked_for(clinic: Pair) -> None:
    clinic.upstream.script("UPDATE subject SET initials = NULL, site_id = 502 WHERE identifier = 'S-1'")
    (difference,) = run(clinic, PLANS, show_values=True).differences
    assert [(c.column, c.source, c.upstream) for c in difference.columns] == [
        ("initials", "AB", None),
        ("site_id", "{north}", "{south}"),
    ]


def test_references_are_compared_as_the_keys_they_stand_for(clinic: Pair) -> None:
    clinic.upstream.script("UPDATE subject SET site_id = 501 WHERE identifier = 'S-2'")  # null at the source
    clinic.upstream.script("UPDATE note SET visit_id = 502 WHERE id = 502")
    assert found(run(clinic, PLANS)) == [
        ("note", "different", ("00000000-0000-0000-0000-000000000002",), ("visit_id",)),
        ("subject", "different", ("S-2",), ("site_id",)),
    ]


def test_renamed_key_shows_as_missing_and_extra_of_the_row_and_all_that_hang_on_it(clinic: Pair) -> None:
    clinic.source.script("UPDATE subject SET identifier = 'S-9' WHERE identifier = 'S-2'")
    kinds = [(str(t.table), t.missing, t.extra, t.different) for t in run(clinic, PLANS).tables if not t.agrees()]
    assert kinds == [
        ("crf", 1, 1, 0),
        ("note", 0, 0, 1),
        ("subject", 1, 1, 0),
        ("visit", 1, 1, 0),
        ("visit_sites", 1, 1, 0),
    ]


def test_rows_without_row_key_are_uncaptured_here_and_of_other_origin_there(clinic: Pair) -> None:
    clinic.source.script("INSERT INTO note (id, text) VALUES (77, 'never captured')")
    clinic.source.script("INSERT INTO remark (id, note_id, line) VALUES (78, 77, 1)")
    clinic.upstream.script("INSERT INTO note (id, text) VALUES (88, 'typed in upstream')")
    report = run(clinic, PLANS)
    assert [(str(d.table), d.kind, d.key, d.captured) for d in report.differences] == [
        ("note", Kind.MISSING, ("77",), False),
        ("remark", Kind.MISSING, ("78",), False),
    ]
    note = of(report, "note")
    assert (note.source_rows, note.upstream_rows, note.missing, note.not_captured, note.other_origin) == (3, 2, 1, 1, 1)


def test_extra_rows_count_unless_they_are_ignored(clinic: Pair) -> None:
    clinic.upstream.script("INSERT INTO subject (identifier) VALUES ('OTHER-1')")
    report = run(clinic, PLANS)
    assert (report.agrees(), report.agrees(ignore_extra=True)) == (False, True)


def test_excluded_columns_and_lookup_tables_are_left_alone(clinic: Pair) -> None:
    clinic.upstream.script("UPDATE subject SET secret = 'x'; INSERT INTO site VALUES (999, 'nowhere')")
    assert run(clinic, PLANS).agrees()


@ONE_MIXTURE
def test_only_the_named_tables_are_compared(clinic: Pair) -> None:
    clinic.upstream.script("DELETE FROM crf")
    assert run(clinic, PLANS, ["subject", "visit"]).agrees()
    with pytest.raises(UsageError, match="site"):
        run(clinic, PLANS, ["subject", "site"])


@ONE_MIXTURE
def test_what_one_side_lacks_is_reported_not_crashed_on(clinic: Pair) -> None:
    clinic.upstream.script("ALTER TABLE subject DROP COLUMN born, DROP COLUMN site_id")
    clinic.upstream.script("DROP TABLE crf; ALTER TABLE remark DROP COLUMN line")
    report = run(clinic, PLANS)
    assert of(report, "subject").missing_columns == ("born", "site_id")
    assert of(report, "crf").problem == "upstream has no such table"
    assert of(report, "remark").problem == "upstream cannot say its key: there is no remark.line"
    assert not report.agrees(ignore_extra=True)
    assert of(report, "visit").agrees()


@ONE_MIXTURE
def test_list_is_cut_at_the_limit_and_the_counts_are_not(clinic: Pair) -> None:
    clinic.upstream.script("DELETE FROM crf; DELETE FROM visit_sites; UPDATE subject SET initials = '?'")
    report = run(clinic, PLANS, limit=4)
    assert len(report.differences) == 4
    assert report.differing() == 8
    assert {str(d.table) for d in report.differences} == {"crf", "subject", "visit_sites"}, "no table hides another"
    assert run(clinic, PLANS, limit=0).differences == ()


def test_keys_match_as_the_upstream_compares_them(pair: Pair) -> None:
    for database in (pair.source, pair.upstream):
        if not database.value("SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'"):
            pytest.skip(f"citext is not there for PostgreSQL {database.version}")
    both(
        pair,
        """
        CREATE EXTENSION citext;
        CREATE DOMAIN code AS citext;
        CREATE TABLE thing (id serial PRIMARY KEY, a code NOT NULL, b numeric NOT NULL, c char(5) NOT NULL,
            d interval NOT NULL, e float8 NOT NULL, UNIQUE (a, b, c, d, e));
        CREATE TABLE part (id serial PRIMARY KEY, thing_id int NOT NULL UNIQUE REFERENCES thing);
        """,
    )
    pair.source.script("INSERT INTO thing VALUES (1, 'Ab', 1.0, 'x', '30 days', 0); INSERT INTO part VALUES (1, 1)")
    pair.upstream.script("INSERT INTO thing VALUES (9, 'aB', 1.00, 'x', '1 mon', '-0'); INSERT INTO part VALUES (1, 9)")
    thing = KeyTree(table=name("thing"), parts=columns("a", "b", "c", "d", "e"))
    part = KeyTree(table=name("part"), parts=(to("thing_id", thing),))
    report = run(pair, [Plan(key=thing, values=tuple("abcde")), Plan(key=part, references=(to("thing_id", thing),))])
    assert found(report) == [("thing", "different", ("ab", "1", "x", "1 mon", "0"), ("a", "b", "d", "e"))]


@ONE_MIXTURE
def test_column_of_another_type_is_compared_by_value_and_noted(pair: Pair) -> None:
    pair.source.script("CREATE TABLE t (code varchar(5) PRIMARY KEY, v numeric(6,2)); INSERT INTO t VALUES ('a', 1.5)")
    pair.upstream.script("CREATE TABLE t (code text PRIMARY KEY, v numeric(6,3)); INSERT INTO t VALUES ('a', 1.5)")
    report = run(pair, [Plan(key=KeyTree(table=name("t"), parts=columns("code")), values=("code", "v"))])
    assert report.agrees()
    assert of(report, "t").notes == (
        "code is character varying(5) at the source and text upstream",
        "v is numeric(6,2) at the source and numeric(6,3) upstream",
    )


def test_odd_names_values_and_nulls(pair: Pair) -> None:
    both(
        pair,
        """
        CREATE SCHEMA "The Lab";
        CREATE TABLE "The Lab"."Box ""7"" 100%" ("the % {key}" text PRIMARY KEY, "NULL" text, "a b" text[]);
        INSERT INTO "The Lab"."Box ""7"" 100%" VALUES
            ('NULL', NULL, '{NULL,"NULL"}'), ('', 'NULL', NULL), ('{},"\\', E'\\n', '{}'), ('ü', '', '{{1},{2}}');
        """,
    )
    table = TableName("The Lab", 'Box "7" 100%')
    plans = [Plan(key=KeyTree(table=table, parts=columns("the % {key}")), values=("the % {key}", "NULL", "a b"))]
    assert run(pair, plans).agrees()
    pair.upstream.script("""UPDATE "The Lab"."Box ""7"" 100%" SET "NULL" = 'NULL' WHERE "NULL" IS NULL""")
    report = run(pair, plans)
    assert [(d.kind, d.key, d.columns[0].column) for d in report.differences] == [(Kind.DIFFERENT, ("NULL",), "NULL")]


def test_key_with_nulls_not_distinct(pair: Pair) -> None:
    both(pair, "CREATE TABLE t (a int, b int, v text, UNIQUE NULLS NOT DISTINCT (a, b))")
    both(pair, "INSERT INTO t VALUES (NULL, 1, 'x'), (1, NULL, 'y'), (NULL, NULL, 'z')")
    plans = [Plan(key=KeyTree(table=name("t"), parts=columns("a", "b")), values=("a", "b", "v"))]
    assert run(pair, plans).agrees()
    pair.upstream.script("UPDATE t SET v = '!' WHERE a IS NULL")
    assert found(run(pair, plans)) == [
        ("t", "different", (None, None), ("v",)),
        ("t", "different", (None, "1"), ("v",)),
    ]


@ONE_MIXTURE
def test_key_that_upstream_holds_twice_is_extra(pair: Pair) -> None:
    both(pair, "CREATE TABLE t (code text NOT NULL, v text); INSERT INTO t VALUES ('a', 'x')")
    pair.upstream.script("INSERT INTO t VALUES ('a', 'x')")
    plans = [Plan(key=KeyTree(table=name("t"), parts=columns("code")), values=("code", "v"))]
    assert found(run(pair, plans)) == [("t", "extra", ("a",), ())]


def test_three_differences_in_100_000_rows_with_stale_statistics(pair: Pair) -> None:
    both(
        pair,
        """
        CREATE TABLE subject (id int PRIMARY KEY, identifier text NOT NULL UNIQUE);
        CREATE TABLE visit (id int PRIMARY KEY, subject_id int NOT NULL REFERENCES subject, code int NOT NULL, v text,
            UNIQUE (subject_id, code));
        ALTER TABLE visit SET (autovacuum_enabled = off);
        INSERT INTO subject SELECT n, 'S-' || n FROM generate_series(1, 1000) n;
        INSERT INTO visit SELECT n, 1 + n / 100, n % 100, repeat(md5(n::text), 3) FROM generate_series(0, 99999) n;
        """,
    )
    pair.source.script("DELETE FROM visit WHERE id = 17")
    pair.upstream.script("DELETE FROM visit WHERE id = 4711; UPDATE visit SET v = 'x' WHERE id = 99999")
    plans = [Plan(key=VISIT, references=(to("subject_id", SUBJECT),), values=("code", "v"))]
    expected = [
        ("visit", "different", ("S-1000", "99"), ("v",)),
        ("visit", "extra", ("S-1", "17"), ()),
        ("visit", "missing", ("S-48", "11"), ()),
    ]
    assert found(run(pair, plans)) == expected
    both(pair, "ANALYZE visit")
    assert found(run(pair, plans)) == expected


@ONE_MIXTURE
def test_one_snapshot_is_compared_while_others_write(clinic: Pair) -> None:
    def write(table: TableName, position: int, of: int) -> None:
        clinic.upstream.script("DELETE FROM crf; DELETE FROM visit_sites")

    assert run(clinic, PLANS, progress=write).agrees()


@ONE_MIXTURE
def test_rows_hidden_by_row_security_are_an_error_not_a_difference(clinic: Pair) -> None:
    clinic.upstream.script(
        """
        ALTER TABLE subject ENABLE ROW LEVEL SECURITY;
        DO $$ BEGIN CREATE ROLE verify_reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
        GRANT USAGE ON SCHEMA dbsync TO verify_reader;
        GRANT SELECT ON ALL TABLES IN SCHEMA public, dbsync TO verify_reader;
        """
    )
    with connect(clinic.source.dsn, name="source") as source:
        catalog = inspect(source)
        registry = Registry(tables={plan.key.table: plan.registered(catalog) for plan in PLANS})
        reader = clinic.upstream.cluster.dsn(clinic.upstream.name, user="verify_reader")
        with (
            connect(reader, name="upstream") as upstream,
            pytest.raises(PrivilegeError, match="row-level security") as error,
        ):
            verify(registry, source, upstream)
    assert error.value.where == "upstream"
    clinic.upstream.script("DROP OWNED BY verify_reader; DROP ROLE verify_reader")


@ONE_MIXTURE
def test_databases_of_different_encodings_are_refused(pair: Pair) -> None:
    latin = Database(cluster=pair.upstream.cluster, name=f"{pair.upstream.name}_latin")
    pair.upstream.sql(
        psycopg.sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'").format(
            psycopg.sql.Identifier(latin.name)
        )
    )
    try:
        with pytest.raises(Refusal, match="LATIN1"):
            run(Pair(source=pair.source, upstream=latin), [])
    finally:
        pair.upstream.cluster.drop_database(latin.name)
