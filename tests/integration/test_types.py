"""Every value of every type arrives upstream as it was, to the byte."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql

from dbsync.postgres import connect
from tests.integration.type_catalogue import DEFINITIONS, EXTENSIONS, TYPES, Type
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair
from tests.support.pipeline import Pipeline, prepared

ALL = '[[tables]]\nname = "*"\n'


def texts(database: Database, query: sql.Composed) -> list[tuple[Any, ...]]:
    """Read values as text, under the settings that dbsync pins."""
    with connect(database.dsn, name="test") as session:
        rows: list[tuple[Any, ...]] = session.execute(query).fetchall()
        return rows


def table(t: Type) -> str:
    return f"t{TYPES.index(t)}"


def available(pair: Pair) -> list[Type]:
    """Make the extensions that both servers have, and give the types they know."""
    for database in (pair.source, pair.upstream):
        for extension in EXTENSIONS:
            with suppress(psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile):
                database.sql(sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(extension)))
    return [t for t in TYPES if not t.optional or (_has(pair.source, t) and _has(pair.upstream, t))]


def _beside_null(t: Type, value: str) -> sql.Composable:
    if t.name.endswith("[]"):
        return sql.SQL(value)
    return sql.SQL("ARRAY[{}, NULL]::{}[]").format(sql.SQL(value), sql.SQL(t.name))


def _has(database: Database, t: Type) -> bool:
    try:
        database.sql(sql.SQL("SELECT {}").format(sql.SQL(t.values[0])))
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedObject):
        return False
    return True


def create(database: Database, types: list[Type]) -> None:
    """Make a table for each type: one value, and an array of values."""
    with database.connect() as session, session.transaction():
        session.execute(DEFINITIONS)
        for t in types:
            session.execute(
                sql.SQL("CREATE TABLE {} (id serial PRIMARY KEY, no int NOT NULL UNIQUE, v {}, vs {}[])").format(
                    sql.Identifier(table(t)), sql.SQL(t.name), sql.SQL(t.name)
                )
            )


def content(t: Type) -> sql.Composed:
    return sql.SQL("SELECT no, v::text, vs::text, octet_length(v::text) FROM public.{} ORDER BY no").format(
        sql.Identifier(table(t))
    )


def differing(pipeline: Pipeline, types: list[Type]) -> list[tuple[str, Any, Any]]:
    wrong: list[tuple[str, Any, Any]] = []
    for t in types:
        here, there = texts(pipeline.source, content(t)), texts(pipeline.upstream, content(t))
        wrong += [(t.name, a, b) for a, b in zip(here, there, strict=False) if a != b]
        if len(here) != len(there):
            wrong.append((t.name, len(here), len(there)))
    return wrong


def test_every_type_arrives_as_it_was(pair: Pair) -> None:
    types = available(pair)
    create(pair.source, types)
    create(pair.upstream, types)
    with Pipeline(pair.source, pair.upstream, ALL) as pipeline:
        with pair.source.connect() as session:
            for t in types:
                for number, value in enumerate(t.values):
                    session.execute(
                        sql.SQL("INSERT INTO {} (no, v, vs) VALUES ({}, {}, {})").format(
                            sql.Identifier(table(t)), number, sql.SQL(value), _beside_null(t, value)
                        )
                    )
        pipeline.ship()
        assert differing(pipeline, types) == []
        with pair.source.connect() as session:
            for t in types:
                session.execute(
                    sql.SQL(
                        "UPDATE {table} SET v = o.v, vs = CASE WHEN o.no % 2 = 0 THEN NULL ELSE o.vs END"
                        " FROM {table} o WHERE o.no = ({table}.no + 1) % {count}"
                    ).format(table=sql.Identifier(table(t)), count=len(t.values))
                )
        pipeline.ship()
        assert differing(pipeline, types) == []
        assert pipeline.compare().agrees()


@pytest.mark.parametrize(
    ("name", "value", "same", "other"),
    [
        ("citext", "Maun", "MAUN", "Kasane"),
        ("numeric", "1.50", "1.5", "2"),
        ("timestamptz", "2026-11-22 12:00+02", "2026-11-22 10:00+00", "infinity"),
        ("text", " a b ", " a b ", "a b"),
        ("char(5)", "ab", "ab   ", "abc"),
        ("bytea", "\\x00ff", "\\x00ff", "\\x"),
        ("inet", "10.1.2.3/32", "10.1.2.3", "::1"),
        ("float8", "0.1", "1e-1", "NaN"),
        ("date", "0044-03-15 BC", "0044-03-15 BC", "-infinity"),
        ("code", "x-1", "x-1", "x-2"),
        ('"Mood of the day"', 'so "so"', 'so "so"', "it''s"),
        ("int4range", "[1,5)", "[1,4]", "empty"),
        ("int[]", "[0:1]={1,2}", "[0:1]={1,2}", "{}"),
        ("uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "{a0eebc999c0b4ef8bb6d6bb9bd380a11}", "0" * 32),
    ],
)
@ONE_MIXTURE
def test_a_key_of_any_type_finds_its_row(pair: Pair, name: str, value: str, same: str, other: str) -> None:
    if name == "citext" and not any(t.name == "citext" for t in available(pair)):
        pytest.skip("citext is not installed")
    script = sql.SQL("""
        CREATE TABLE parent (id serial PRIMARY KEY, key {type} NOT NULL UNIQUE, note text);
        CREATE TABLE child (id serial PRIMARY KEY, parent_id int NOT NULL UNIQUE REFERENCES parent, note text)
    """).format(type=sql.SQL(name))
    for database in (pair.source, pair.upstream):
        with database.connect() as session:
            session.execute(DEFINITIONS)
            session.execute(script)
    pair.upstream.sql(sql.SQL("INSERT INTO parent (id, key, note) VALUES (70, {}, 'theirs')").format(same))
    with Pipeline(pair.source, pair.upstream, ALL) as pipeline:
        with pair.source.connect() as session:
            session.execute(sql.SQL("INSERT INTO parent (key, note) VALUES ({}, 'ours')").format(value))
            session.execute("INSERT INTO child (parent_id) VALUES (1)")
        pipeline.ship()
        assert pair.upstream.sql("SELECT parent_id FROM child") == [(70,)]
        pipeline.agree()
        with pair.source.connect() as session, session.transaction():
            session.execute(sql.SQL("UPDATE parent SET key = {}").format(other.replace("''", "'")))
            session.execute("UPDATE child SET note = 'x'")
        pipeline.agree()
        assert pair.upstream.sql("SELECT id, note FROM parent") == [(70, "ours")]
        pair.source.script("DELETE FROM child; DELETE FROM parent")
        pipeline.agree()
        assert pair.upstream.value("SELECT count(*) FROM parent") == 0


# Tables of every make.

ODD = """
CREATE SCHEMA "Lab % {0}";
CREATE TABLE "Lab % {0}"."Box no. ""7"" %s" (
    "Id" serial PRIMARY KEY, "the {key}" text NOT NULL UNIQUE, "%s" text, gone int, "n" int, "o" int, t int, q int, y int,
    b int, "select" text, "ü" text, "a.b" text, "$1" text, "\\" text);
