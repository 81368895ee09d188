"""Migrations while a story goes on, at one end after the other: at each end they come in their order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Protocol

from tests.fuzz.schema import ACTIONS, POINTS, POOLS, Column, Reference, Schema, Table

WIDER: Mapping[str, str] = {"varchar(5)": "text", "integer": "bigint", "numeric(6,2)": "numeric", "json": "jsonb"}
"""Types to which a column may be changed, and all its values are what they were."""


class Step(Protocol):
    """One migration."""

    @property
    def table(self) -> str:
        """Give the table that it alters."""

    @property
    def ddl(self) -> str:
        """Give its statement."""

    def to(self, schema: Schema) -> Schema:
        """Give a schema after it."""


@dataclass(frozen=True, slots=True)
class Addition:
    """A column is added to a table."""

    table: str
    column: Column | Reference
    default: str = ""

    @property
    def ddl(self) -> str:
        """Give the statement."""
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
            return _with(schema, replace(table, references=[*table.references, column]))
        return _with(schema, replace(table, columns=[*table.columns, column]))


@dataclass(frozen=True, slots=True)
class Renaming:
    """A column is called otherwise."""

    table: str
    column: str
    name: str

    @property
    def ddl(self) -> str:
        """Give the statement."""
        return f"ALTER TABLE {self.table} RENAME COLUMN {self.column} TO {self.name}"

    def to(self, schema: Schema) -> Schema:
        """Give a schema in which all that says the name says the new one."""

        def column(table: Table, part: Column) -> Column:
            return replace(part, name=called(table, part.name))

        def reference(table: Table, part: Reference) -> Reference:
            return replace(part, name=called(table, part.name), to=called(schema[part.target], part.to))

        def called(table: Table, name: str) -> str:
            return self.name if (table.name, name) == (self.table, self.column) else name

        return replace(
            schema,
            tables=[
                replace(
                    table,
                    key=[column(table, p) if isinstance(p, Column) else reference(table, p) for p in table.key],
                    columns=[column(table, part) for part in table.columns],
                    references=[reference(table, part) for part in table.references],
                    also_unique=[called(table, name) for name in table.also_unique],
                )
                for table in schema.tables
            ],
        )


@dataclass(frozen=True, slots=True)
class Dropping:
    """A column that is not of the key goes."""

    table: str
    column: str

    @property
    def ddl(self) -> str:
        """Give the statement."""
        return f"ALTER TABLE {self.table} DROP COLUMN {self.column}"

    def to(self, schema: Schema) -> Schema:
        """Give a schema that does not have it."""
        table = schema[self.table]
        return _with(
            schema,
            replace(
                table,
                columns=[part for part in table.columns if part.name != self.column],
                references=[part for part in table.references if part.name != self.column],
                also_unique=[name for name in table.also_unique if name != self.column],
            ),
        )


@dataclass(frozen=True, slots=True)
class Widening:
    """A column gets another type, which has all its values."""

    table: str
    column: str
    type: str

    @property
    def ddl(self) -> str:
        """Give the statement."""
        return f"ALTER TABLE {self.table} ALTER COLUMN {self.column} TYPE {self.type}"

    def to(self, schema: Schema) -> Schema:
        """Give a schema in which it has it."""
        table = schema[self.table]
        wider = [
            replace(part, type=self.type) if isinstance(part, Column) and part.name == self.column else part
            for part in table.key
        ]
        columns = [replace(part, type=self.type) if part.name == self.column else part for part in table.columns]
        return _with(schema, replace(table, key=wider, columns=columns))


def after(schema: Schema, steps: Iterable[Step]) -> Schema:
    """Give a schema after some migrations."""
    for step in steps:
        schema = step.to(schema)
    return schema


@dataclass(kw_only=True)
class Drift:
    """Makes migrations up for so many ends, each of which has them all sooner or later."""

    schema: Schema
    """After all that were made up."""
    pick: Random
    ends: int
    _steps: list[Step] = field(default_factory=list)
    _done: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self._done = [0] * self.ends

    def next(self) -> tuple[Step, int]:
        """Give what is migrated now, and which end: by something new, or by what another end has already."""
        behind = self._behind()
        if not behind or self.pick.random() < 0.3:
            step = self._new()
            self.schema = step.to(self.schema)
            self._steps.append(step)
            behind = self._behind()
        end = self.pick.choice(behind)
        self._done[end] += 1
        return self._steps[self._done[end] - 1], end

    def _behind(self) -> list[int]:
        return [end for end in range(self.ends) if self._done[end] < len(self._steps)]

    def _new(self) -> Step:
        pick, name = self.pick, f"w{len(self._steps)}"
        table = pick.choice(self.schema.tables)
        if self.schema.triggers:  # they name columns
            return self._addition(table, name)
        chance = pick.random()
        names = [part.name for part in table.writable if part.name not in POINTS]
        if chance < 0.3 and names:
            return Renaming(table.name, pick.choice(names), name)
        others = [part.name for part in table.others if part.name not in POINTS]
        if chance < 0.45 and others:
            return Dropping(table.name, pick.choice(others))
        wider = [part for part in (*table.key, *table.columns) if isinstance(part, Column) and part.type in WIDER]
        wider = [part for part in wider if part.name != "id" and not self._is_referred_to(table, part)]
        if chance < 0.6 and wider:
            column = pick.choice(wider)
            return Widening(table.name, column.name, WIDER[column.type])
        return self._addition(table, name)

    def _is_referred_to(self, table: Table, column: Column) -> bool:
        return any(
            isinstance(part, Reference) and (part.target, part.to) == (table.name, column.name)
            for other in self.schema.tables
            for part in other.told
        )

    def _addition(self, table: Table, name: str) -> Addition:
        pick = self.pick
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


def _with(schema: Schema, changed: Table) -> Schema:
    return replace(schema, tables=[changed if each.name == changed.name else each for each in schema.tables])
