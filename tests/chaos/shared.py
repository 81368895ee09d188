"""Rows that everybody changes: every value says who wrote it, and no value of another may be overwritten in silence."""

from __future__ import annotations

import threading
from collections import Counter
from random import Random
from typing import LiteralString

import psycopg
from psycopg import errors

from tests.support.databases import Database

NAMES = [f"row {number}" for number in range(8)]
COLUMNS = ("red", "green", "blue")
SCHEMA: LiteralString = """
CREATE TABLE shared (id serial PRIMARY KEY, name text NOT NULL UNIQUE, red text, green text, blue text);
INSERT INTO shared (name, red, green, blue)
SELECT 'row ' || g, 'seed:0', 'seed:0', 'seed:0' FROM generate_series(0, 7) g;
"""
HISTORY: LiteralString = """
CREATE TABLE overwritten (
    name text, column_name text, was text, became text, node text DEFAULT nullif(current_setting('dbsync.node', true), ''));
CREATE FUNCTION note_overwritten() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.overwritten (name, column_name, was, became)
    SELECT OLD.name, o.key, o.value, n.value
    FROM jsonb_each_text(to_jsonb(OLD)) o JOIN jsonb_each_text(to_jsonb(NEW)) n USING (key)
    WHERE o.value IS DISTINCT FROM n.value;
    RETURN NULL;
END
$$;
CREATE TRIGGER note_overwritten AFTER UPDATE ON shared FOR EACH ROW EXECUTE FUNCTION note_overwritten();
"""
"""What every value upstream was before, told by something that is not dbsync."""
IN_SILENCE: LiteralString = """
SELECT o.name, o.column_name, o.was, o.became FROM overwritten o
WHERE o.node IS NOT NULL AND split_part(o.was, ':', 1) NOT IN ('seed', split_part(o.became, ':', 1))
  AND NOT EXISTS (SELECT FROM dbsync.conflict c
                  WHERE c.relation = 'public.shared' AND c.key[1] = o.name AND c.upstream_image ->> o.column_name = o.was
                    AND c.source_image ->> o.column_name = o.became)
"""


class Quarrel:
    """Somebody who changes shared rows in a thread of their own, two at a time and in any order, and locks them meanwhile."""

    def __init__(self, who: str, database: Database, pick: Random, *, pause: float, locks: bool = False) -> None:
        self.done: Counter[str] = Counter()
        self.trouble: list[BaseException] = []
        self._who = who
        self._database = database
        self._pick = pick
        self._pause = pause
        self._locks = locks
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Quarrel:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._database.connect() as session:
                    session.execute("SET synchronous_commit = on")
                    session.execute("SET lock_timeout = '3s'")
                    while not self._stop.wait(self._pick.random() * self._pause):
                        self._quarrel(session)
            except psycopg.OperationalError:
                self._stop.wait(0.2)
            except BaseException as error:
                self.trouble.append(error)
                raise

    def _quarrel(self, session: psycopg.Connection) -> None:
        try:
            with session.transaction():
                if self._locks and self._pick.random() < 0.05:
                    session.execute("LOCK TABLE sample IN SHARE ROW EXCLUSIVE MODE")
                    self.done["tables locked"] += 1
                for name in self._pick.sample(NAMES, 2):
                    self.done["values"] += 1
                    column = self._pick.choice(COLUMNS)
                    session.execute(
                        f"UPDATE shared SET {column} = %s WHERE name = %s".encode(),
                        [f"{self._who}:{self.done['values']}", name],
                    )
                    self._stop.wait(self._pick.random() * 0.1)
        except (errors.DeadlockDetected, errors.LockNotAvailable):
            self.done["gave way"] += 1


def say_all_anew(database: Database, who: str) -> None:
    """Change every value; whoever is in the way goes first."""
    for name in NAMES:
        while True:
            try:
                database.sql(
                    "UPDATE shared SET red = who || red, green = who || green, blue = who || blue"
                    " FROM (SELECT %s AS who) w WHERE name = %s",
                    [f"{who}:again ", name],
                )
            except errors.DeadlockDetected:
                continue
            break
