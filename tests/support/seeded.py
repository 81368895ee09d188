"""A community server as it is after a few days, and a laptop that ships to it: for whoever looks at pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import LiteralString
from uuid import uuid4

from dbsync import __version__, schema
from dbsync.apply.greetings import keep as greet
from dbsync.apply.lists import keep
from dbsync.identity.keys import Keys
from dbsync.identity.lists import CheckedList, write_list
from dbsync.identity.registry import Role
from dbsync.model.greeting import Greeting
from tests.support.databases import Database, Databases, Pair
from tests.support.pipeline import Pipeline, piped
from tests.support.served import admit

SCHEMA: LiteralString = """
CREATE TABLE clinic_subject (id serial PRIMARY KEY, subject_identifier text NOT NULL UNIQUE, initials text, age int);
CREATE TABLE clinic_visit (id serial PRIMARY KEY, subject_id int NOT NULL REFERENCES clinic_subject DEFERRABLE INITIALLY DEFERRED,
    visit_code text NOT NULL, note text, UNIQUE (subject_id, visit_code));
CREATE TABLE clinic_requisition (id serial PRIMARY KEY, requisition_identifier text NOT NULL UNIQUE,
    visit_id int NOT NULL REFERENCES clinic_visit DEFERRABLE INITIALLY DEFERRED, panel text);
CREATE TABLE django_session (session_key text PRIMARY KEY, session_data text);
"""
TABLES = """
[[tables]]
name = "clinic_*"

[[tables]]
name = "clinic_subject"
on_conflict = "upstream"
"""
SECRET = "hush-hush"
"""Stands in values, and nowhere else."""
NODES = ("field-01", "field-02", "field-03", "field-04", "field-05")
HISTORY = """
INSERT INTO dbsync.receipt (node, incarnation, lineage, link, number, hash, changes, first_captured, last_captured, applied_at)
SELECT n.node, md5(n.node)::uuid, md5(n.node)::uuid, 'community', i.number, sha256((n.node || i.number)::bytea),
       5 + (i.number * 37 + n.place * 11) %% 90,
       i.at - make_interval(secs => 0.4 + (i.number %% 7) * n.place * n.place * 31), i.at, i.at
FROM unnest(%s::text[]) WITH ORDINALITY n (node, place)
CROSS JOIN LATERAL (
    SELECT number, now() - make_interval(mins => (60 - number)::int * 23 + n.place::int * 7) AS at
    FROM generate_series(1, 59) number WHERE (number + n.place) %% (n.place + 1) <> 0
) i
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeded:
    """The two databases, and the folders of those who look at them."""

    laptop: Database
    server: Database
    line: Pipeline

    def write(self, folder: Path, web: str = "") -> None:
        """Write the server's dbsync.toml."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "dbsync.toml").write_text(
            f'[node]\nname = "community"\nsource = "{self.server.dsn}"\n{TABLES}\n[web]\n{web}\n'
        )

    def write_laptop(self, folder: Path, web: str = "") -> None:
        """Write the laptop's."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "dbsync.toml").write_text(
            f'[node]\nname = "field-07"\nsource = "{self.laptop.dsn}"\n'
            f'[upstream]\nurl = "{self.server.dsn}"\nname = "community"\n{TABLES}\n[web]\n{web}\n'
        )


@contextmanager
def seeded(databases: Databases, pair: Pair, *, value: str = SECRET) -> Iterator[Seeded]:
    """Let a laptop ship what fits, what does not, and what somebody else had changed; then let it lose its line."""
    with piped(databases, pair, SCHEMA, TABLES, node="field-07") as line:
        found = Seeded(laptop=line.source, server=line.upstream, line=line)
        _work(line, value)
        _hand_over(line.source)
        _nodes(line.upstream)
        yield found


