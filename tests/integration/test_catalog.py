from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from dbsync.catalog.inspect import inspect
from dbsync.keys.expression import table_sql, text_of, value_of
from dbsync.keys.types import unsupported
from dbsync.model.catalog import Catalog, Column, Table, UniqueKey
from dbsync.model.names import TableName
from dbsync.postgres import connect
from tests.integration.schemas import large
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair

ONE_VERSION = pytest.mark.parametrize("version", [15])


def read(database: Database) -> Catalog:
    with connect(database.dsn, name="source") as connection:
        return inspect(connection)


def only(database: Database, name: str) -> Table:
    return read(database).tables[TableName.parse(name)]


def column(table: Table, name: str) -> Column:
    found = table.column(name)
    assert found is not None
    return found


def test_tables_are_those_of_the_application(version: int, databases: Databases) -> None:
    database = databases.create(version)
    database.script("""
        CREATE SCHEMA lab; CREATE SCHEMA dbsync; CREATE TABLE dbsync.node (id int);
        CREATE TABLE lab."Box no. 7" (id int); CREATE VIEW seen AS SELECT 1;
        CREATE TABLE day (at date, PRIMARY KEY (at)) PARTITION BY RANGE (at);
        CREATE TABLE day_1 PARTITION OF day FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
        CREATE UNLOGGED TABLE rough (id int);
    """)
    catalog = read(database)
    assert [str(name) for name in catalog.tables] == ['lab."Box no. 7"', "day", "rough"]
    assert catalog.database == database.name
    assert catalog.server_version // 10000 == version
    assert catalog.tables[TableName.parse("day")].kind == "partitioned"
    assert catalog.tables[TableName.parse("day")].primary_key == ("at",)


@ONE_VERSION
def test_some_schemas_can_be_asked_for(version: int, databases: Databases) -> None:
    database = databases.create(version)
    database.script("CREATE SCHEMA lab; CREATE TABLE lab.box (id int); CREATE TABLE box (id int)")
    with database.connect() as connection:
        assert [str(name) for name in inspect(connection, ["lab"]).tables] == ["lab.box"]


def test_numbers_from_sequences_are_known_with_their_sequence(version: int, databases: Databases) -> None:
    database = databases.create(version)
    database.script("""
        CREATE SEQUENCE "No"; CREATE SCHEMA lab; CREATE SEQUENCE lab.shared;
        CREATE FUNCTION next_no() RETURNS bigint LANGUAGE sql AS $$ SELECT nextval('public."No"') $$;
        CREATE TABLE t (
            identity int GENERATED ALWAYS AS IDENTITY, serial serial, named bigint DEFAULT nextval('"No"'),
            shared int DEFAULT nextval('lab.shared'), computed text DEFAULT 'T-' || nextval('"No"')::text,
            late bigint DEFAULT nextval('"N' || 'o"'), plain int DEFAULT 7, dropped int, owning int);
        ALTER TABLE t DROP COLUMN dropped;
        CREATE SEQUENCE idle OWNED BY t.owning;
    """)
    table = only(database, "t")
    assert {c.name: (c.auto, c.sequence) for c in table.columns} == {
        "identity": (True, "public.t_identity_seq"),
        "serial": (True, "public.t_serial_seq"),
        "named": (True, 'public."No"'),
        "shared": (True, "lab.shared"),
        "computed": (True, 'public."No"'),
        "late": (True, ""),
        "plain": (False, ""),
        "owning": (False, ""),
    }
    assert column(table, "plain").default == "7"


def test_only_keys_over_whole_rows_are_unique_keys(version: int, databases: Databases) -> None:
    database = databases.create(version)
    database.script("""
        CREATE TABLE t (
            id int PRIMARY KEY, a text UNIQUE, b text, c text UNIQUE DEFERRABLE, d text, e text,
            CONSTRAINT pair UNIQUE (b, a) INCLUDE (c), UNIQUE NULLS NOT DISTINCT (d));
        CREATE UNIQUE INDEX partial ON t (b) WHERE a IS NULL;
        CREATE UNIQUE INDEX expression ON t (lower(e));
        CREATE UNIQUE INDEX plain ON t (e);
        CREATE INDEX no_key ON t (b);
    """)
    assert only(database, "t").uniques == (
        UniqueKey(name="pair", columns=("b", "a")),
        UniqueKey(name="plain", columns=("e",)),
        UniqueKey(name="t_a_key", columns=("a",)),
        UniqueKey(name="t_c_key", columns=("c",), immediate=False),
        UniqueKey(name="t_d_key", columns=("d",), nulls_not_distinct=True),
    )


