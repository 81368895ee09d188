"""Columns that are added while a story goes on, at one end after the other, in any order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from random import Random

from tests.fuzz.schema import ACTIONS, POOLS, Column, Reference, Schema


@dataclass(frozen=True, slots=True)
class Addition:
    """A column that a migration adds to a table."""

    table: str
    column: Column | Reference
    default: str = ""

    @property
    def ddl(self) -> str:
        """Give the statement of the migration."""
        column = self.column
        words = [f"ALTER TABLE {self.table} ADD {column.name} {column.type}"]
        if self.default:
            words.append(f"DEFAULT {self.default}")
        if not column.nullable:
            words.append("NOT NULL")
        if isinstance(column, Reference):
            words.append(f"REFERENCES {column.target} ({column.to}) {column.actions}")
        return " ".join(words)

    def to(self, schema: Schema) -> Schema:
        """Give a schema that has it."""
        table, column = schema[self.table], self.column
        if isinstance(column, Reference):
            changed = replace(table, references=[*table.references, column])
        else:
            changed = replace(table, columns=[*table.columns, column])
        return replace(schema, tables=[changed if each is table else each for each in schema.tables])


def all_of(schema: Schema, additions: Iterable[Addition]) -> Schema:
    """Give a schema that has all of them."""
    for addition in additions:
        schema = addition.to(schema)
    return schema


@dataclass(kw_only=True)
class Drift:
    """Makes migrations up for so many ends, each of which gets every column once."""

    schema: Schema
    pick: Random
    ends: int
    _owed: list[tuple[Addition, list[int]]] = field(default_factory=list)

    def next(self) -> tuple[Addition, int]:
        """Give what is added now, and at which end: something new, or what another end has already."""
        begun = [(addition, ends) for addition, ends in self._owed if ends]
        if not begun or self.pick.random() < 0.3:
            begun = [(self._new(), self.pick.sample(range(self.ends), self.ends))]
            self._owed += begun
        addition, ends = self.pick.choice(begun)
        return addition, ends.pop()

    def _new(self) -> Addition:
        pick, name = self.pick, f"w{len(self._owed)}"
        table = pick.choice(self.schema.tables)
        target = pick.choice(self.schema.tables)
        if pick.random() < 0.25 and not (target.parts or target.by_row_id):
            reference = Reference(
                name=name, target=target.name, nullable=True, actions=pick.choice(ACTIONS), type=target.id_type
            )
            return Addition(table.name, reference)
        kind = pick.choice(sorted(POOLS))
        default = f"({pick.choice(POOLS[kind])})::{kind}" if pick.random() < 0.5 else ""
        nullable = not default or pick.random() < 0.5
        return Addition(table.name, Column(name=name, type=kind, nullable=nullable, pool=POOLS[kind]), default)
