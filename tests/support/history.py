"""Random histories of the small clinic: every kind of statement, in transactions that overlap, give way and change their mind."""

from __future__ import annotations

import random
from contextlib import ExitStack
from typing import Any

import psycopg

from tests.support.databases import Database

Session = psycopg.Connection[tuple[Any, ...]]

SEEDS = """
INSERT INTO site (code) SELECT 'c' || g FROM generate_series(1, 3) g;
INSERT INTO subject (identifier, site_id) SELECT 's' || g, (SELECT min(id) FROM site) FROM generate_series(1, 4) g;
INSERT INTO person (name) SELECT 'p' || g FROM generate_series(1, 3) g;
INSERT INTO shelf (place, label) SELECT g, 'shelf' FROM generate_series(1, 4) g;
INSERT INTO country (code) VALUES ('bw'), ('za');
"""
STATEMENTS = (
    "INSERT INTO site (code, name) VALUES ('c{n}', 'new')",
    "UPDATE site SET name = '{x}' WHERE code = 'c{n}'",
    "UPDATE site SET code = 'c{m}' WHERE code = 'c{n}'",
    "DELETE FROM site WHERE code = 'c{n}'",
    "INSERT INTO subject (identifier, age, site_id) VALUES ('s{n}', {x}, (SELECT id FROM site WHERE code = 'c{m}'))",
    "UPDATE subject SET age = {x} WHERE identifier = 's{n}'",
    "UPDATE subject SET age = {x}, initials = 'x{x}' WHERE identifier IN ('s{n}', 's{m}')",
    "UPDATE subject SET initials = '{x}'",
    "UPDATE subject SET site_id = (SELECT id FROM site WHERE code = 'c{m}') WHERE identifier = 's{n}'",
    "UPDATE subject SET identifier = 's{m}' WHERE identifier = 's{n}'",
    "UPDATE subject SET id = id + 1000 WHERE identifier = 's{n}' AND NOT EXISTS (SELECT FROM visit WHERE subject_id = id)",
    "DELETE FROM subject WHERE identifier = 's{n}'",
    "INSERT INTO visit (subject_id, code) SELECT id, '{m}' FROM subject WHERE identifier = 's{n}'",
    "UPDATE visit SET note = '{x}' WHERE code = '{m}'",
    "UPDATE visit SET code = '{n}' WHERE code = '{m}'",
    "UPDATE visit SET subject_id = (SELECT id FROM subject WHERE identifier = 's{n}') WHERE code = '{m}'",
    "DELETE FROM visit WHERE code = '{n}'",
    "INSERT INTO crf (visit_id, answer) SELECT v.id, '{x}' FROM visit v WHERE v.code = '{n}'",
    "UPDATE crf SET answer = '{x}'",
    "UPDATE crf SET visit_id = (SELECT max(id) FROM visit) WHERE answer < '5'",
    "DELETE FROM crf WHERE answer > '7'",
    "INSERT INTO person (name, mother_id) SELECT 'p{n}', (SELECT id FROM person WHERE name = 'p{m}')",
    "UPDATE person SET mother_id = (SELECT id FROM person WHERE name = 'p{m}') WHERE name = 'p{n}'",
    "DELETE FROM person WHERE name = 'p{n}'",
    "INSERT INTO team (name) VALUES ('t{n}')",
    "INSERT INTO member (name, team_id) SELECT 'm{n}', id FROM team WHERE name = 't{m}'",
    "UPDATE team SET leader_id = (SELECT id FROM member WHERE name = 'm{m}') WHERE name = 't{n}'",
    "DELETE FROM team WHERE name = 't{n}'",
    "INSERT INTO note (text, subject_id) SELECT '{x}', id FROM subject WHERE identifier = 's{n}'",
    "UPDATE note SET text = '{x}' WHERE id % 3 = {n} % 3",
    "UPDATE note SET answers_id = (SELECT min(id) FROM note) WHERE text = '{x}'",
    "DELETE FROM note WHERE text = '{x}'",
    "INSERT INTO remark (note_id, line, text) SELECT max(id), {n}, '{x}' FROM note HAVING max(id) IS NOT NULL",
    "UPDATE remark SET text = '{x}'",
    "DELETE FROM remark WHERE line = {n}",
    "INSERT INTO town (name, country) VALUES ('w{n}', 'bw')",
    "UPDATE town SET name = 'w{m}' WHERE name = 'w{n}'",
    "UPDATE country SET code = 'b{n}' WHERE code LIKE 'b%'",
    "UPDATE country SET name = '{x}'",
    "UPDATE shelf SET place = 5 - place",
    "UPDATE shelf SET label = '{x}' WHERE place = {n}",
    "INSERT INTO specimen (kind, barcode, volume) VALUES ('blood', 'b{n}', {x})",
    "UPDATE specimen SET volume = {x} WHERE barcode = 'b{n}'",
    "UPDATE specimen SET kind = 'urine' WHERE barcode = 'b{n}'",
    "DELETE FROM specimen WHERE barcode = 'b{n}'",
)


def write_history(database: Database, seed: int, statements: int) -> None:
    """Run about so many random statements, in up to three transactions at once; what cannot be done is rolled back."""
    pick = random.Random(seed)
    with ExitStack() as stack:
        sessions = [stack.enter_context(database.connect()) for _ in range(3)]
        for session in sessions:
            session.execute("SET lock_timeout = '20ms'")
            session.execute("SET deadlock_timeout = '10ms'")
        for _ in range(statements):
            _step(pick.choice(sessions), pick)
        for session in sessions:
            _end(session, commit=True)


def _step(session: Session, pick: random.Random) -> None:
    if session.info.transaction_status == psycopg.pq.TransactionStatus.IDLE and pick.random() < 0.6:
        session.execute("BEGIN")
    template = pick.choice(STATEMENTS)
    try:
        session.execute(template.format(n=pick.randint(1, 6), m=pick.randint(1, 6), x=pick.randint(0, 9)).encode())
    except psycopg.Error:
        _end(session, commit=False)
    if pick.random() < 0.35:
        _end(session, commit=pick.random() < 0.9)


def _end(session: Session, *, commit: bool) -> None:
    if session.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        try:
            session.execute("COMMIT" if commit else "ROLLBACK")
        except psycopg.Error:
            session.execute("ROLLBACK")