ALTER TABLE "Lab % {0}"."Box no. ""7"" %s" DROP COLUMN gone;
CREATE TABLE "Lab % {0}".tube (
    id uuid PRIMARY KEY, "box%" int NOT NULL REFERENCES "Lab % {0}"."Box no. ""7"" %s" ON DELETE CASCADE,
    "Row" int NOT NULL, UNIQUE ("box%", "Row"));
CREATE TABLE a_table_whose_name_is_just_as_long_as_postgresql_allows_names63 (
    id serial PRIMARY KEY, a_column_whose_name_is_just_as_long_as_postgresql_allows_name63 text NOT NULL UNIQUE);
CREATE TABLE computed (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, code text NOT NULL UNIQUE, height numeric, width numeric,
    area numeric GENERATED ALWAYS AS (height * width) STORED, made timestamptz DEFAULT now());
CREATE TABLE only_a_key (id serial PRIMARY KEY, code text NOT NULL UNIQUE);
CREATE TABLE keyed_by_uuid (id uuid PRIMARY KEY, note text);
CREATE TABLE pair_of_keys (tenant int NOT NULL, no int NOT NULL, label text, PRIMARY KEY (tenant, no));
CREATE TABLE wide (id serial PRIMARY KEY, code text NOT NULL UNIQUE);
"""


@pytest.fixture
def odd(pair: Pair, databases: Databases) -> Iterator[Pipeline]:
    both = prepared(databases, pair, ODD)
    for database in (both.source, both.upstream):
        with database.connect() as session:
            session.execute("DO $$ BEGIN FOR i IN 1..300 LOOP"
                            " EXECUTE format('ALTER TABLE wide ADD COLUMN c%s int', i); END LOOP; END $$")  # fmt: skip
    both.upstream.script("""
        DROP TABLE pair_of_keys; CREATE TABLE pair_of_keys (label text, no int, tenant int, PRIMARY KEY (tenant, no));
    """)
    with Pipeline(both.source, both.upstream, ALL + '[[tables]]\nname = "Lab*.*"\n') as pipeline:
        yield pipeline


def test_odd_names_and_other_schemas_are_no_obstacle(odd: Pipeline) -> None:
    odd.source.script("""
        INSERT INTO "Lab % {0}"."Box no. ""7"" %s" VALUES
            (1, 'a', '%s', 1, 2, 3, 4, 5, 6, 'sel', 'ü', '.', '$', E'\\\\');
        INSERT INTO "Lab % {0}"."Box no. ""7"" %s" ("Id", "the {key}") VALUES (2, 'b');
        INSERT INTO "Lab % {0}".tube VALUES (gen_random_uuid(), 1, 1), (gen_random_uuid(), 2, 1);
        INSERT INTO a_table_whose_name_is_just_as_long_as_postgresql_allows_names63 VALUES (1, 'x');
    """)
    odd.agree()
    odd.source.script("""
        UPDATE "Lab % {0}"."Box no. ""7"" %s" SET "the {key}" = 'c', "n" = 7 WHERE "Id" = 1;
        UPDATE "Lab % {0}".tube SET "Row" = 2;
        DELETE FROM "Lab % {0}"."Box no. ""7"" %s" WHERE "Id" = 2
    """)
    odd.agree()
    assert odd.upstream.sql('SELECT "the {key}", "n" FROM "Lab % {0}"."Box no. ""7"" %s"') == [("c", 7)]


def test_generated_columns_are_computed_on_each_side(odd: Pipeline) -> None:
    odd.source.sql("INSERT INTO computed (code, height, width) VALUES ('a', 2, 3), ('b', NULL, 1)")
    odd.agree()
    odd.source.sql("UPDATE computed SET width = 10")
    odd.agree()
    assert odd.upstream.sql("SELECT code, area FROM computed ORDER BY 1") == [("a", 20), ("b", None)]
    odd.source.sql("ALTER TABLE computed ALTER COLUMN area DROP EXPRESSION")
    odd.upstream.sql("ALTER TABLE computed ALTER COLUMN area DROP EXPRESSION")
    odd.source.sql("UPDATE computed SET area = 5")
    odd.restart()
    odd.ship()
    assert odd.upstream.value("SELECT count(*) FROM computed WHERE area = 5") == 2


@ONE_MIXTURE
def test_tables_of_few_or_many_columns(odd: Pipeline) -> None:
    odd.source.script("""
        INSERT INTO only_a_key (code) VALUES ('a'), ('b'); INSERT INTO keyed_by_uuid VALUES (gen_random_uuid(), 'u');
        INSERT INTO pair_of_keys VALUES (1, 2, 'x'), (2, 1, 'y'); INSERT INTO wide (code, c1, c300) VALUES ('w', 1, 2)
    """)
    odd.agree()
    odd.source.script("""
        UPDATE only_a_key SET code = 'c' WHERE code = 'a'; UPDATE keyed_by_uuid SET note = NULL;
        UPDATE pair_of_keys SET no = 3 WHERE no = 2; UPDATE wide SET c299 = 3, c1 = NULL
    """)
    odd.agree()
    odd.source.script("DELETE FROM only_a_key; DELETE FROM keyed_by_uuid; DELETE FROM pair_of_keys; DELETE FROM wide")
    odd.agree()
    assert odd.upstream.value("SELECT count(*) FROM pair_of_keys") == 0


@ONE_MIXTURE
def test_excluded_columns_never_enter_the_log(odd: Pipeline) -> None:
    odd.reinstall('[[tables]]\nname = "computed"\nexclude = ["height", "made"]\n')
    odd.source.sql("INSERT INTO computed (code, height, width) VALUES ('a', 987654, 3)")
    odd.source.sql("UPDATE computed SET height = 876543")
    odd.source.sql("ALTER TABLE computed ADD COLUMN extra text DEFAULT 'e'")
    odd.upstream.sql("ALTER TABLE computed ADD COLUMN extra text DEFAULT 'e'")
    odd.source.sql("UPDATE computed SET height = 765432, width = 4")
    assert odd.source.value("SELECT count(*) FROM dbsync.change c WHERE c::text ~ '987654|876543|765432'") == 0
    assert [op for _, op, _ in odd.changes()] == ["I", "U"]
    odd.agree()
    assert odd.upstream.sql("SELECT height, width FROM computed") == [(None, 4)]


# Values nobody thought of.

_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
_finite = st.floats(allow_nan=True, allow_infinity=True)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=8,
)


def _number(value: float) -> str:
    return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN" if math.isnan(value) else repr(value))


def _spaced(value: Any, space: str) -> str:
    return space + json.dumps(value, ensure_ascii=False, separators=(space + ",", ": " + space)) + space


VALUES: dict[str, st.SearchStrategy[object]] = {
    "text": _text,
    "varchar(30)": _text,
    "char(25)": _text,
    "citext_or_text": _text,
    "bytea": st.binary(max_size=40),
    "numeric": st.decimals(allow_nan=False, allow_infinity=False)
    | st.just("NaN")
    | st.integers().map(lambda n: f"{n}{abs(n)}.{abs(n)}00"),
    "float8": _finite.map(_number),
    "float4": st.floats(width=32).map(_number),
    "int8": st.integers(-(2**63), 2**63 - 1),
    "json": st.builds(_spaced, _json, st.sampled_from(["", " ", "\n", "\t  "])),
    "jsonb": st.builds(_spaced, _json, st.just("")).filter(lambda text: "\\u0000" not in text),
    "timestamptz": st.datetimes().map(str) | st.sampled_from(["infinity", "-infinity", "0001-01-01 00:00 BC"]),
    "date": st.dates().map(str),
    "time": st.times().map(str),
    "interval": st.timedeltas().map(lambda d: f"{d.days} days {d.seconds} seconds {d.microseconds} microseconds"),
    "uuid": st.uuids(),
    "text[]": st.lists(st.none() | _text, max_size=5),
    "bool": st.none() | st.booleans(),
    "pair": st.tuples(st.integers(-(2**31), 2**31 - 1), _text).map(
        lambda p: '({},"{}")'.format(p[0], p[1].replace("\\", "\\\\").replace('"', '""'))
    ),
}


@ONE_MIXTURE
def test_values_nobody_thought_of_arrive_as_they_were(pair: Pair) -> None:
    for database in (pair.source, pair.upstream):
        with database.connect() as session:
            session.execute("CREATE DOMAIN citext_or_text AS text; CREATE TYPE pair AS (a int, b text)")
            columns = [sql.SQL("c{} {}").format(sql.SQL(str(i)), sql.SQL(name)) for i, name in enumerate(VALUES)]
            session.execute(
                sql.SQL("CREATE TABLE t (id serial PRIMARY KEY, no int NOT NULL UNIQUE, {})").format(
                    sql.SQL(", ").join(columns)
                )
            )
    written = sql.SQL("INSERT INTO t VALUES ({})").format(sql.SQL(", ").join([sql.Placeholder()] * (len(VALUES) + 2)))
    changed = sql.SQL("UPDATE t SET ({}) = ROW ({}) WHERE no = %s").format(
        sql.SQL(", ").join(sql.SQL(f"c{i}") for i in range(len(VALUES))),
        sql.SQL(", ").join([sql.Placeholder()] * len(VALUES)),
    )
    row = st.tuples(*(strategy | st.none() for strategy in VALUES.values()))

    with Pipeline(pair.source, pair.upstream, ALL) as pipeline, pair.source.connect() as session:

        @settings(max_examples=12, phases=[Phase.generate], suppress_health_check=[HealthCheck.too_slow])
        @given(st.lists(row, min_size=1, max_size=4), st.lists(row, max_size=2))
        def arrives(inserted: list[tuple[object, ...]], updated: list[tuple[object, ...]]) -> None:
            session.execute("DELETE FROM t")
            for number, values in enumerate(inserted):
                session.execute(written, (number + 1, number, *values))
            for number, values in enumerate(updated):
                session.execute(changed, (*values, number))
            pipeline.ship()
            query = sql.SQL("SELECT no, {} FROM public.t ORDER BY no").format(
                sql.SQL(", ").join(sql.SQL(f"c{i}::text") for i in range(len(VALUES)))
            )
            assert texts(pair.source, query) == texts(pair.upstream, query)

        arrives()
