"""Somebody is to be forgotten: what dbsync remembers of him is shown, then taken out, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dbsync.errors import PrivilegeError, Refusal, UsageError
from tests.integration.people import Person, person
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.pipeline import Pipeline, piped, prepared

pytestmark = ONE_MIXTURE

SCHEMA = """
CREATE TABLE subject (id serial PRIMARY KEY, identifier text NOT NULL UNIQUE, initials text);
CREATE TABLE visit (id serial PRIMARY KEY, subject_id int NOT NULL REFERENCES subject ON DELETE CASCADE
    DEFERRABLE INITIALLY DEFERRED, code int NOT NULL, note text, UNIQUE (subject_id, code));
CREATE TABLE specimen (id serial PRIMARY KEY, barcode text NOT NULL UNIQUE, visit_id int REFERENCES visit ON DELETE CASCADE, tube int);
"""
TABLES = """
[[tables]]
name = "subject"
[[tables]]
name = "visit"
[[tables]]
name = "specimen"
"""
BEFORE = """
INSERT INTO subject (identifier, initials) VALUES ('S-1', 'AB'), ('S-11', 'CD');
INSERT INTO visit (subject_id, code) VALUES (1, 1000), (2, 1000)
"""
REFUSED = """
INSERT INTO visit (subject_id, code, note) VALUES (1, 2000, 'bad'), (2, 2000, 'bad');
INSERT INTO specimen (barcode, visit_id, tube) VALUES ('B-1', 1, -1), ('B-2', 2, -1)
"""
WRITTEN_DOWN = """
INSERT INTO dbsync.list (id, made_by, made_at, paper, signature, own, sent_at)
SELECT gen_random_uuid(), 'field-01', now(), convert_to(p.paper, 'UTF8'), 'x', p.own, NULL
FROM (VALUES ('{"both": ["S-1"]}', false), ('{"both": ["S-11"]}', false), ('{"both": ["S-1"]}', true)) AS p(paper, own);
INSERT INTO dbsync.audit (who, address, what, command)
VALUES ('ann', '::1', 'skip', 'dbsync quarantine skip 4 --reason ''S-1 and S-11 are one''');
INSERT INTO dbsync.link (name) VALUES ('centre');
INSERT INTO dbsync.comparison (link, patterns, ignore_extra, size, repair, upstream) VALUES ('centre', '{}', false, 0, false, '{}');
INSERT INTO dbsync.compared (link, relation, ask) VALUES ('centre', 'visit', 'nothing');
INSERT INTO dbsync.difference (link, relation, kind, place, digest, times, settled, asked, key)
SELECT 'centre', 'visit', 'missing', n, n, 1, true, false, ARRAY[who, '1000']
FROM (VALUES (1, 'S-1'), (2, 'S-11')) AS d(n, who)
"""


@pytest.fixture
def pipeline(databases: Databases, pair: Pair) -> Iterator[Pipeline]:
    """Give a server that remembers a good deal of two people, S-1 and S-11."""
    with piped(databases, pair, SCHEMA, TABLES, seed=BEFORE) as made:
        made.upstream.script("""
            ALTER TABLE visit ADD CHECK (note <> 'bad'); ALTER TABLE specimen ADD CHECK (tube > 0);
            UPDATE subject SET initials = 'UP'
        """)
        made.source.script("UPDATE subject SET initials = 'DN'")
        made.source.script(REFUSED)
        made.ship()
        made.upstream.script("UPDATE dbsync.quarantine SET state = 'skipped', decision = 'a reason'")
        made.upstream.script(WRITTEN_DOWN)
        yield made


@pytest.fixture
def server(pipeline: Pipeline, tmp_path: Path) -> Person:
    """Give somebody at the server's keyboard."""
    found = person(pipeline, tmp_path, TABLES)
    found.config.write_text(f'[node]\nname = "community"\nsource = "{pipeline.upstream.dsn}"\n{TABLES}')
    return found


def remembered(pipeline: Pipeline) -> dict[str, int]:
    tables = ("quarantine", "conflict", "difference", "list", "audit")
    counted = pipeline.upstream.sql(
        "SELECT (SELECT count(*) FROM dbsync.quarantine), (SELECT count(*) FROM dbsync.conflict),"
        " (SELECT count(*) FROM dbsync.difference), (SELECT count(*) FROM dbsync.list), (SELECT count(*) FROM dbsync.audit)"
    )
    return dict(zip(tables, counted[0], strict=True))


def named(traces: list[dict[str, Any]]) -> list[tuple[str, list[str] | None]]:
    return sorted(((one["kind"], one["key"]) for one in traces), key=repr)