def test_foreign_keys_keep_the_order_of_their_columns(version: int, databases: Databases) -> None:
    database = databases.create(version)
    database.script("""
        CREATE TABLE box (tenant int, no int, PRIMARY KEY (no, tenant));
        CREATE TABLE tube (id int PRIMARY KEY, box_tenant int, box_no int, parent int REFERENCES tube DEFERRABLE,
            FOREIGN KEY (box_tenant, box_no) REFERENCES box (tenant, no));
    """)
    pair, parent = only(database, "tube").foreign_keys
    assert (pair.columns, pair.target, pair.target_columns) == (
        ("box_tenant", "box_no"),
        TableName.parse("box"),
        ("tenant", "no"),
    )
    assert (parent.columns, parent.deferrable) == (("parent",), True)


def test_a_foreign_key_onto_a_partitioned_table_counts_once(version: int, databases: Databases) -> None:
    database = databases.create(version)
    database.script("""
        CREATE TABLE day (at date PRIMARY KEY) PARTITION BY RANGE (at);
        CREATE TABLE day_1 PARTITION OF day FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
        CREATE TABLE day_2 PARTITION OF day FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
        CREATE TABLE note (id int, at date REFERENCES day, first date REFERENCES day_1);
    """)
    assert [(key.columns, str(key.target)) for key in only(database, "note").foreign_keys] == [
        (("at",), "day"),
        (("first",), "day"),
    ]


@pytest.mark.parametrize("version", [18])
def test_a_column_may_hold_the_nulls_of_before_its_constraint_until_that_is_validated(
    version: int, databases: Databases
) -> None:
    database = databases.create(version)
    database.script(
        "CREATE TABLE t (a int); INSERT INTO t VALUES (NULL); ALTER TABLE t ADD CONSTRAINT filled NOT NULL a NOT VALID"
    )
    assert column(only(database, "t"), "a").nullable
    database.script("DELETE FROM t; ALTER TABLE t VALIDATE CONSTRAINT filled")
    assert not column(only(database, "t"), "a").nullable


@ONE_VERSION
def test_generated_columns_and_row_security_are_known(version: int, databases: Databases) -> None:
    database = databases.create(version)
    database.script("""
        CREATE TABLE t (a int NOT NULL, b int GENERATED ALWAYS AS (a * 2) STORED);
        ALTER TABLE t ENABLE ROW LEVEL SECURITY;
    """)
    table = only(database, "t")
    assert [(c.generated, c.default, c.nullable) for c in table.columns] == [(False, "", False), (True, "", True)]
    assert table.row_security


@ONE_VERSION
def test_equality_is_that_of_the_type(version: int, databases: Databases) -> None:
    database = databases.create(version)
    database.script("""
        CREATE EXTENSION citext; CREATE DOMAIN email AS citext; CREATE TYPE mood AS ENUM ('good');
        CREATE TYPE pair AS (a int, b json);
        CREATE TABLE t (a citext, b email, c text, d varchar(3), e json, f point, g mood, h int[], i json[], j pair,
            k xml, l jsonb, m int4range, n email[], o bpchar, p regclass, q cidr);
    """)
    builtin, citext = "OPERATOR(pg_catalog.=)", "OPERATOR(public.=)"
    assert {c.name: c.equals for c in only(database, "t").columns} == {
        **dict.fromkeys("cdghlmnopq", builtin),
        **dict.fromkeys("ab", citext),
        **dict.fromkeys("efijk", ""),
    }


@ONE_VERSION
def test_450_tables_are_read_in_a_second(version: int, databases: Databases) -> None:
    database = databases.create(version)
    with database.connect() as connection:
        connection.execute(large(tables=450, foreign_keys=650))
    started = time.monotonic()
    catalog = read(database)
    assert time.monotonic() - started < 10  # far more than it takes: a question a table would take longer
    assert len(catalog.tables) == 450
    assert sum(len(table.foreign_keys) for table in catalog.tables.values()) == 650


