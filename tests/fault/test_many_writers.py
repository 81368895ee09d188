"""Fifty nodes apply to one upstream at once, share some rows, and meet an application that locks what they need.

``DBSYNC_SEED`` replays the choices of a run (the interleaving is the machine's); ``DBSYNC_FAULT_SECONDS`` is how long it
goes on.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import errors

from tests.fault.fleet import Fleet, Session, Ship, events, fleet
from tests.support.databases import ONE_MIXTURE, Databases, Pair

SECONDS = float(os.environ.get("DBSYNC_FAULT_SECONDS", "45")) / 3
NODES = 50 if "DBSYNC_FAULT_SECONDS" in os.environ else 24
SHARED = [f"shared-{number}" for number in range(6)]

pytestmark = [pytest.mark.fault, pytest.mark.timeout(240 + 6 * SECONDS), ONE_MIXTURE]

SCHEMA: LiteralString = """
CREATE TABLE subject (
    id serial PRIMARY KEY, name text NOT NULL UNIQUE, sex text, phone text, remark text);
CREATE TABLE visit (
    id serial PRIMARY KEY, subject_id int NOT NULL REFERENCES subject DEFERRABLE INITIALLY DEFERRED,
    code text NOT NULL, note text, UNIQUE (subject_id, code));
"""
TABLES = '[[tables]]\nname = "*"\n'
HISTORY: LiteralString = """
CREATE TABLE overwritten (
    at timestamptz DEFAULT clock_timestamp(), name text, op text, column_name text, was text, became text,
    node text DEFAULT nullif(current_setting('dbsync.node', true), ''));
CREATE FUNCTION note_overwritten() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.overwritten (name, op, column_name, was, became)
    SELECT OLD.name, TG_OP, o.key, o.value, n.value
    FROM jsonb_each_text(to_jsonb(OLD)) o JOIN jsonb_each_text(to_jsonb(NEW)) n USING (key)
    WHERE o.value IS DISTINCT FROM n.value;
    RETURN NULL;
END
$$;
CREATE TRIGGER note_overwritten AFTER UPDATE ON subject FOR EACH ROW EXECUTE FUNCTION note_overwritten();
"""
"""What every value upstream was before, told by something that is not dbsync."""
COLUMNS = ("sex", "phone", "remark")


@dataclass(kw_only=True)
class Clinician:
    """Who works at one node: rows of their own, and rows that others have too. Every value says who wrote it."""

    name: str
    session: Session
    pick: Random
    written: int = 0

    def work(self) -> None:
        """Commit one transaction."""
        with self.session.transaction():
            for _ in range(self.pick.randrange(1, 4)):
                self.pick.choice((self._add, self._edit_own, self._edit_shared, self._edit_shared, self._visit))()

    def _value(self) -> str:
        self.written += 1
        return f"{self.name}:{self.written}"

    def _add(self) -> None:
        self.session.execute("INSERT INTO subject (name, sex) VALUES (%s, %s)", [f"{self.name}-{self.written}", self._value()])

    def _edit_own(self) -> None:
        self.session.execute(
            "UPDATE subject SET phone = %s WHERE id = (SELECT id FROM subject WHERE name LIKE %s ORDER BY random() LIMIT 1)",
            [self._value(), f"{self.name}-%"],
        )

    def _edit_shared(self) -> None:
        column = self.pick.choice(COLUMNS)
        self.session.execute(
            f"INSERT INTO subject (name, {column}) VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET {column} = excluded.{column}"
            .encode(),
            [self.pick.choice(SHARED), self._value()],
        )

    def _visit(self) -> None:
        self.session.execute(
            "INSERT INTO visit (subject_id, code, note) SELECT id, %s, %s FROM subject ORDER BY random() LIMIT 1",
            [f"{self.name}-{self.written}", self._value()],
        )


@dataclass(kw_only=True)
class Application:
    """What works at the upstream all the time: holds rows, takes locks in the other order, changes what nodes change."""

    fleet: Fleet
    seed: int
    stop: threading.Event = field(default_factory=threading.Event)
    happened: Counter[str] = field(default_factory=Counter)

    @contextmanager_of_threads
    def at_work(self) -> Iterator[None]:
        yield
