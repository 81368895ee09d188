"""Many nodes apply to one upstream at once, share some rows, and meet an application that locks what they need.

``DBSYNC_SEED`` replays the choices of a run (the interleaving is the machine's); ``DBSYNC_FAULT_SECONDS`` is how long it
goes on, with fifty nodes.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import LiteralString

import psycopg
import pytest

from dbsync.apply.applier import PATIENCE
from tests.fault.fleet import Fleet, Session, Ship, events, fleet
from tests.support.databases import ONE_MIXTURE, Databases, Pair

LONG = "DBSYNC_FAULT_SECONDS" in os.environ
SECONDS = float(os.environ.get("DBSYNC_FAULT_SECONDS", "12"))
NODES = 50 if LONG else 16
AT_WORK = threading.Semaphore(20)
"""All sources are on one server, and its connections are counted."""
SHARED = [f"shared-{number}" for number in range(8)]

pytestmark = [pytest.mark.fault, pytest.mark.timeout(240 + 6 * SECONDS), ONE_MIXTURE]

SCHEMA: LiteralString = """
CREATE TABLE subject (id serial PRIMARY KEY, name text NOT NULL UNIQUE, sex text, phone text, remark text);
CREATE TABLE visit (
    id serial PRIMARY KEY, subject_id int NOT NULL REFERENCES subject DEFERRABLE INITIALLY DEFERRED,
    code text NOT NULL, note text, UNIQUE (subject_id, code));
"""
TABLES = '[[tables]]\nname = "subject"\n[[tables]]\nname = "visit"\n'
HISTORY: LiteralString = """
CREATE TABLE overwritten (name text, column_name text, was text, became text,
                          node text DEFAULT nullif(current_setting('dbsync.node', true), ''));
CREATE FUNCTION note_overwritten() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.overwritten (name, column_name, was, became)
    SELECT OLD.name, o.key, o.value, n.value
    FROM jsonb_each_text(to_jsonb(OLD)) o JOIN jsonb_each_text(to_jsonb(NEW)) n USING (key)
    WHERE o.value IS DISTINCT FROM n.value;
    RETURN NULL;
END
$$;
CREATE TRIGGER note_overwritten AFTER UPDATE ON subject FOR EACH ROW EXECUTE FUNCTION note_overwritten();
"""
"""What every value upstream was before, told by something that is not dbsync."""
COLUMNS = ("sex", "phone", "remark")
OWN_ROWS = {
    "subject": "SELECT name, sex, phone, remark FROM subject WHERE name LIKE %s",
    "visit": """SELECT s.name, v.code, v.note FROM visit v JOIN subject s ON s.id = v.subject_id WHERE v.code LIKE %s""",
}
UNEXPLAINED = """
SELECT o.name, o.column_name, o.was, o.became, o.node FROM overwritten o
WHERE o.node IS NOT NULL AND o.was IS NOT NULL AND o.was NOT LIKE o.node || ':%'
  AND NOT EXISTS (
    SELECT FROM dbsync.conflict c
    WHERE c.node = o.node AND c.key = ARRAY[o.name] AND o.column_name = ANY (c.columns)
      AND c.upstream_image ->> o.column_name = o.was AND c.source_image ->> o.column_name IS NOT DISTINCT FROM o.became)
