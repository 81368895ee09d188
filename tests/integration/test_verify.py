"""Two databases compared by natural key, on real servers of both versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import LiteralString

import orjson
import psycopg
import pytest
from psycopg.pq import TransactionStatus

from dbsync.catalog.inspect import inspect
from dbsync.errors import PrivilegeError, Refusal, UsageError
from dbsync.model.catalog import Catalog
from dbsync.model.names import TableName
from dbsync.model.registration import (
    GenericReference,
    KeyColumn,
    KeyReference,
    KeyTree,
    Mode,
    RegisteredTable,
    Registry,
)
from dbsync.postgres import connect
from dbsync.verify.answers import answer
from dbsync.verify.comparison import Options, compare_tables
from dbsync.verify.direct import verify
from dbsync.verify.distant import Distant
from dbsync.verify.questions import Json
from dbsync.verify.report import Kind, Report, TableReport
from tests.support.databases import ONE_MIXTURE, Database, Pair

CLINIC = """
CREATE SCHEMA dbsync;
CREATE TABLE dbsync.row_key (
    relation text COLLATE "C" NOT NULL, local_id text COLLATE "C" NOT NULL, row_key uuid NOT NULL,
    PRIMARY KEY (relation, local_id), UNIQUE (row_key));
CREATE TABLE site (id int PRIMARY KEY, name text NOT NULL UNIQUE);
CREATE TABLE subject (
    id bigserial PRIMARY KEY, identifier text NOT NULL UNIQUE, initials text, born date, secret text,
    site_id int REFERENCES site);
CREATE TABLE visit (
    id bigserial PRIMARY KEY, subject_id bigint NOT NULL REFERENCES subject, code int NOT NULL, at timestamptz,
    UNIQUE (subject_id, code));
CREATE TABLE crf (id bigserial PRIMARY KEY, visit_id bigint NOT NULL UNIQUE REFERENCES visit, answers jsonb);
CREATE TABLE visit_sites (
    id bigserial PRIMARY KEY, visit_id bigint NOT NULL REFERENCES visit, site_id int NOT NULL REFERENCES site,
    UNIQUE (visit_id, site_id));
CREATE TABLE note (id bigserial PRIMARY KEY, text text, visit_id bigint REFERENCES visit);
CREATE TABLE remark (id bigserial PRIMARY KEY, note_id bigint NOT NULL REFERENCES note, line int NOT NULL, text text,
    UNIQUE (note_id, line));
"""

ROWS = """
INSERT INTO site VALUES ({0} + 1, 'north'), ({0} + 2, 'south');
INSERT INTO subject (id, identifier, initials, born, secret, site_id) VALUES
    ({0} + 1, 'S-1', 'AB', '1990-01-01', '{0}', {0} + 1), ({0} + 2, 'S-2', 'CD', NULL, '{0}', NULL),
    ({0} + 3, 'S-3', NULL, '2001-02-03', '{0}', {0} + 2);
INSERT INTO visit (id, subject_id, code, at) VALUES
    ({0} + 1, {0} + 1, 1000, '2026-11-22 12:00+02'), ({0} + 2, {0} + 1, 2000, NULL), ({0} + 3, {0} + 2, 1000, NULL);
INSERT INTO crf (id, visit_id, answers) VALUES ({0} + 1, {0} + 1, '{{"a": 1.0}}'), ({0} + 2, {0} + 3, NULL);
INSERT INTO visit_sites (visit_id, site_id) VALUES ({0} + 1, {0} + 1), ({0} + 1, {0} + 2), ({0} + 3, {0} + 2);
INSERT INTO note (id, text, visit_id) VALUES ({0} + 1, 'a note', NULL), ({0} + 2, 'a note', {0} + 3);
INSERT INTO remark (note_id, line, text) VALUES ({0} + 2, 1, 'so it is');
INSERT INTO dbsync.row_key VALUES
    ('public.note', ({0} + 1)::text, '00000000-0000-0000-0000-000000000001'),
    ('public.note', ({0} + 2)::text, '00000000-0000-0000-0000-000000000002');
"""


def name(table: str) -> TableName:
    return TableName.parse(table)


def columns(*names: str) -> tuple[KeyColumn, ...]:
    return tuple(KeyColumn(column=column) for column in names)


def to(column: str, target: KeyTree, *, soft: bool = False, at: str = "id") -> KeyReference:
    return KeyReference(columns=(column,), target_columns=(at,), target=target, soft=soft)


SITE = KeyTree(table=name("site"), parts=columns("name"))
SUBJECT = KeyTree(table=name("subject"), parts=columns("identifier"))
VISIT = KeyTree(table=name("visit"), parts=(to("subject_id", SUBJECT), KeyColumn(column="code")))
CRF = KeyTree(table=name("crf"), parts=(to("visit_id", VISIT),))
VISIT_SITES = KeyTree(table=name("visit_sites"), parts=(to("visit_id", VISIT), to("site_id", SITE)))
NOTE = KeyTree(table=name("note"), row_id=("id",))
REMARK = KeyTree(table=name("remark"), parts=(to("note_id", NOTE), KeyColumn(column="line")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a test registers of a table, without a configuration."""

    key: KeyTree
    references: tuple[KeyReference, ...] = ()
    values: tuple[str, ...] = ()
    insert_only: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    generics: tuple[GenericReference, ...] = ()
    mode: Mode = Mode.SHIP

    def registered(self, catalog: Catalog) -> RegisteredTable:
        return RegisteredTable(
            table=catalog.tables[self.key.table],
            mode=self.mode,
            key=self.key,
            references=self.references,
            values=self.values,
            insert_only=self.insert_only,
            excluded=self.excluded,
            generics=self.generics,
        )