def _work(line: Pipeline, value: str) -> None:
    source, upstream = line.source, line.upstream
    source.script("""
        INSERT INTO clinic_subject (subject_identifier, initials, age)
        SELECT format('092-40990%s-%s', 100 + n, n % 9), 'AB', 20 + n FROM generate_series(1, 40) n;
        INSERT INTO clinic_visit (subject_id, visit_code) SELECT id, '1000' FROM clinic_subject;
        INSERT INTO clinic_requisition (requisition_identifier, visit_id, panel)
        SELECT format('REQ%s', 7000 + id), id, 'cd4' FROM clinic_visit
    """)
    line.ship()
    upstream.sql("UPDATE clinic_subject SET initials = 'XX' WHERE age % 13 = 0")
    source.sql("UPDATE clinic_subject SET initials = %s WHERE age %% 13 = 0", [value])
    line.ship()
    upstream.script("""
        ALTER TABLE clinic_subject ADD CONSTRAINT grown_up CHECK (age > 17);
        DELETE FROM clinic_requisition WHERE visit_id IN (SELECT id FROM clinic_visit WHERE subject_id IN (
            SELECT id FROM clinic_subject WHERE subject_identifier LIKE '%140-4'));
        DELETE FROM clinic_visit WHERE subject_id IN (SELECT id FROM clinic_subject WHERE subject_identifier LIKE '%140-4')
    """)
    source.sql(
        "INSERT INTO clinic_subject (subject_identifier, initials, age) VALUES ('092-40990141-5', %s, 7)", [SECRET]
    )
    source.script("""
        INSERT INTO clinic_visit (subject_id, visit_code, note) SELECT max(id), '1000', 'enrolled by her mother' FROM clinic_subject;
        UPDATE clinic_visit SET note = 'seen twice' WHERE subject_id = (SELECT max(id) FROM clinic_subject);
        INSERT INTO clinic_requisition (requisition_identifier, visit_id, panel)
        SELECT 'REQ7900', id, 'viral load' FROM clinic_visit WHERE subject_id = (
            SELECT id FROM clinic_subject WHERE subject_identifier LIKE '%140-4')
    """)
    line.ship()
    with source.connect() as connection:
        connection.execute(
            "UPDATE dbsync.link SET state = 'unreachable', reason = 'connection timeout expired', clock_off = 0.3"
        )
    source.script("""
        INSERT INTO clinic_visit (subject_id, visit_code) SELECT id, '1010' FROM clinic_subject WHERE id % 2 = 0;
        UPDATE clinic_subject SET age = age + 1 WHERE id % 3 = 0
    """)


def _hand_over(laptop: Database) -> None:
    """Let a driver have what is pending."""
    laptop.script("""
        INSERT INTO dbsync.sent (link, incarnation, number, window_end, after_seq, last_seq, transactions, changes, counts, hash,
                                 sent_at, first_captured, last_captured)
        SELECT 'community', n.incarnation, 4, pg_current_snapshot(), 0, 0, 2, 20, '[]', '\\x04', now() - interval '2 hours',
               now() - interval '3 hours', now() - interval '2 hours' FROM dbsync.node n;
        INSERT INTO dbsync.custody (link, incarnation, number, relay, at, note, signature)
        SELECT 'community', n.incarnation, 4, 'driver', now() - interval '2 hours', '', '' FROM dbsync.node n
    """)


def _nodes(server: Database) -> None:
    server.sql(HISTORY, [list(NODES)])
    greetings = zip((*NODES, "field-07"), (0, 0, 3, 0, 41, 33), (0.02, -0.3, 0.1, -94.0, 0.0, 0.3), strict=True)
    with server.connect() as connection:
        for name, pending, off in greetings:
            program, revision = ("0.0.9", "0011") if name == "field-02" else (__version__, schema.head())
            said = Greeting(program=program, schema=revision, clock_off=off, pending=pending, exact=True, oldest=None)
            greet(connection, name, said)
    for name in (*NODES, "field-07"):
        admit(server, name, Keys.generate())
    admit(server, "driver", Keys.generate(), role=Role.RELAY)
    server.sql("UPDATE dbsync.peer SET seen_at = now() - interval '4 minutes'")
    server.sql(
        "UPDATE dbsync.peer SET revoked_at = now(), revoked_why = 'the laptop was stolen' WHERE name = 'field-05'"
    )
    at = datetime.now(UTC) - timedelta(hours=3)
    result = CheckedList(
        id=uuid4(), by="field-01", checked_by="Naledi", table="clinic_requisition", column="requisition_identifier", at=at,
        both=tuple(f"REQ{number}" for number in range(7001, 7019)), missing_from_data=("REQ7777",),
        missing_from_box=("REQ7020", "REQ7021"),
    )  # fmt: skip
    with server.connect() as connection:
        keep(connection, write_list(result, Keys.generate()), own=False)