"""
"""A node overwrote what it did not write itself, and the ledger knows nothing of it."""


def test_many_nodes_at_once_end_equal_and_none_starves(pair: Pair, databases: Databases) -> None:
    seed = int(os.environ.get("DBSYNC_SEED") or time.time_ns() % 1_000_000)
    made = fleet(databases, pair, SCHEMA, TABLES, NODES)
    made.upstream.script(HISTORY)
    with events() as said, Application(fleet=made, seed=seed).at_work() as application:
        ships = _all_at_once(made, seed)
    spread = sorted(ship.happened["batches"] for ship in ships)
    print(
        f"\nDBSYNC_SEED={seed}: {NODES} nodes, batches a node {spread[0]} to {spread[-1]},"
        f" held {sum(ship.happened['held'] for ship in ships)}, cut {sum(ship.happened['cut'] for ship in ships)},"
        f" tried again {said['batch_tried_again']}, application {dict(application.happened)},"
        f" conflicts {made.upstream.value('SELECT count(*) FROM dbsync.conflict')}"
    )
    assert application.happened["committed"] > 0
    retries = made.upstream.value("SELECT sum(retries) FROM dbsync.receipt")
    given_up = PATIENCE * sum(ship.happened["cut"] for ship in ships)
    assert retries <= said["batch_tried_again"] <= retries + given_up
    assert spread[0] > 0
    _hold_that_they_end_equal(made, ships)


def _all_at_once(made: Fleet, seed: int) -> list[Ship]:
    begin = threading.Barrier(NODES)
    with ThreadPoolExecutor(NODES) as pool:
        done = [pool.submit(_work_and_ship, made, name, Random(f"{seed} {name}"), begin) for name in made.sources]
        return [each.result() for each in done]


def _work_and_ship(made: Fleet, name: str, pick: Random, begin: threading.Barrier) -> Ship:
    """Work at a node and ship it, in turns; in the end everything is shipped."""
    ship = Ship(name=name, source=made.sources[name], upstream=made.upstream, policies=made.policies)
    with ship:
        clinician = Clinician(name=name, pick=pick)
        begin.wait(60)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            with AT_WORK, ship.source.connect() as clinician.session:
                for _ in range(pick.randrange(1, 12)):
                    clinician.work()
            ship.ship()
        ship.ship()
    return ship


def _hold_that_they_end_equal(made: Fleet, ships: list[Ship]) -> None:
    assert made.upstream.sql("SELECT relation, key, conflict, reason FROM dbsync.quarantine") == []
    for name, source in made.sources.items():
        for table, query in OWN_ROWS.items():
            here, there = (sorted(d.sql(query.encode(), [f"{name}-%"]), key=str) for d in (source, made.upstream))
            assert here == there, (name, table)
    last: dict[tuple[str, str], set[object]] = {}
    for source in made.sources.values():
        for key, *values in source.sql("SELECT name, sex, phone, remark FROM subject WHERE name LIKE 'shared-%'"):
            for column, value in zip(COLUMNS, values, strict=True):
                last.setdefault((key, column), set()).add(value)
    shared = made.upstream.sql("SELECT name, sex, phone, remark FROM subject WHERE name LIKE 'shared-%' ORDER BY name")
    assert [row[0] for row in shared] == sorted({key for key, _ in last})
    for key, *values in shared:
        for column, value in zip(COLUMNS, values, strict=True):
            assert value in last[key, column] or str(value).startswith("app:"), (key, column, value)
    assert made.upstream.sql(UNEXPLAINED) == []


@dataclass(kw_only=True)
class Clinician:
    """Who works at one node: rows of their own, and rows that others have too. Every value says who wrote it."""

    name: str
    pick: Random
    session: Session = field(init=False)
    written: int = 0

    def work(self) -> None:
        """Commit one transaction."""
        deeds = (self._add, self._edit_own, self._edit_shared, self._edit_shared, self._visit)
        with self.session.transaction():
            for _ in range(self.pick.randrange(1, 4)):
                self.pick.choice(deeds)()

    def _value(self) -> str:
        self.written += 1
        return f"{self.name}:{self.written}"

    def _add(self) -> None:
        value = self._value()
        self.session.execute("INSERT INTO subject (name, sex) VALUES (%s, %s)", [value.replace(":", "-"), value])

    def _edit_own(self) -> None:
        self.session.execute(
            "UPDATE subject SET phone = %s WHERE id = (SELECT max(id) FROM subject WHERE name LIKE %s)",
            [self._value(), f"{self.name}-%"],
        )

    def _edit_shared(self) -> None:
        column = self.pick.choice(COLUMNS)
        query = f"""INSERT INTO subject (name, {column}) VALUES (%s, %s)
                    ON CONFLICT (name) DO UPDATE SET {column} = excluded.{column}"""
        self.session.execute(query.encode(), [self.pick.choice(SHARED), self._value()])

    def _visit(self) -> None:
        value = self._value()
        self.session.execute(
            "INSERT INTO visit (subject_id, code, note) SELECT id, %s, %s FROM subject ORDER BY name DESC LIMIT 1",
            [value.replace(":", "-"), value],
        )


@dataclass(kw_only=True)
class Application:
    """What works at the upstream all the time: changes what nodes change, in the other order, and locks the table."""

    fleet: Fleet
    seed: int
    stop: threading.Event = field(default_factory=threading.Event)
    happened: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def at_work(self) -> Iterator[Application]:
        """Work with three sessions while inside."""
        with ThreadPoolExecutor(3) as pool:
            done = [pool.submit(self._work, Random(f"{self.seed} application {i}")) for i in range(3)]
            try:
                yield self
            finally:
                self.stop.set()
            for each in done:
                each.result()

    def _work(self, pick: Random) -> None:
        with self.fleet.upstream.connect() as session:
            while not self.stop.is_set():
                try:
                    with session.transaction():
                        pick.choice((self._against_the_order, self._against_the_order, self._hold, self._lock))(
                            session, pick
                        )
                    self.happened["committed"] += 1
                except psycopg.errors.DeadlockDetected:
                    self.happened["deadlocks"] += 1

    def _against_the_order(self, session: Session, pick: Random) -> None:
        """Change several rows one after the other: whoever takes them in another order may be in a deadlock with this."""
        for name in pick.sample(SHARED, 3):
            self._change(session, pick, name)
            time.sleep(0.01)

    def _hold(self, session: Session, pick: Random) -> None:
        self._change(session, pick, SHARED[0])
        time.sleep(pick.uniform(0, 0.1))

    def _lock(self, session: Session, pick: Random) -> None:
        table, mode = (
            pick.choice(["subject", "visit"]),
            pick.choice(["SHARE", "SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"]),
        )
        session.execute(f"LOCK TABLE {table} IN {mode} MODE".encode())
        time.sleep(pick.uniform(0, 0.05))

    def _change(self, session: Session, pick: Random, name: str) -> None:
        self.happened["changed"] += 1
        query = f"UPDATE subject SET {pick.choice(COLUMNS)} = %s WHERE name = %s"
        session.execute(query.encode(), [f"app:{pick.random()}", name])
