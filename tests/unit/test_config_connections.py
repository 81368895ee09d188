"""A slip in a connection string is told with its line before anything is connected, and no password with it."""

from __future__ import annotations

import psycopg
import pytest
from psycopg.pq import Conninfo

from dbsync.config.dsn import OPTIONS
from dbsync.config.explain import explain
from dbsync.config.load import parse
from dbsync.config.problems import InvalidConfig
from dbsync.errors import ConfigError
from dbsync.postgres import connect


def told(source: str, url: str = "dbname=community", **environ: str) -> str:
    """Give what a person reads of a file with such a source and upstream."""
    text = f'[node]\nname = "field-07"\nsource = "{source}"\n[upstream]\nurl = "{url}"\n'
    with pytest.raises(InvalidConfig) as caught:
        parse(text, path="dbsync.toml", environ=environ)
    assert caught.value.exit_code == 78
    return explain(caught.value.problems, "dbsync.toml")


@pytest.mark.parametrize(
    ("dsn", "words"),
    [
        ("dbnmae=x", "unknown connection option 'dbnmae': did you mean 'dbname'?"),
        ("host=a pasword=abc", "unknown connection option 'pasword': did you mean 'password'?"),
        ("postgresql://h/db?ssl_mode=require", "unknown connection option 'ssl_mode': did you mean 'sslmode'?"),
        ("host=a paword=abc xyz=1", "unknown connection option 'paword': did you mean 'password'?"),
        ("host=a password=abc hunter2=x", "an unknown connection option: a value with spaces stands in single quotes"),
        ("host=a connect_timeout=abc", "connection option 'connect_timeout' must be a whole number"),
        ("postgresql://h:abc/db", "connection option 'port' must be a whole number"),
        ("postgresql://h/my db", "an address has no spaces: each is written %20"),
        ("postgresql://u:abc hunter2@h/db", "an address has no spaces: each is written %20"),
    ],
)
def test_a_slip_in_a_connection_string_is_told_with_its_line_and_without_any_value(dsn: str, words: str) -> None:
    for place, shown in (("3:10", told(dsn)), ("5:7", told("dbname=clinic", dsn))):
        assert f"dbsync.toml:{place}   {words}" in shown
        assert "hunter2" not in shown
        assert "abc" not in shown


def test_what_a_variable_brings_in_is_not_shown_as_an_option() -> None:
    shown = told("host=a password=${SECRET}", SECRET="abc usar=x")
    assert "an unknown connection option" in shown
    assert "usar" not in shown


@pytest.mark.parametrize(
    "dsn",
    [
        "service=clinic",
        "host=a,b port=5432,5433 dbname='my db' target_session_attrs=read-write",
        "host=/run/postgresql port='' connect_timeout=5 options='-c search_path=a'",
        "postgresql://u:p%20w@h:5432,[::1]:5433/db?sslmode=require&connect_timeout=10",
        "postgresql:///db?host=/run/postgresql&ssl=true",
        "postgresql://",
    ],
)
def test_what_libpq_takes_is_taken(dsn: str) -> None:
    psycopg.conninfo.conninfo_to_dict(dsn)
    parse(f'[node]\nname = "field-07"\nsource = "{dsn}"\n', path="dbsync.toml", environ={})


def test_every_option_of_the_libpq_in_use_is_known() -> None:
    assert {option.keyword.decode() for option in Conninfo.get_defaults()} - OPTIONS == set()


@pytest.mark.parametrize("dsn", ["dbnmae=hunter2", "host=/nowhere connect_timeout=hunter2"])
def test_what_gets_past_is_no_matter_of_reach_and_shows_no_value_either(dsn: str) -> None:
    with pytest.raises(ConfigError, match="connection string of the source cannot be read") as refused:
        connect(dsn, name="source")
    assert "hunter2" not in f"{refused.value}{refused.value.hint}"
