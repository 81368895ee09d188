"""Two small databases to compare, and the ways in which they are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import LiteralString

import orjson
import psycopg
from psycopg.pq import TransactionStatus

from dbsync.catalog.inspect import inspect
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
from tests.support.databases import Pair

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