PLANS = (
    Plan(key=SITE, values=("name",), mode=Mode.LOOKUP),
    Plan(
        key=SUBJECT,
        references=(to("site_id", SITE),),
        values=("identifier", "initials", "born"),
        excluded=("secret",),
    ),
    Plan(key=VISIT, references=(to("subject_id", SUBJECT),), values=("code", "at")),
    Plan(key=CRF, references=(to("visit_id", VISIT),), values=("answers",)),
    Plan(key=VISIT_SITES, references=(to("visit_id", VISIT), to("site_id", SITE))),
    Plan(key=NOTE, references=(to("visit_id", VISIT),), values=("text",)),
    Plan(key=REMARK, references=(to("note_id", NOTE),), values=("line", "text")),
)


def run(pair: Pair, plans: Sequence[Plan], tables: Sequence[str] | None = None, **options: object) -> Report:
    """Register the plans from the source's catalog and compare, over a connection and, to the same end, by messages."""
    with connect(pair.source.dsn, name="source") as source, connect(pair.upstream.dsn, name="upstream") as upstream:
        catalog = inspect(source)
        registry = Registry(tables={plan.key.table: plan.registered(catalog) for plan in plans})
        wanted = None if tables is None else [name(table) for table in tables]
        report = verify(registry, source, upstream, wanted, options=Options(**options))  # type: ignore[arg-type]  # by name
        if not options:
            distant = Distant(ask=lambda asks, question: told(upstream, asks, question))
            assert compare_tables(registry, source, distant, wanted) == without_names(report)
        assert source.info.transaction_status is upstream.info.transaction_status is TransactionStatus.IDLE
        return report


def told(upstream: psycopg.Connection, asks: str, question: Json) -> Json:
    """Ask and answer in JSON, as over a line."""
    return orjson.loads(orjson.dumps(answer(upstream, asks, orjson.loads(orjson.dumps(question)))))  # type: ignore[no-any-return]


def without_names(report: Report) -> Report:
    """Give the same report, the extra rows counted and not named."""
    return Report(
        tables=tuple(replace(table, unnamed=table.extra) for table in report.tables),
        differences=tuple(d for d in report.differences if d.kind is not Kind.EXTRA),
    )


def both(pair: Pair, script: LiteralString) -> None:
    pair.source.script(script)
    pair.upstream.script(script)


def found(report: Report) -> list[tuple[str, str, tuple[str | None, ...], tuple[str, ...]]]:
    return [
        (str(d.table), d.kind.value, d.key, tuple(column.column for column in d.columns)) for d in report.differences
    ]


def of(report: Report, table: str) -> TableReport:
    return next(t for t in report.tables if t.table == name(table))


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


