"""What a server between pays for passing on what it gets: not more for a long past, a long ledger, many tables' worth of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import LiteralString

import pytest

from dbsync.config.load import load
from dbsync.service.run import Service
from tests.integration.past import TABLES, Past, long_past
from tests.integration.people import Person
from tests.integration.test_reads import PAGES, ROWS
from tests.support.databases import MIXTURE, Databases
from tests.support.reads import reads
from tests.support.servers import Servers

_TOP: LiteralString = """
CREATE TABLE subject (id serial PRIMARY KEY, identifier text NOT NULL UNIQUE, initials text);
CREATE TABLE visit (
    id serial PRIMARY KEY, subject_id int NOT NULL REFERENCES subject, code int NOT NULL, note text, UNIQUE (subject_id, code));
CREATE TABLE line (id serial PRIMARY KEY, visit_id int REFERENCES visit, text text);
CREATE TABLE history (id serial PRIMARY KEY, subject_id int, initials text)
"""
STEPS: dict[str, tuple[LiteralString, int]] = {
    "rows that were overruled before": ("UPDATE subject SET initials = 'x' WHERE id BETWEEN 101 AND 110", 10),
    "a row that comes to nothing": (
        """
        INSERT INTO history (subject_id, initials) VALUES (1, 'x');
        DELETE FROM history WHERE initials = 'x';
        UPDATE subject SET initials = 'y' WHERE id BETWEEN 111 AND 113
        """,
        3,
    ),
    "rows of which one waits": (
        "UPDATE subject SET initials = CASE id WHEN 131 THEN 'improper' ELSE 'z' END WHERE id BETWEEN 131 AND 133",
        2,
    ),
}
"""Each with how many of its changes are of rows that were overruled once, and go up again after a restore."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A node with a long past, its upstream, and that one's own service."""

    below: Past
    above: Service


@pytest.fixture(scope="module")
def tier(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tier]:
    """Give an upstream that passes everything on, and lives another life than its first."""
    databases = Databases(servers)
    source, upstream = (databases.create(version, name="past") for version in MIXTURE)
    top = databases.create(MIXTURE[0], name="top")
    below = long_past(source, upstream, tmp_path_factory.mktemp("past"))
    top.script(_TOP)
    config = tmp_path_factory.mktemp("tier") / "dbsync.toml"
    config.write_text(
        f'[node]\nname = "community"\nsource = "{upstream.dsn}"\n'
        f'[upstream]\nurl = "{top.dsn}"\nname = "centre"\n{TABLES}'
    )
    person = Person(config=config)
    person.must("install-upstream")
    person.must("install-triggers")
    upstream.script("""
        UPDATE dbsync.node SET incarnation = gen_random_uuid();
        ALTER TABLE subject ADD CONSTRAINT proper CHECK (initials <> 'improper') NOT VALID""")
    yield Tier(below=below, above=Service(config=load(config, {})))
    databases.drop_all()


@pytest.mark.parametrize("step", STEPS)
def test_a_batch_is_taken_in_and_passed_on_without_a_look_at_the_past(tier: Tier, step: str) -> None:
    script, again = STEPS[step]
    upstream = tier.below.upstream
    with reads(upstream) as here:
        tier.below.source.script(script)
        tier.below.ship()
        tier.above.run_once()
    here.hold(rows=ROWS, pages=PAGES)
    noted = "SELECT cardinality(overruling), part IS NOT NULL FROM dbsync.receipt ORDER BY applied_at DESC, number DESC LIMIT 1"
    assert upstream.sql(noted) == [(again, step == "rows of which one waits")]


def test_a_ledger_about_a_few_rows_is_not_read_for_each_of_many(tier: Tier) -> None:
    tier.below.upstream.script("""
        CREATE TEMP TABLE old AS SELECT * FROM dbsync.conflict ORDER BY id LIMIT 1;
        DELETE FROM dbsync.conflict;
        INSERT INTO dbsync.conflict (conflict, relation, key, node, incarnation, number, tx, seq, captured_at, rule, decision)
        SELECT conflict, relation, ARRAY['s' || g % 8], node, incarnation, number, g, g, captured_at, rule, 'source'
        FROM old, generate_series(1, 900) g;
        ANALYZE dbsync.conflict""")
    tier.below.upstream.sql(b"VACUUM dbsync.conflict")
    with reads(tier.below.upstream) as here:
        tier.below.source.sql("UPDATE subject SET initials = 'w' WHERE id BETWEEN 1001 AND 3000")
        tier.below.ship()
    assert here.of("dbsync.conflict").rows < 2 * ROWS
