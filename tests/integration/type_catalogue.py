"""PostgreSQL's types, each with the values that are easily spoiled on the way."""

from __future__ import annotations

from dataclasses import dataclass

EXTENSIONS = ("citext", "hstore", "ltree")

DEFINITIONS = r"""
CREATE TYPE "Mood of the day" AS ENUM ('good', 'it''s', 'so "so"', 'a,b', '', ' ', 'NULL', '(x)');
CREATE DOMAIN code AS text CHECK (value ~ '^x') DEFAULT 'x';
CREATE DOMAIN short AS char(4);
CREATE DOMAIN price AS numeric(6, 2) CHECK (value >= 0);
CREATE DOMAIN checked_price AS price CHECK (value < 1000);
CREATE DOMAIN counts AS int[];
CREATE TYPE place AS (latitude float8, "the name" text, tags text[]);
CREATE TYPE visit_at AS (at timestamptz, here place, mood "Mood of the day");
CREATE DOMAIN named_place AS place CHECK ((value)."the name" <> 'nowhere');
CREATE TYPE float8range_of_ours AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE TYPE textrange AS RANGE (subtype = text, collation = "C");
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Type:
    """A type, and values of it as SQL expressions."""

    name: str
    values: tuple[str, ...]
    optional: bool = False
    """Some servers do not have it: an extension, or built without a library."""


def _type(name: str, *values: str, optional: bool = False) -> Type:
    return Type(name=name, values=(*(f"({value})::{name}" for value in values), "NULL"), optional=optional)


_STRINGS = (
    "''", "' '", "'  a b  '", "'NULL'", "'null'", r"E'\\'", r"E'a\tb\nc\rd'", "'{a,\"b\"}'", "'(1,2)'", "'it''s'", "'\"'",
    "'ümläut ß 漢字 😀'", r"E'\u200b\ufeff'", "'%s {} $1'", r"E'\x01\x7f'", "'\\N'", "'\\.'",
)  # fmt: skip
_LONG = (
    "repeat('a', 100000)",
    "repeat('漢', 5000) || md5('1')",
    "(SELECT string_agg(md5(g::text), '') FROM generate_series(1, 30000) g)",
)
_RANGES = {
    "int4range": ("1", "5"), "int8range": ("-9223372036854775808", "9223372036854775806"), "numrange": ("1.50", "1e30"),
    "tsrange": ("2026-01-01", "infinity"), "tstzrange": ("-infinity", "2026-01-01 12:00+05:45"),
    "daterange": ("0044-03-15 BC", "2026-11-22"), "float8range_of_ours": ("0.1", "Infinity"), "textrange": ("a b", "ü,"),
}  # fmt: skip


def _range(name: str, low: str, high: str) -> Type:
    bounds = [f'\'{a}"{low}","{high}"{b}\'' for a in "[(" for b in "])"]
    return _type(name, *bounds, "'empty'", f"'[\"{low}\",)'", f"'(,\"{high}\"]'", "'(,)'")


def _multirange(name: str, low: str, high: str) -> Type:
    multi = "multirange_of_ours" if name.endswith("_of_ours") else "multirange"
    multi = name.replace("range_of_ours", multi) if "_of_ours" in name else name.replace("range", multi)
    return _type(multi, "'{}'", f'\'{{["{low}","{high}")}}\'', "'{(,)}'", f'\'{{(,"{low}"),["{high}",)}}\'')


TYPES: tuple[Type, ...] = (
    _type("bool", "true", "false"),
    _type("smallint", "(-32768)", "32767", "0"),
    _type("int", "(-2147483648)", "2147483647"),
    _type("bigint", "'-9223372036854775808'", "9223372036854775807"),
    _type(
        "numeric", "0", "'-0.000'", "'1.500'", "12345678901234567890123.000", "'NaN'", "'Infinity'", "'-Infinity'",
        "('1' || repeat('0', 3000))", "('0.' || repeat('0', 3000) || '1')", "'9' || repeat('9', 131000)", "'1e-16383'",
    ),
    _type("numeric(10,3)", "1.5", "'-9999999.999'", "'NaN'"),
    _type("numeric(3,-2)", "12345", "'-99900'"),
    _type("numeric(3,5)", "0.00123", "0.00999"),
    _type("real", "'NaN'", "'-Infinity'", "'-0'", "0.1", "'1e-45'", "3.4028235e38", "1.17549435e-38"),
    _type(
        "double precision", "'NaN'", "'Infinity'", "'-0'", "0.1", "1.7976931348623157e308", "'5e-324'", "(1.0 / 3)",
        "9007199254740993",
    ),
    _type("money", "1234567.89", "(-0.01)", "'-92233720368547758.08'", "0"),
    _type("text", *_STRINGS, *_LONG),
    _type("varchar", *_STRINGS),
    _type("varchar(20)", *_STRINGS),
    _type("char(20)", *_STRINGS),
    _type("char", "''", "' '", "'a'", "'ü'"),
    _type("bpchar", *_STRINGS),
    _type('"char"', "''", "' '", "'a'", r"E'\\200'", r"E'\\'", "'\"'"),
    _type("name", *_STRINGS, "repeat('n', 63)"),
    _type("code", "'x'", "'x y '"),
    _type("short", "'ab'", "'ab  '", "''"),
    _type("price", "1.5", "0", "9999.99"),
    _type("checked_price", "1.50"),
    _type("counts", "'{1,NULL,3}'", "'[5:6]={1,2}'", "'{}'"),
    _type('"Mood of the day"', "'good'", "'it''s'", "'so \"so\"'", "'a,b'", "''", "' '", "'NULL'", "'(x)'"),
    _type("bytea", "''", r"'\x00'", "decode(md5('a'), 'hex')", r"'\x5c6e225c'", "convert_to(repeat('漢', 70000), 'UTF8')"),
    _type("date", "'infinity'", "'-infinity'", "'0044-03-15 BC'", "'5874897-12-31'", "'2026-02-28'", "'4713-01-01 BC'"),
    _type("time", "'00:00'", "'24:00'", "'23:59:59.999999'"),
    _type("time(2)", "'12:34:56.78'"),
    _type("timetz", "'12:00+05:45'", "'24:00-15:59:59'", "'00:00:00.000001+15:59'"),
    _type("timestamp", "'infinity'", "'-infinity'", "'294276-12-31 23:59:59.999999'", "'4713-01-01 00:00 BC'", "'2026-03-29 02:30'"),
    _type(
        "timestamptz", "'infinity'", "'-infinity'", "'294276-12-31 23:59:59.999999+00'", "'4713-01-02 00:00+00 BC'",
        "'1900-01-01 00:00 Asia/Kathmandu'", "'2026-10-25 02:30 Europe/Berlin'",
    ),
    _type("timestamp(0)", "'2026-03-29 02:30:01'"),
    _type(
        "interval", "'0'", "'1 year -2 months +3 days -04:05:06.789'", "'-178000000 years'", "'1 microsecond'", "'-1 day +23:00'",
        "'100000000 hours'", "'1 mon -1 day'",
    ),
    _type("interval day to second(3)", "'3 days 04:05:06.789'"),
    _type("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'00000000-0000-0000-0000-000000000000'"),
    _type(
        "json", r"""'{"a" : "\u0000 \ud83d\ude00", "a":1 ,"n": 12345678901234567890123.00, "e": 1E400}'""", "'  [1,\n 2]\t'",
        "'\"x\"'", "'null'", "' '||'{}'||' '",
    ),
    _type("jsonb", "'{\"b\": 1, \"a\": [1.50, null, \"\\u00fc\\n\"]}'", "'12345678901234567890123.00'", "'\"\"'", "'null'", "'[]'"),
    _type("jsonpath", "'$.a[*] ? (@ > 1)'", "'strict $.\"a b\"'"),
    _type("xml", "'<a>&lt;ü</a>'", "'<?xml version=\"1.0\" encoding=\"UTF-8\"?><a/>'", "'just text'", "''", optional=True),
    _type("point", "'(0.1,-0)'", "'(NaN,Infinity)'", "'(1e300,-1e-300)'"),
    _type("line", "'{1,2,3}'", "'{0.1,-1,0}'"),
    _type("lseg", "'[(0,0),(0.1,1)]'"),
    _type("box", "'(1,1),(0.1,0)'"),
    _type("path", "'[(0,0),(1,0.1)]'", "'((0,0),(1,1),(2,0))'"),
    _type("polygon", "'((0,0),(1,1),(2,0.1))'"),
    _type("circle", "'<(0.1,1),3>'"),
    _type("inet", "'10.1.2.3'", "'10.1.2.3/8'", "'::1'", "'2001:db8::ff00:42:8329/64'", "'::ffff:1.2.3.4'"),
    _type("cidr", "'10.0.0.0/8'", "'10.1.2.3/32'", "'2001:db8::/32'", "'0.0.0.0/0'"),
    _type("macaddr", "'08:00:2b:01:02:03'"),
    _type("macaddr8", "'08:00:2b:01:02:03:04:05'"),
    _type("bit", "B'0'", "B'1'"),
    _type("bit(70)", "repeat('10', 35)"),
    _type("varbit", "B''", "B'101'", "repeat('1', 1000)"),
    _type("varbit(5)", "B'10101'", "B''"),
    _type("tsvector", "'a:1A fat:2B,4C cat:5'", "$$'it''s' 'a b':3$$", "''"),
    _type("tsquery", "'fat & (rat | !cat) & sup:*AB'", "$$'it''s' <-> b$$", "''"),
    *(_range(name, *bounds) for name, bounds in _RANGES.items()),
    *(_multirange(name, *bounds) for name, bounds in _RANGES.items()),
    _type("int[]", "'{}'", "'{1,NULL,3}'", "'[0:2]={1,2,3}'", "'[-1:0][2:3]={{1,2},{3,4}}'", "'{{{1},{2}},{{3},{4}}}'"),
    _type("text[]", r"""'{"a b","",NULL,"NULL","\"","\\","{}",",","ü"}'""", "'[5:5]={x}'", "ARRAY[ARRAY['a'], ARRAY[NULL]]"),
    _type("json[]", r"""ARRAY['{"a" :  "\u0000"}', NULL]"""),
    _type("place", "ROW(0.1, 'a \"b\", (c)', ARRAY['x,y', NULL])", "ROW(NULL, NULL, NULL)", r"ROW('NaN', E'\\ ''', '{}')"),
    _type("named_place", "ROW(1, 'here', NULL)"),
    _type("visit_at", "ROW('infinity', ROW(0.1, '', NULL), 'so \"so\"')", "ROW(NULL, NULL, NULL)"),
    _type("oid", "0", "4294967295"),
    _type("xid", "'4294967295'"),
    _type("xid8", "'18446744073709551615'"),
    _type("cid", "'7'"),
    _type("tid", "'(4294967295,65535)'"),
    _type("pg_lsn", "'FFFFFFFF/FFFFFFFF'"),
    _type("pg_snapshot", "'10:20:10,14,15'"),
    _type("oidvector", "'1 2 3'"),
    _type("int2vector", "'1 2 3'"),
    _type("citext", *_STRINGS, "'MiXed'", optional=True),
    _type("hstore", "'a=>1, \"b c\"=>NULL, \"\"=>\"it''s \\\" \"'", "''", optional=True),
    _type("ltree", "'top.science.astronomy'", "''", optional=True),
)  # fmt: skip
