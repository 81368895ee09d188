"""Whatever collides: no row upstream is deleted, overwritten or re-pointed that the source did not name.

Several nodes use the same small ids, the same phone numbers and some of the same names; the upstream is full of rows that
have these ids and phone numbers too. Witnesses that are not dbsync's write down every change of every row, at the sources
and upstream, by names instead of ids; in the end each change that was applied must be one that its source committed.

``DBSYNC_SEED`` replays a run; ``DBSYNC_FAULT_SECONDS`` is about how long each goes on.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any, LiteralString

import pytest
from psycopg import errors

from tests.fault.fleet import Fleet, Session, Ship, fleet
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair

SECONDS = float(os.environ.get("DBSYNC_FAULT_SECONDS", "6"))
STEPS = int(SECONDS * 6)
"""So that a seed says everything."""
NODES = 4
BYSTANDERS = 60
SHARED = [f"shared-{number}" for number in range(6)]
PHONES = [str(number) for number in range(400)]

pytestmark = [pytest.mark.fault, pytest.mark.timeout(240 + 3 * SECONDS), ONE_MIXTURE]

SCHEMA: LiteralString = """
CREATE TABLE subject (
    id serial PRIMARY KEY, name text NOT NULL UNIQUE, phone text UNIQUE, age int,
    mother_id int REFERENCES subject ON DELETE SET NULL, modified timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE visit (
    id serial PRIMARY KEY, subject_id int NOT NULL REFERENCES subject ON DELETE CASCADE,
    code text NOT NULL, note text, modified timestamptz NOT NULL DEFAULT clock_timestamp(), UNIQUE (subject_id, code));
CREATE TABLE called (id int PRIMARY KEY, name text);
CREATE TABLE witness (
    place serial, relation text, was jsonb, becomes jsonb, node text DEFAULT nullif(current_setting('dbsync.node', true), ''));
CREATE FUNCTION note_name() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.called VALUES (NEW.id, NEW.name) ON CONFLICT (id) DO UPDATE SET name = excluded.name;
    RETURN NULL;
END
$$;
CREATE FUNCTION by_name(image jsonb) RETURNS jsonb LANGUAGE sql AS $$
    SELECT image - 'id' - 'subject_id' - 'mother_id' - 'modified' || jsonb_strip_nulls(jsonb_build_object(
        'subject', (SELECT name FROM public.called WHERE id = (image ->> 'subject_id')::int),
        'mother', (SELECT name FROM public.called WHERE id = (image ->> 'mother_id')::int)))
$$;
CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.witness (relation, was, becomes)
    VALUES (TG_TABLE_NAME, CASE WHEN TG_OP <> 'INSERT' THEN public.by_name(to_jsonb(OLD)) END,
            CASE WHEN TG_OP <> 'DELETE' THEN public.by_name(to_jsonb(NEW)) END);
    RETURN NULL;
END
$$;
CREATE TRIGGER a_note_name AFTER INSERT OR UPDATE ON subject FOR EACH ROW EXECUTE FUNCTION note_name();
CREATE TRIGGER b_note_change AFTER INSERT OR UPDATE OR DELETE ON subject FOR EACH ROW EXECUTE FUNCTION note_change();
CREATE TRIGGER b_note_change AFTER INSERT OR UPDATE OR DELETE ON visit FOR EACH ROW EXECUTE FUNCTION note_change();
GRANT ALL ON called, witness, witness_place_seq TO PUBLIC;
"""
TABLES = """
[[tables]]
name = "subject"
on_conflict = "{0}"
newest_by = "modified"
[[tables]]
name = "visit"
on_conflict = "{0}"
newest_by = "modified"
"""
STAND_BY = """
INSERT INTO subject (id, name, phone, age) SELECT g, 'bystander-' || g, (g % 40 + 40 * (g / 41))::text, g FROM generate_series(1, {0}) g;
UPDATE subject SET mother_id = id % {0} + 1;
INSERT INTO visit (id, subject_id, code) SELECT g, g, '1' FROM generate_series(1, {0}) g;
INSERT INTO visit (id, subject_id, code) SELECT {0} + g, g, '2' FROM generate_series(1, {0}) g;
"""
STANDING = """
SELECT to_jsonb(s)::text FROM subject s WHERE name LIKE 'bystander%'
UNION ALL SELECT to_jsonb(v)::text FROM visit v WHERE subject_id <= {0} OR code LIKE 'app%'
ORDER BY 1
"""
OWN_ROWS = {
    "subject": """SELECT s.name, s.phone, s.age, m.name FROM subject s
                  LEFT JOIN subject m ON m.id = s.mother_id AND m.name NOT LIKE 'shared%%' WHERE s.name LIKE %s""",
    "visit": "SELECT s.name, v.code, v.note FROM visit v JOIN subject s ON s.id = v.subject_id WHERE s.name LIKE %s",
}


@pytest.mark.parametrize("rule", ["source", "upstream", "newest", "quarantine"])
def test_no_row_is_harmed_that_the_source_did_not_name(pair: Pair, databases: Databases, rule: str) -> None:
    seed = int(os.environ.get("DBSYNC_SEED") or time.time_ns() % 1_000_000)
    made = fleet(databases, pair, SCHEMA, TABLES.format(rule), NODES)
    made.upstream.sql(STAND_BY.format(BYSTANDERS).encode())
    day = Day(made=made, pick=Random(f"{seed} {rule}"))
    day.pass_by()
    tell(day, rule, seed)
    assert day.standing() == day.stood
    for name, source in made.sources.items():
        hold_that_all_was_named(name, source, made.upstream)
        hold_that_the_rest_arrived(name, source, made.upstream)
    assert day.happened["shipped"] > 0


@dataclass(kw_only=True)
class Day:
    """What happens at the nodes and upstream, one thing after the other, as the seed has it."""

    made: Fleet
    pick: Random
    happened: Counter[str] = field(default_factory=Counter)
    stood: list[tuple[Any, ...]] = field(default_factory=list)
    _ships: list[Ship] = field(default_factory=list)

    def pass_by(self) -> None:
        """Let it all happen, and everything be shipped and tried again in the end."""
        with ExitStack() as stack:
            for name, source in self.made.sources.items():
                ship = Ship(name=name, source=source, upstream=self.made.upstream, policies=self.made.policies)
                self._ships.append(stack.enter_context(ship))
            workers = [Worker(ship.name, stack.enter_context(ship.source.connect()), self.pick) for ship in self._ships]
            self.application = stack.enter_context(self.made.upstream.connect())
            self.stood = self.standing()
            for _ in range(STEPS):
                self.pick.choices(
                    [lambda: self.work(workers), self.ship, self.use, self.release], weights=[60, 25, 10, 5]
                )[0]()
            for ship in self._ships:
                ship.max_changes = 100
                ship.ship()
            for _ in range(3):
                self.release()
            for worker in workers:
                self.happened += worker.happened

    def work(self, workers: list[Worker]) -> None:
        """Let somebody at a node work for a while."""
        worker = self.pick.choice(workers)
        for _ in range(self.pick.randrange(1, 8)):
            worker.work()

    def ship(self) -> None:
        """Ship one node's changes in batches of any size."""
        ship = self.pick.choice(self._ships)
        ship.max_changes = self.pick.choice([1, 3, 10, 50])
        ship.ship()
        self.happened["shipped"] += 1

    def release(self) -> None:
        """Try what waits again."""
        ship = self.pick.choice(self._ships)
        released = ship.applier.release()
        self.happened["released"] += released.released

    def use(self) -> None:
        """Let the application upstream add rows of its own to whatever the nodes brought, and count them as bystanders."""
        self.happened["application"] += 1
        self.application.execute(
            """INSERT INTO visit (subject_id, code) SELECT id, 'app-' || %s FROM subject WHERE name NOT LIKE 'bystander%%'
               ORDER BY name LIMIT 1 OFFSET %s""",
            [self.happened["application"], self.pick.randrange(10)],
        )
        self.stood = self.standing()

    def standing(self) -> list[tuple[Any, ...]]:
        """Give all rows upstream that are no node's, as they are to the last byte."""
        return self.made.upstream.sql(STANDING.format(BYSTANDERS).encode())


@dataclass
class Worker:
    """Somebody at a node, who does what comes to mind; what the node's own constraints refuse is given up."""

    name: str
    session: Session
    pick: Random
    happened: Counter[str] = field(default_factory=Counter)

    def work(self) -> None:
        """Commit one transaction of a few statements."""
        deeds = [self.add] * 4 + [self.edit, self.rename, self.swap, self.bear] * 2 + [self.delete, self.again]
        deeds += [self.visit] * 3 + [self.revisit, self.move, self.cancel]
        with self.session.transaction():
            for deed in self.pick.choices(deeds, k=self.pick.randrange(1, 4)):
                try:
                    with self.session.transaction():
                        deed()
                except (errors.UniqueViolation, errors.NotNullViolation):
                    continue
                self.happened[deed.__name__] += 1

    def _name(self) -> str:
        return self.pick.choice(SHARED) if self.pick.random() < 0.3 else f"{self.name}-{self.pick.randrange(30)}"

    def _two_names(self) -> tuple[str, str]:
        """Give two names, both of this node's own or both shared: what others may change stays apart from what they may not."""
        if self.pick.random() < 0.3:
            return self.pick.choice(SHARED), self.pick.choice(SHARED)
        return f"{self.name}-{self.pick.randrange(30)}", f"{self.name}-{self.pick.randrange(30)}"

    def _do(self, query: LiteralString, *params: object) -> None:
        self.session.execute(query, params)

    def add(self) -> None:
        phone = self.pick.choice([None, None, self.pick.choice(PHONES)])
        self._do(
            "INSERT INTO subject (name, phone, age) VALUES (%s, %s, %s)", self._name(), phone, self.pick.randrange(99)
        )

    def edit(self) -> None:
        self._do("UPDATE subject SET age = %s, modified = clock_timestamp() WHERE name = %s",
                 self.pick.randrange(99), self._name())  # fmt: skip

    def rename(self) -> None:
        becomes, was = self._two_names()
        self._do("UPDATE subject SET name = %s, modified = clock_timestamp() WHERE name = %s", becomes, was)

    def swap(self) -> None:
        one, two = self._two_names()
        for becomes, was in (("nobody", one), (one, two), (two, "nobody")):
            self._do("UPDATE subject SET name = %s WHERE name = %s", becomes, was)

    def bear(self) -> None:
        self._do("UPDATE subject SET mother_id = (SELECT id FROM subject WHERE name = %s) WHERE name = %s",
                 self._name(), self._name())  # fmt: skip

    def delete(self) -> None:
        self._do("DELETE FROM subject WHERE name = %s", self._name())

    def again(self) -> None:
        name = self._name()
        self._do("DELETE FROM subject WHERE name = %s", name)
        self._do("INSERT INTO subject (name, age) VALUES (%s, %s)", name, self.pick.randrange(99))

    def visit(self) -> None:
        self._do("INSERT INTO visit (subject_id, code) VALUES ((SELECT id FROM subject WHERE name = %s), %s)",
                 self._name(), str(self.pick.randrange(4)))  # fmt: skip

    def revisit(self) -> None:
        self._do("UPDATE visit SET note = %s WHERE subject_id = (SELECT id FROM subject WHERE name = %s)",
                 str(self.pick.random()), self._name())  # fmt: skip

    def move(self) -> None:
        self._do(
            """UPDATE visit SET subject_id = (SELECT id FROM subject WHERE name = %s)
               WHERE id = (SELECT max(id) FROM visit WHERE subject_id = (SELECT id FROM subject WHERE name = %s))""",
            *self._two_names(),
        )

    def cancel(self) -> None:
        self._do("DELETE FROM visit WHERE subject_id = (SELECT id FROM subject WHERE name = %s)", self._name())


Row = dict[str, Any]


def key_of(relation: str, row: Row) -> tuple[str, ...]:
    """Give a row's natural key."""
    return (relation, row["name"]) if relation == "subject" else (relation, row.get("subject", ""), row["code"])


def hold_that_all_was_named(node: str, source: Database, upstream: Database) -> None:
    """Hold each change that was applied for a node against what was committed there."""
    committed = source.sql("SELECT relation, was, becomes FROM witness ORDER BY place")
    deleted = {key_of(relation, was) for relation, was, becomes in committed if becomes is None}
    renamed = {
        (key_of(relation, was), key_of(relation, becomes)) for relation, was, becomes in committed if was and becomes
    }
    written = {
        (key_of(relation, becomes), column, becomes.get(column))
        for relation, _, becomes in committed
        if becomes
        for column in _columns(relation)
    }
    there = "SELECT relation, was, becomes FROM witness WHERE node = %s ORDER BY place"
    for relation, was, becomes in upstream.sql(there, [node]):
        said = json.dumps([node, relation, was, becomes])
        if becomes is None:
            assert key_of(relation, was) in deleted, f"deleted a row that nobody deleted: {said}"
            continue
        moved = (key_of(relation, was or becomes), key_of(relation, becomes))
        assert moved[0] == moved[1] or moved in renamed, f"took one row for another: {said}"
        for column in _columns(relation):
            cell = (moved[1], column, becomes.get(column))
            kept = was is not None and was.get(column) == becomes.get(column)
            assert kept or cell in written, f"wrote {column}, which nobody wrote: {said}"


def _columns(relation: str) -> tuple[str, ...]:
    return ("name", "phone", "age", "mother") if relation == "subject" else ("subject", "code", "note")


def hold_that_the_rest_arrived(node: str, source: Database, upstream: Database) -> None:
    """Hold that what nobody else touched is upstream as it is here, unless it waits in quarantine."""
    waiting = upstream.sql("SELECT key, old_key FROM dbsync.quarantine WHERE state = 'waiting'")
    names = {part for keys in waiting for key in keys if key for part in key}
    for table, query in OWN_ROWS.items():
        here, there = (Counter(d.sql(query.encode(), [f"{node}-%"])) for d in (source, upstream))
        differences = (here - there) + (there - here)
        lost = [row for row in differences if not names & {str(value) for value in row} and "app" not in str(row)]
        assert lost == [], (node, table)


def tell(day: Day, rule: str, seed: int) -> None:
    """Print what happened."""
    counts = day.made.upstream.sql("SELECT conflict, count(*) FROM dbsync.conflict GROUP BY 1 ORDER BY 1")
    waiting = day.made.upstream.sql(
        "SELECT conflict, count(*) FROM dbsync.quarantine WHERE state = 'waiting' GROUP BY 1 ORDER BY 1"
    )
    print(
        f"\n{rule}, DBSYNC_SEED={seed}: {dict(sorted(day.happened.items()))}, in the ledger {counts}, waiting {waiting}"
    )
