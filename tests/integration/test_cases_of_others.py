"""What waits of one node stops no other, whatever becomes of the upstream's tables and rights meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, LiteralString

import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo

from dbsync.apply.applier import Applier
from dbsync.apply.load import Released
from dbsync.postgres import connect
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, prepared

pytestmark = ONE_MIXTURE

SCHEMA: LiteralString = """
CREATE TABLE site (id serial PRIMARY KEY, code text NOT NULL UNIQUE);
CREATE TABLE subject (id serial PRIMARY KEY, name text NOT NULL UNIQUE, site_id int REFERENCES site);
CREATE TABLE visit (id serial PRIMARY KEY, name text NOT NULL UNIQUE, note text);
CREATE TABLE letter (id serial PRIMARY KEY, name text NOT NULL UNIQUE);
"""
TABLES = """
[[tables]]
name = "site"
mode = "lookup"
[[tables]]
name = "*"
"""
AN_HOUR_LATER = """
UPDATE dbsync.quarantine SET tried_at = tried_at - interval '1 hour', quarantined_at = quarantined_at - interval '1 hour'"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Both:
    """Two nodes of one upstream, into which one login writes."""

    first: Pipeline
    second: Pipeline
    login: str

    def waiting(self) -> list[tuple[Any, ...]]:
        """Give what waits, and why."""
        return self.first.upstream.sql("""
            SELECT node, array_to_string(key, ' '), conflict, reason FROM dbsync.quarantine
            WHERE state = 'waiting' ORDER BY arrival, tx, seq""")

    def upstream(self, script: str) -> None:
        """Run something there as its DBA."""
        self.first.upstream.sql(script.encode())

    def other_goes_on(self) -> None:
        """Hold that a row of the second node arrives, and that it may look after what waits."""
        self.second.source.sql("INSERT INTO letter (name) VALUES ('of the second')")
        self.second.ship()
        self.second.applier.tend(self.second.node.lineage)
        assert self.first.upstream.sql("SELECT name FROM letter") == [("of the second",)]


@pytest.fixture
def nodes(pair: Pair, databases: Databases) -> Iterator[Both]:
    """Open two nodes; site X is at the first one only."""
    both = prepared(databases, pair, SCHEMA)
    role = "service_" + both.upstream.name
    with ExitStack() as stack:
        session = stack.enter_context(both.upstream.connect())
        first = stack.enter_context(Pipeline(both.source, both.upstream, TABLES))
        other = prepared(databases, pair, SCHEMA).source
        second = stack.enter_context(Pipeline(other, both.upstream, TABLES, node="field-02"))
        session.execute(f"CREATE ROLE {role} LOGIN IN ROLE dbsync_replicator".encode())
        stack.callback(session.execute, f"DROP OWNED BY {role}; DROP ROLE {role}".encode())
        session.execute(
            f"""GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
            GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}""".encode()
        )
        for pipeline in (first, second):
            line = stack.enter_context(closing(connect(make_conninfo(both.upstream.dsn, user=role), name="upstream")))
            pipeline.applier = Applier(line, pipeline.policies)
        first.source.sql("INSERT INTO site (code) VALUES ('X')")
        yield Both(first=first, second=second, login=role)


def test_a_privilege_that_was_taken_away_stops_only_who_needs_it(nodes: Both) -> None:
    nodes.upstream("ALTER TABLE visit ADD CONSTRAINT short CHECK (note <> 'long')")
    nodes.first.source.sql("INSERT INTO visit (name, note) VALUES ('V', 'long')")
    nodes.first.ship()
    nodes.upstream(f"REVOKE INSERT ON visit FROM {nodes.login}")
    nodes.upstream(AN_HOUR_LATER)
    nodes.other_goes_on()
    assert nodes.waiting() == [("field-01", "V", "refused", "permission denied for table visit")]
    nodes.first.source.sql("INSERT INTO visit (name) VALUES ('W')")
    with pytest.raises(errors.InsufficientPrivilege):
        nodes.first.ship()
    nodes.upstream(f"GRANT INSERT ON visit TO {nodes.login}; ALTER TABLE visit DROP CONSTRAINT short")
    nodes.first.ship()
    assert nodes.first.applier.release() == Released(released=1)


@pytest.mark.parametrize(
    ("change", "conflict", "words"),
    [
        (
            "ALTER TABLE site DROP code",
            "missing_column",
            "table site has no column code upstream any more: it was dropped there",
        ),
        ("ALTER TABLE site ALTER code TYPE int USING id", "invalid_value", "a value cannot be read for type integer"),
        ("REVOKE SELECT ON site FROM {login}", "refused", "permission denied for table site"),
    ],
    ids=["dropped", "another type", "not to be read"],
)
def test_nor_does_a_row_that_cannot_be_looked_for_any_more(nodes: Both, change: str, conflict: str, words: str) -> None:
    nodes.upstream("INSERT INTO site (code) VALUES ('G')")
    nodes.first.source.sql("INSERT INTO subject (name, site_id) VALUES ('of the first', 1)")
    nodes.first.ship()
    assert nodes.waiting() == [("field-01", "of the first", "reference_missing", "there is no site (X) upstream")]
    nodes.upstream(change.format(login=nodes.login))
    nodes.other_goes_on()
    assert nodes.waiting() == [("field-01", "of the first", conflict, words)]


def test_and_one_whose_key_has_another_name_is_looked_for_by_that(nodes: Both) -> None:
    nodes.upstream("INSERT INTO site (code) VALUES ('G')")
    nodes.first.source.sql("INSERT INTO subject (name, site_id) VALUES ('of the first', 1)")
    nodes.first.ship()
    nodes.upstream("ALTER TABLE site RENAME code TO short")
    nodes.other_goes_on()
    assert nodes.waiting() == [("field-01", "of the first", "reference_missing", "there is no site (X) upstream")]
    nodes.upstream("INSERT INTO site (short) VALUES ('X')")
    assert nodes.first.applier.release() == Released(released=1)
    assert nodes.first.upstream.sql("SELECT s.name, t.short FROM subject s JOIN site t ON t.id = s.site_id") == [
        ("of the first", "X")
    ]