def test_reading_locks_nothing_and_leaves_the_session_as_it_was(version: int, databases: Databases) -> None:
    database = databases.create(version)
    database.script("CREATE TABLE t (id int)")
    with database.connect() as writer, database.connect() as reader, writer.transaction():
        writer.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        reader.execute("SET lock_timeout = '1s'")
        before = reader.execute("SHOW search_path").fetchone()
        assert len(inspect(reader).tables) == 1
        assert reader.execute("SHOW search_path").fetchone() == before
        assert reader.info.transaction_status is psycopg.pq.TransactionStatus.IDLE


SAMPLES: dict[str, list[str]] = {
    "bool": ["t", "f"],
    "bytea": ["\\x00ff", "\\x", "abc"],
    '"char"': ["a", "", "\\351"],
    "name": ["x" * 63, "with space "],
    "int8": ["-9223372036854775808"],
    "int2": ["32767"],
    "int2vector": ["1 2 3"],
    "int4": ["-1"],
    "regproc": ["now", "-"],
    "text": ["", " é\t\n\\ ", "\\N", "NULL"],
    "oid": ["4294967295"],
    "tid": ["(1,2)"],
    "xid": ["7"],
    "cid": ["7"],
    "oidvector": ["1 2"],
    "json": ['{"a":  1, "a": 2, "z": "\\u0000"}', "12345678901234567890.10"],
    "xid8": ["18446744073709551615"],
    "point": ["(0.1,1e300)"],
    "lseg": ["[(0,0),(1,0.30000000000000004)]"],
    "path": ["((0,0),(1,1))", "[(0,0),(1,1)]"],
    "box": ["(1,1),(0,0)"],
    "polygon": ["((0,0),(1,1),(1,0))"],
    "line": ["{1,2,3}"],
    "float4": ["1.1", "NaN", "-0", "Infinity", "1e-45"],
    "float8": ["0.1", "0.30000000000000004", "NaN", "-Infinity", "5e-324"],
    "circle": ["<(0,0),1.5>"],
    "money": ["-$92,233,720,368,547,758.08", "0.01"],
    "macaddr": ["08:00:2b:01:02:03"],
    "inet": ["10.0.0.1", "10.0.0.1/32", "10.0.0.0/8", "::1"],
    "cidr": ["10.0.0.0/8", "10.0.0.1/32", "::/0"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "aclitem": ["postgres=r/postgres"],
    "bpchar": ["ab   ", "", "   "],
    "character(5)": ["ab"],
    "varchar": ["ab   ", ""],
    "varchar(5)": ["ab   "],
    "date": ["2026-11-22", "infinity", "-infinity", "0044-03-15 BC", "99999-01-01"],
    "time": ["24:00:00", "00:00:00.000001"],
    "timestamp": ["2026-11-22 01:02:03.000004", "infinity", "0044-03-15 12:00:00 BC"],
    "timestamptz": ["2026-11-22 01:02:03.4+05:30", "-infinity", "0044-03-15 12:00:00+00 BC"],
    "interval": ["1 year -1 days +02:03:04.000005", "-1 mons", "00:00:00", "-178000000 years"],
    "timetz": ["01:02:03.4+05:30", "24:00:00-15:59"],
    '"bit"': ["101"],
    "bit(3)": ["101"],
    "varbit": ["", "10101"],
    "numeric": ["NaN", "Infinity", "1" * 200 + "." + "2" * 200, "0.00", "-0.10"],
    "numeric(6,2)": ["1234.50"],
    "refcursor": ["a"],
    "regprocedure": ["abs(integer)", "-"],
    "regoper": ["||/", "0"],
    "regoperator": ["+(integer,integer)", "0"],
    "regclass": ["pg_class", "-"],
    "regcollation": ['"C"', "-"],
    "regtype": ["timestamp with time zone", "-"],
    "regrole": ["postgres", "-"],
    "regnamespace": ["pg_catalog", "-"],
    "regconfig": ["english"],
    "regdictionary": ["simple"],
    "uuid": ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
    "pg_lsn": ["16/B374D848"],
    "tsvector": ["'a':1A,3 'b c':2", "'it''s'"],
    "tsquery": ["'a' & !'b':*A <-> 'c'", ""],
    "jsonb": ['{"a": 1, "b": [null, 1.10, "é"]}', "1e400"],
    "jsonpath": ['$."a"[*]?(@ > 1)', "strict $"],
    "txid_snapshot": ["10:20:10,14"],
    "pg_snapshot": ["10:20:10,14"],
    "int4range": ["[1,5)", "empty", "(,)"],
    "numrange": ["(0.10,0.2]"],
    "tsrange": ["[2026-01-01 00:00:00,infinity]"],
    "tstzrange": ["[2026-01-01 00:00:00+05,)"],
    "daterange": ["[2026-01-01,2026-02-01)"],
    "int8range": ["[1,)"],
    "int4multirange": ["{[1,2),[5,9)}", "{}"],
    "nummultirange": ["{(0.10,0.2]}"],
    "tsmultirange": ["{}"],
    "tstzmultirange": ["{[2026-01-01 00:00:00+05,)}"],
    "datemultirange": ["{}"],
    "int8multirange": ["{}"],
    # made by the test
    "public.citext": ["Ab", "aB  "],
    "public.hstore": ['"a"=>NULL, "b c"=>"é\\"\\\\"'],
    "public.mood": ["good", "so so"],
    "public.code": ["ab"],
    "public.flag": ["\\351"],
    "public.small": ["12.30"],
    "public.tags": ['{"ab   ",NULL}'],
    "public.visit": ['(7,"ab   ","{1,NULL}","(1,""x y"")")'],
    "public.span": ["[a,b)"],
    "public.hidden": ["plain"],
    "public.twofold": ["plain"],
}
"""Values of every type; each type's array is tried too."""

XML = {"xml": ["<?xml version='1.0' encoding='latin1'?><a>é</a>", "a <b/> c", ""]}
"""Apart from the others: PostgreSQL 18 as embedded is built without it."""

INTERNAL = {"pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list", "pg_brin_bloom_summary",
            "pg_brin_minmax_multi_summary", "gtsvector"}  # fmt: skip

TYPES = """
    CREATE EXTENSION citext; CREATE EXTENSION hstore;
    CREATE TYPE mood AS ENUM ('good', 'so so', 'bad');
    CREATE DOMAIN code AS character(5) CHECK (VALUE <> 'zz');
    CREATE DOMAIN flag AS "char";
    CREATE DOMAIN small AS numeric(6,2);
    CREATE DOMAIN tags AS bpchar[];
    CREATE TYPE part AS (n int, words text);
    CREATE TYPE visit AS (id bigint, code code, numbers int[], inner_part part);
    CREATE TYPE span AS RANGE (subtype = text, collation = "C");
    -- casts that change the value, in either direction
    CREATE TYPE hidden AS ENUM ('plain', 'shown');
    CREATE FUNCTION show(hidden) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'shown' $$;
    CREATE FUNCTION hide(text) RETURNS hidden LANGUAGE sql IMMUTABLE AS $$ SELECT 'shown'::hidden $$;
    CREATE CAST (hidden AS text) WITH FUNCTION show(hidden);
    CREATE CAST (text AS hidden) WITH FUNCTION hide(text);
    CREATE TYPE twofold AS ENUM ('plain', 'shown');
    CREATE FUNCTION fold(text) RETURNS twofold LANGUAGE sql IMMUTABLE AS $$ SELECT 'shown'::twofold $$;
    CREATE FUNCTION fold(varchar) RETURNS twofold LANGUAGE sql IMMUTABLE AS $$ SELECT 'shown'::twofold $$;
    CREATE CAST (text AS twofold) WITH FUNCTION fold(text);
    CREATE CAST (varchar AS twofold) WITH FUNCTION fold(varchar);
"""


def test_every_type_of_the_catalogue_is_tried_or_internal(version: int, databases: Databases) -> None:
    names = databases.create(version).sql(
        "SELECT format_type(oid, -1) FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace"
        " AND typtype IN ('b', 'r', 'm') AND typcategory <> 'A'"
    )
    known = databases.create(version).sql(
        "SELECT format_type(name::regtype, -1) FROM unnest(%s::text[]) name",
        [[name for name in {**SAMPLES, **XML} if not name.startswith("public.")]],
    )
    assert {name for (name,) in names} - {name for (name,) in known} == INTERNAL


def test_values_of_every_type_arrive_as_they_were(pair: Pair) -> None:
    for database in (pair.source, pair.upstream):
        with database.connect() as connection:
            connection.execute(TYPES)
    _travel(pair, SAMPLES)


def test_xml_keeps_its_declaration(databases: Databases) -> None:
    _travel(Pair(source=databases.create(15), upstream=databases.create(15)), XML)


def _travel(pair: Pair, samples_of: Mapping[str, list[str]]) -> None:
    """Write each sample as its type's output function does, read it on the other side, and compare what is stored."""
    for database in (pair.source, pair.upstream):
        with database.connect() as connection:
            connection.execute(_table_of(samples_of))
    here, there = only(pair.source, "everything"), only(pair.upstream, "everything")
    with connect(pair.source.dsn, name="source") as source, connect(pair.upstream.dsn, name="upstream") as upstream:
        for index, samples in enumerate(samples_of.values()):
            for name in (f"v{index}", f"a{index}"):
                stored, texts = _stored(source, column(here, name), samples, as_array=name.startswith("a"))
                assert _arrived(upstream, column(there, name), texts) == stored, column(here, name)


def _table_of(types: Iterable[str]) -> sql.Composed:
    columns = [
        sql.SQL("v{} {type}, a{} {type}[]").format(sql.Literal(index), sql.Literal(index), type=sql.SQL(name))
        for index, name in enumerate(types)
    ]
    return sql.SQL("CREATE TABLE everything ({})").format(sql.SQL(", ").join(columns))


def _stored(
    source: psycopg.Connection, here: Column, samples: list[str], *, as_array: bool
) -> tuple[list[str], list[str]]:
    name, output = sql.Identifier(here.name), text_of("t", here)
    with _nothing_kept(source):
        for sample in samples:
            written: sql.Composable = sql.Literal(sample)
            if as_array:
                kind = sql.SQL(here.type)
                written = sql.SQL("ARRAY[{}, NULL, {}]::{}").format(written, written, kind)
            source.execute(sql.SQL("INSERT INTO public.everything ({}) VALUES ({})").format(name, written))
        return _written(source, here), [
            row[0] for row in source.execute(sql.SQL("SELECT {} FROM public.everything t ORDER BY ctid").format(output))
        ]


def _arrived(upstream: psycopg.Connection, there: Column, texts: list[str]) -> list[str]:
    with _nothing_kept(upstream):
        for text in texts:
            value = value_of(sql.SQL("{}::text").format(sql.Literal(text)), there)
            upstream.execute(
                sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                    table_sql(TableName.parse("everything")), sql.Identifier(there.name), value
                )
            )
        return _written(upstream, there)