def test_generic_references_are_compared_by_type_and_target(pair: Pair) -> None:
    both(
        pair,
        """
        CREATE TABLE kind (id int PRIMARY KEY, app_label text NOT NULL, model text NOT NULL, UNIQUE (app_label, model));
        CREATE TABLE subject (id int PRIMARY KEY, identifier text NOT NULL UNIQUE);
        CREATE TABLE site (id int PRIMARY KEY, name text NOT NULL UNIQUE);
        CREATE TABLE file (id int PRIMARY KEY, sha text NOT NULL UNIQUE, kind_id int REFERENCES kind, object_id text);
        """,
    )
    fill: LiteralString = """
        INSERT INTO kind VALUES (%(n)s + 1, 'clinic', 'subject'), (%(n)s + 2, 'clinic', 'site');
        INSERT INTO subject VALUES (%(n)s + 1, 'S-1'), (%(n)s + 2, 'S-2');
        INSERT INTO site VALUES (%(n)s + 1, 'north'), (%(n)s + 2, 'south');
        INSERT INTO file VALUES (1, 'a', %(n)s + 1, (%(n)s + 1)::text), (2, 'b', %(n)s + 2, (%(n)s + 1)::text),
            (3, 'c', NULL, NULL), (4, 'd', %(n)s + 1, 'nonsense');
        """
    for database, offset in ((pair.source, 0), (pair.upstream, 70)):
        with psycopg.connect(database.dsn, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
            connection.execute(fill, {"n": offset})
    kind = KeyTree(table=name("kind"), parts=columns("app_label", "model"))
    site = KeyTree(table=name("site"), parts=columns("name"))
    targets = {"clinic.subject": SUBJECT, "clinic.site": site}
    plan = Plan(
        key=KeyTree(table=name("file"), parts=columns("sha")),
        references=(to("kind_id", kind),),
        values=("sha", "object_id"),
        generics=(GenericReference(type_column="kind_id", id_column="object_id", targets=targets),),
    )
    assert run(pair, [plan]).agrees()
    pair.upstream.script(
        "UPDATE file SET object_id = '72' WHERE sha = 'a'; UPDATE file SET kind_id = 71 WHERE sha = 'b'"
    )
    assert found(run(pair, [plan])) == [
        ("file", "different", ("a",), ("object_id",)),
        ("file", "different", ("b",), ("kind_id", "object_id")),
    ]


@ONE_MIXTURE
def test_soft_reference_to_a_row_that_is_gone_counts_as_null(pair: Pair) -> None:
    both(pair, "CREATE TABLE subject (id int PRIMARY KEY, identifier text NOT NULL UNIQUE)")
    both(pair, "CREATE TABLE history (history_id int PRIMARY KEY, id int)")
    pair.source.script("INSERT INTO history VALUES (1, 5)")
    pair.upstream.script("INSERT INTO history VALUES (1, NULL)")
    key = KeyTree(table=name("history"), parts=columns("history_id"))
    assert run(pair, [Plan(key=key, references=(to("id", SUBJECT, soft=True),), values=("history_id",))]).agrees()


HISTORY = Plan(
    key=KeyTree(table=name("history"), parts=columns("history_id")),
    references=(to("id", SUBJECT, soft=True), to("mother_id", SUBJECT, soft=True)),
    values=("history_id", "note"),
)


@pytest.fixture
def recreated(pair: Pair) -> Pair:
    """Give a history whose first subject is gone at the source, its key taken by another row."""
    both(pair, "CREATE TABLE subject (id int PRIMARY KEY, identifier text NOT NULL UNIQUE)")
    both(pair, "CREATE TABLE history (history_id int PRIMARY KEY, id int, mother_id int, note text)")
    pair.source.script("INSERT INTO subject VALUES (6, 'S-1'), (7, 'S-2')")
    pair.upstream.script("INSERT INTO subject VALUES (76, 'S-1'), (77, 'S-2')")
    pair.source.script("INSERT INTO history VALUES (1, 5, 7, 'old'), (2, 6, 7, 'new'), (3, 6, NULL, 'alone')")
    pair.upstream.script("INSERT INTO history VALUES (1, 76, 77, 'old'), (2, 76, 77, 'new'), (3, 76, NULL, 'alone')")
    return pair


def test_soft_reference_to_a_row_created_again_under_its_key_is_no_difference(recreated: Pair) -> None:
    report = run(recreated, [HISTORY])
    assert (report.agrees(), report.differing(), report.differences) == (True, 0, ())
    assert of(report, "history").source_rows == 3


@pytest.mark.parametrize(
    ("change", "row", "column"),
    [
        ("UPDATE history SET mother_id = 76 WHERE history_id = 1", "1", "mother_id"),
        ("UPDATE history SET note = '!' WHERE history_id = 1", "1", "note"),
        ("UPDATE history SET id = NULL WHERE history_id = 2", "2", "id"),
        ("UPDATE history SET id = 77 WHERE history_id = 2", "2", "id"),
        ("UPDATE history SET mother_id = 77 WHERE history_id = 3", "3", "mother_id"),
    ],
)
@ONE_MIXTURE
def test_soft_reference_to_a_row_that_is_there_must_agree(
    recreated: Pair, change: LiteralString, row: str, column: str
) -> None:
    recreated.upstream.script(change)
    assert found(run(recreated, [HISTORY])) == [("history", "different", (row,), (column,))]


@ONE_MIXTURE
def test_generic_reference_to_a_row_created_again_under_its_key_is_no_difference(recreated: Pair) -> None:
    both(recreated, "CREATE TABLE kind (id int PRIMARY KEY, model text NOT NULL UNIQUE)")
    both(recreated, "INSERT INTO kind VALUES (1, 'clinic.subject')")
    both(recreated, "CREATE TABLE file (sha text PRIMARY KEY, kind_id int REFERENCES kind, object_id text)")
    recreated.source.script("INSERT INTO file VALUES ('a', 1, '5'), ('b', 1, '6'), ('c', 1, NULL)")
    recreated.upstream.script("INSERT INTO file VALUES ('a', 1, '76'), ('b', 1, '76'), ('c', 1, NULL)")
    generic = GenericReference(type_column="kind_id", id_column="object_id", targets={"clinic.subject": SUBJECT})
    kind = KeyTree(table=name("kind"), parts=columns("model"))
    sha = KeyTree(table=name("file"), parts=columns("sha"))
    plan = Plan(key=sha, references=(to("kind_id", kind),), values=("sha", "object_id"), generics=(generic,))
    assert run(recreated, [plan]).agrees()
    recreated.upstream.script("UPDATE file SET object_id = '77'")
    assert found(run(recreated, [plan])) == [
        ("file", "different", ("b",), ("object_id",)),
        ("file", "different", ("c",), ("object_id",)),
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