def test_a_person_is_forgotten_and_nobody_else(pipeline: Pipeline, server: Person) -> None:
    before = remembered(pipeline)
    assert before == {"quarantine": 4, "conflict": 2, "difference": 2, "list": 3, "audit": 1}
    said = server.must("erase", "subject", "S-1")
    assert "subject (S-1) itself, which the application deletes first" in said.out
    assert "nothing was changed" in said.err
    with pytest.raises(Refusal, match=r"subject \(S-1\) is in its table still"):
        server.type("erase", "subject", "S-1", "--yes")
    pipeline.upstream.script("DELETE FROM subject WHERE identifier = 'S-1'")
    pipeline.source.script("INSERT INTO visit (subject_id, code) VALUES (1, 3000)")
    pipeline.ship()
    assert remembered(pipeline) == before | {"quarantine": 5}, "a dry run keeps everything, and one more waits"

    done = server.type("erase", "subject", "S-1", "--yes", "--by", "ann", "--json")
    assert done.code == 1, "something waits"
    assert named(done.json["gone"]) == [
        ("case", ["B-1"]),
        ("case", ["S-1", "2000"]),
        ("conflict", ["S-1"]),
        ("deed", None),
        ("difference", ["S-1", "1000"]),
        ("list", None),
    ]
    assert named(done.json["stays"]) == [("case", ["S-1", "3000"]), ("list", None)]
    assert remembered(pipeline) == {"quarantine": 3, "conflict": 1, "difference": 1, "list": 2, "audit": 2}
    assert pipeline.upstream.sql("SELECT who, what, command, result FROM dbsync.audit ORDER BY id") == [
        ("ann", "skip", "dbsync quarantine skip 4 --reason '(erased) and S-11 are one'", None),
        ("ann", "erase", "dbsync erase subject (erased) --yes", "6 erased, 2 stay"),
    ]

    pipeline.upstream.script("UPDATE dbsync.quarantine SET state = 'skipped'; UPDATE dbsync.list SET sent_at = now()")
    assert "  visit (S-1, 3000)\n" in server.must("erase", "subject", "S-1", "--yes").out
    again = server.must("erase", "subject", "S-1")
    assert again.out.startswith("subject (S-1): 0 things that dbsync remembers would be erased\n")


def test_what_has_no_receipt_stays_in_the_source(pipeline: Pipeline, tmp_path: Path) -> None:
    laptop = person(pipeline, tmp_path, TABLES)
    pipeline.source.script("DELETE FROM subject WHERE identifier = 'S-1'")
    changes = pipeline.source.value("SELECT count(*) FROM dbsync.change")
    done = laptop.must("erase", "subject", "S-1", "--yes")
    assert "stays  change log: " in done.out
    assert pipeline.source.value("SELECT count(*) FROM dbsync.change") == changes
    pipeline.ship()
    assert pipeline.upstream.value("SELECT count(*) FROM subject WHERE identifier = 'S-1'") == 0


def test_who_may_not_is_told_what_to_grant(pipeline: Pipeline, server: Person) -> None:
    dsn = pipeline.upstream.dsn
    pipeline.upstream.script("CREATE ROLE onlooker LOGIN; GRANT dbsync_reader TO onlooker")
    try:
        server.config.write_text(server.config.read_text().replace(dsn, f"{dsn} user=onlooker"))
        with pytest.raises(PrivilegeError) as caught:
            server.type("erase", "subject", "S-1")
        assert caught.value.hint == 'GRANT dbsync TO "onlooker";'
    finally:
        pipeline.upstream.script("DROP OWNED BY onlooker; DROP ROLE onlooker")


def test_words_that_are_off_are_said(server: Person) -> None:
    with pytest.raises(UsageError, match="no key of nothing is known"):
        server.type("erase", "nothing", "S-1")
    with pytest.raises(UsageError, match="a key of visit has 2 values, not 1") as caught:
        server.type("erase", "visit", "S-1")
    assert caught.value.why == "they are, in this order: subject_id.identifier, code"
    assert caught.value.hint == "dbsync tables --match visit   shows it"
    with pytest.raises(UsageError, match="that is no key of visit"):
        server.type("erase", "visit", "S-1", "first")


CODES = "CREATE TABLE person (code text PRIMARY KEY)"


def test_how_far_a_backfill_was_names_nobody(databases: Databases, pair: Pair, tmp_path: Path) -> None:
    """The primary key of the last row is kept to go on from; it may be a person's own number."""
    ready = prepared(databases, pair, CODES)
    tables = '[[tables]]\nname = "person"\n'
    with Pipeline(ready.source, ready.upstream, tables) as pipeline:
        pipeline.source.script("INSERT INTO person VALUES ('P-1'), ('P-2')")
        here = person(pipeline, tmp_path, tables)
        here.must("backfill")
        last = "SELECT last_key, finished_at IS NOT NULL FROM dbsync.backfill"
        assert pipeline.source.sql(last) == [(None, True)]
        pipeline.source.script("UPDATE dbsync.backfill SET last_key = '{P-2}'; DELETE FROM person WHERE code = 'P-2'")
        here.must("erase", "person", "P-2", "--yes")
        assert pipeline.source.sql(last) == [(None, True)]


NUMBERED = """
CREATE TABLE person (id serial PRIMARY KEY, no int NOT NULL, mark uuid NOT NULL, born date NOT NULL, UNIQUE (no, mark, born));
CREATE TABLE line (id serial PRIMARY KEY, person_id int REFERENCES person, words text)
"""


def test_a_key_may_be_written_in_any_way_that_its_types_read(databases: Databases, pair: Pair, tmp_path: Path) -> None:
    ready = prepared(databases, pair, NUMBERED)
    tables = '[[tables]]\nname = "person"\n[[tables]]\nname = "line"\nkey = "row_id"\n'
    mark = "ABCDEF00-0000-0000-0000-000000000001"
    with Pipeline(ready.source, ready.upstream, tables) as pipeline:
        pipeline.upstream.sql("ALTER TABLE person ADD CHECK (no < 5)")
        pipeline.source.sql("INSERT INTO person (no, mark, born) VALUES (7, %s, '2001-02-03')", (mark,))
        pipeline.source.sql("INSERT INTO line (words) VALUES ('-')")
        row_key = pipeline.source.value("SELECT row_key::text FROM dbsync.row_key")
        pipeline.ship()
        here = person(pipeline, tmp_path, tables)
        here.config.write_text(f'[node]\nname = "community"\nsource = "{pipeline.upstream.dsn}"\n{tables}')
        said = here.type("erase", "person", "007", mark, "2001-2-3", "--json")
        assert named(said.json["stays"]) == [("case", ["7", mark.lower(), "2001-02-03"])]
        here.type("erase", "line", row_key.upper())