def _written(connection: psycopg.Connection, written: Column) -> list[str]:
    """Give the stored values as COPY writes them: by the type's own output function."""
    query = sql.SQL("COPY (SELECT {} FROM public.everything ORDER BY ctid) TO STDOUT").format(
        sql.Identifier(written.name)
    )
    with connection.cursor().copy(query) as copy:
        return [bytes(row).decode() for row in copy]


@contextmanager
def _nothing_kept(connection: psycopg.Connection) -> Iterator[None]:
    with connection.transaction(force_rollback=True):
        yield


@ONE_MIXTURE
def test_types_that_cannot_be_read_again_are_told(pair: Pair) -> None:
    with pair.source.connect() as connection:
        connection.execute(
            "CREATE DOMAIN lo AS oid;CREATE TABLE t (a pg_node_tree, b gtsvector[], c public.lo, d text, e pg_mcv_list)"
        )
    reasons = {one.name: bool(unsupported(one)) for one in only(pair.source, "t").columns}
    assert reasons == {"a": True, "b": True, "c": True, "d": False, "e": True}


@ONE_MIXTURE
def test_a_value_too_long_for_its_domain_is_refused_and_not_cut_off(pair: Pair) -> None:
    for database in (pair.source, pair.upstream):
        database.script("CREATE DOMAIN short AS varchar(3); CREATE TABLE t (a short)")
    there = column(only(pair.upstream, "t"), "a")
    insert = sql.SQL("INSERT INTO t (a) VALUES ({})").format(value_of(sql.SQL("'abcdef'::text"), there))
    with pytest.raises(psycopg.errors.StringDataRightTruncation), pair.upstream.connect() as connection:
        connection.execute(insert)


@ONE_VERSION
def test_tables_that_inherit_and_those_they_inherit_from_are_known(version: int, databases: Databases) -> None:
    database = databases.create(version)
    database.script("""
        CREATE TABLE paper (id int); CREATE TABLE consent () INHERITS (paper); CREATE TABLE other (id int);
        CREATE TABLE day (at date) PARTITION BY RANGE (at); CREATE TABLE day_1 PARTITION OF day DEFAULT""")
    assert {str(name): table.inherits for name, table in read(database).tables.items()} == {
        "consent": True, "day": False, "other": False, "paper": True}  # fmt: skip
