"""A made-up story: transactions of made-up statements, and what dbsync does between them.

Ids are given by the story itself, so that a part of it can be told alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from tests.fuzz.events import (
    TIDY,
    WHENS,
    Allow,
    Backfill,
    Compact,
    Event,
    Meanwhile,
    MeanwhileEnds,
    Refuse,
    Restart,
    Session,
    Ship,
    Transaction,
    attempt,
    begin,
    end,
    is_open,
)
from tests.fuzz.schema import POINTS, Column, Pointer, Reference, Schema, Table


@dataclass(kw_only=True)
class Teller:
    """Makes a story up while it happens: statements are about rows that are there."""

    schema: Schema
    pick: Random
    session: Session
    beside: Session | None = None
    """Another one, whose transactions are open while others begin and end."""
    whens: Sequence[str] = WHENS
    refusing: float = 0.0
    laptop: int = 0
    laptops: int = 1
    """Each has keys of its own."""
    _seen: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """The ids that rows of each table had."""
    _numbers: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _first: Schema = field(init=False)
    """The schema before all migrations."""

    def __post_init__(self) -> None:
        self._first = self.schema

    def tell(self) -> Iterator[Event]:
        """Make a transaction up and what happens around it; each event must have happened before the next is asked for.

        What the statements do is done here.
        """
        yield self._transaction()
        yield from self._meanwhile()
        chance = self.pick.random()
        if chance < 0.25:
            size, only_one = self.pick.choice([1, 3, 10, 20_000]), self.pick.random() < 0.3
            yield Ship(size, only_one=only_one, laptop=self.laptop)
        elif chance < 0.28:
            yield Restart()
        elif chance < 0.34:
            yield Compact(laptop=self.laptop)
        elif chance < 0.37:
            yield Backfill(laptop=self.laptop)
        elif chance < 0.37 + self.refusing:
            yield self._refuse()
        elif chance < 0.37 + 1.5 * self.refusing:
            yield Allow()

    def _meanwhile(self) -> Iterator[Event]:
        if self.beside is None:
            return
        if self.pick.random() < 0.5:
            with self._speaking(self.beside) as session:
                begin(session, TIDY[0])
                statement = self._statement()
            if statement is not None and attempt(session, statement):
                yield Meanwhile(statement, laptop=self.laptop)
        if is_open(self.beside) and self.pick.random() < 0.3:
            ends = self.pick.choice(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"])
            yield MeanwhileEnds(ends if end(self.beside, ends) else "ROLLBACK", laptop=self.laptop)

    @contextmanager
    def _speaking(self, session: Session) -> Iterator[Session]:
        """Let another session speak, which sees what it has written itself."""
        usual, self.session = self.session, session
        try:
            yield session
        finally:
            self.session = usual

    def _refuse(self) -> Refuse:
        table = self.pick.choice(self._first.tables)
        column = self.pick.choice([c for c in (*table.key, *table.columns) if isinstance(c, Column)] or [None])
        if column is None:
            return Refuse(table.name, "id", "'0'")
        return Refuse(table.name, column.name, f"({self.pick.choice(column.pool)})::{column.type}")

    def _transaction(self) -> Transaction:
        told: list[str] = []
        self.session.execute("BEGIN")
        when = self.pick.choice(self.whens)
        if when:
            told.append(when)
            self.session.execute(when.encode())
        for _ in range(self.pick.choice([1, 1, 2, 3, 5, 8])):
            statement = self._statement()
            if statement is not None and attempt(self.session, statement):
                told.append(statement)
        ends = "ROLLBACK" if self.pick.random() < 0.07 else "COMMIT"
        return Transaction(told, ends if end(self.session, ends) else "ROLLBACK", laptop=self.laptop)

    def _statement(self) -> str | None:
        table = self.pick.choice(self.schema.tables)
        ways: list[tuple[int, Callable[[Table], str | None]]] = [
            (30, self._insert),
            (6, self._upsert),
            (20, self._update),
            (10, self._rename),
            (6, self._exchange),
            (6, self._give_key),
            (6, self._delete),
            (6, self._delete_below),
            (3, self._again),
            (3, self._merge),
            (1, self._truncate),
            (3, self._new_id),
        ]
        (way,) = self.pick.choices([w for _, w in ways], [n for n, _ in ways])
        return way(table)

    # Statements.

    def _insert(self, table: Table, ending: str = "") -> str | None:
        rows = []
        for _ in range(self.pick.choice([1, 1, 2, 4])):
            row = self._row(table)
            if row is None:
                return None
            rows.append(f"({', '.join(row)})")
        return f"INSERT INTO {table.name} ({self._names(table)}) VALUES {', '.join(rows)}{ending}"

    def _upsert(self, table: Table) -> str | None:
        if table.by_row_id:
            return None
        key = ", ".join(part.name for part in table.key)
        others = [column.name for column in table.others]
        then = "NOTHING"
        if others:
            then = "UPDATE SET " + ", ".join(f"{name} = excluded.{name}" for name in others)
        return self._insert(table, f" ON CONFLICT ({key}) DO {then}")

    def _update(self, table: Table) -> str | None:
        chosen = self.pick.sample(table.others, min(len(table.others), self.pick.choice([1, 1, 2])))
        if table.pointer and any(column.name in POINTS for column in chosen):
            chosen = [*(column for column in chosen if column.name not in POINTS), *table.pointer.columns]
        return self._set(table, chosen)

    def _delete_below(self, table: Table) -> str | None:
        """Delete rows with all that refer to them, as an application does that follows references itself."""
        ids = self._some(table)
        return "; ".join(self._deletes(table, f"id IN ({', '.join(ids)})", {table.name})) if ids else None

    def _deletes(self, table: Table, condition: str, seen: set[str]) -> list[str]:
        told: list[str] = []
        for other in self.schema.tables:
            for column in other.held:
                if column.target == table.name and other.name not in seen:
                    within = f"{column.name} IN (SELECT {column.to} FROM {table.name} WHERE {condition})"
                    told += self._deletes(other, within, seen | {other.name})
        return [*told, f"DELETE FROM {table.name} WHERE {condition}"]

    def _rename(self, table: Table) -> str | None:
        return self._new_id(table) if table.is_known_by_id else self._set(table, [self.pick.choice(table.key)])

    def _set(self, table: Table, columns: Sequence[Column | Reference]) -> str | None:
        values = list(zip((column.name for column in columns), self._values(table, columns), strict=True))
        ids = self._some(table)
        if not values or not ids or any(value is None for _, value in values):
            return None
        sets = ", ".join(f"{name} = {value}" for name, value in values)
        return f"UPDATE {table.name} SET {sets} WHERE id IN ({', '.join(ids)})"

    def _exchange(self, table: Table) -> str | None:
        """Exchange two rows' values of a column, of the key or not, in one statement."""
        ids = self._ids(table)
        if len(ids) < 2:
            return None
        one, other = self.pick.sample(ids, 2)
        name = self.pick.choice(table.told).name
        sets = ", ".join(f"{one} = o.{one}" for one in (POINTS if name in POINTS else (name,)))
        return (
            f"UPDATE {table.name} t SET {sets} FROM {table.name} o"
            f" WHERE (t.id, o.id) IN (({one}, {other}), ({other}, {one}))"
        )

    def _give_key(self, table: Table) -> str | None:
        """Delete one row and give its key to another one that is there."""
        if table.is_known_by_id:
            return None
        ids = self._ids(table)
        if len(ids) < 2:
            return None
        one, other = self.pick.sample(ids, 2)
        names = ", ".join(part.name for part in table.key)
        values = self._literals(table, one)
        delete = f"DELETE FROM {table.name} WHERE id = {one}"
        rename = f"UPDATE {table.name} SET ({names}) = ROW({values}) WHERE id = {other}"
        return f"{delete}; {rename}"

    def _delete(self, table: Table) -> str | None:
        ids = self._some(table)
        return f"DELETE FROM {table.name} WHERE id IN ({', '.join(ids)})" if ids else None

    def _again(self, table: Table) -> str | None:
        """Delete a row and make one anew that has its key."""
        ids = self._ids(table)
        row = self._row(table)
        if not ids or row is None:
            return None
        one = self.pick.choice(ids)
        if one.strip("'") in (value.strip("'") for value in row[1:]):
            return None
        given = dict(zip(["id", *(c.name for c in table.writable)], row, strict=True))
        key = {part.name for part in table.key}
        if table.is_known_by_id:
            return None
        chosen = ", ".join(f"o.{name}" if name in key else value for name, value in given.items())
        if self.pick.random() < 0.5:
            return (
                f"WITH o AS (DELETE FROM {table.name} WHERE id = {one} RETURNING *)"
                f" INSERT INTO {table.name} ({self._names(table)}) SELECT {chosen} FROM o"
            )
        values = ", ".join(self._literal(table, one, name) if name in key else value for name, value in given.items())
        return (
            f"DELETE FROM {table.name} WHERE id = {one};"
            f" INSERT INTO {table.name} ({self._names(table)}) VALUES ({values})"
        )

    def _merge(self, table: Table) -> str | None:
        row = self._row(table)
        others = [column.name for column in table.others]
        if row is None:
            return None
        given = dict(zip(["id", *(c.name for c in table.writable)], row, strict=True))
        on = " AND ".join(f"t.{part.name} = s.{part.name}" for part in table.key)
        matched = "DELETE"
        if others and self.pick.random() < 0.7:
            matched = "UPDATE SET " + ", ".join(f"{name} = s.{name}" for name in others)
        types = {column.name: column.type for column in table.told if isinstance(column, Column)}
        values = ", ".join(
            f"{value}::{types[name]} AS {name}" if name in types else f"{value} AS {name}"
            for name, value in given.items()
        )
        return (
            f"MERGE INTO {table.name} t USING (SELECT {values}) s ON {on}"
            f" WHEN MATCHED THEN {matched}"
            f" WHEN NOT MATCHED THEN INSERT ({self._names(table)}) VALUES ({', '.join(f's.{n}' for n in given)})"
        )

    def _truncate(self, table: Table) -> str:
        return f"TRUNCATE {table.name} CASCADE"

    def _new_id(self, table: Table) -> str | None:
        ids = self._ids(table)
        new = self._next(table)
        return f"UPDATE {table.name} SET id = {new} WHERE id = {self.pick.choice(ids)}" if ids and new else None

    # Values.

    def _names(self, table: Table) -> str:
        return ", ".join(["id", *(column.name for column in table.writable)])

    def _row(self, table: Table) -> list[str] | None:
        values = [self._next(table), *self._values(table, table.writable)]
        known = [value for value in values if value is not None]
        return known if len(known) == len(values) else None

    def _next(self, table: Table) -> str | None:
        if table.is_known_by_id:
            return self._value(table.key[0])
        self._numbers[table.name] += 1
        number = self._numbers[table.name]
        if table.id_type in ("uuid", "text"):  # means one row everywhere, where numbers do not
            number = number * self.laptops + self.laptop
        return table.id(number)

    def _values(self, table: Table, columns: Sequence[Column | Reference]) -> list[str | None]:
        """Make values up; those of a generic reference go together, and are the last."""
        if table.pointer is None or not columns or columns[-1].name not in POINTS:
            return [self._value(column) for column in columns]
        return [
            *(self._value(column) for column in columns if column.name not in POINTS),
            *self._pointed(table.pointer),
        ]

    def _pointed(self, pointer: Pointer) -> Sequence[str | None]:
        """Point to a row that is there, or to one that was."""
        nothing = ["NULL", "NULL"] if pointer.nullable else [None, None]
        if self.pick.random() < 0.25:
            return nothing
        target = self.schema[self.pick.choice(pointer.targets)]
        there, seen = self._ids(target), self._seen[target.name]
        gone = sorted(seen.difference(there))
        seen.update(there)
        if not (there or gone):
            return nothing
        found = self.pick.choice(gone if gone and self.pick.random() < 0.3 else there or gone)
        return [str(self._first.tables.index(self._first[target.name])), found]

    def _value(self, column: Column | Reference) -> str | None:
        if column.nullable and self.pick.random() < 0.25:
            return "NULL"
        if isinstance(column, Column):
            return self.pick.choice(column.pool[self.laptop :: self.laptops] if column.own else column.pool)
        values = self._ids(self.schema[column.target], column.to)
        if not values:
            return "NULL" if column.nullable else None
        return self.pick.choice(values)

    def _ids(self, table: Table, column: str = "id") -> list[str]:
        rows = self.session.execute(f"SELECT quote_literal({column}) FROM {table.name} ORDER BY id".encode()).fetchall()
        return [row[0] for row in rows]

    def _some(self, table: Table) -> list[str]:
        ids = self._ids(table)
        return self.pick.sample(ids, min(len(ids), self.pick.choice([1, 1, 1, 2, 4])))

    def _literals(self, table: Table, one: str) -> str:
        return ", ".join(self._literal(table, one, part.name) for part in table.key)

    def _literal(self, table: Table, one: str, name: str) -> str:
        query = f"SELECT quote_nullable({name}) FROM {table.name} WHERE id = {one}"
        row = self.session.execute(query.encode()).fetchone()
        assert row is not None
        return str(row[0])
