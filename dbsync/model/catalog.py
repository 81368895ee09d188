"""What a database says of its tables: columns, keys, foreign keys. Read by catalog/, decided on everywhere else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from dbsync.model.names import TableName

UUID_LENGTH = 36
"""Characters, written out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table.

    ``type`` is the full name with its modifier (``numeric(6,2)``); ``cast`` is the name to cast text to,
    without a modifier so that a cast never truncates in silence (``bpchar``, not ``character``).
    ``out`` and ``into`` are the type's own output and input function where ``::text`` or ``text::type`` would
    run a cast function instead of them; empty where the plain cast is exact.
    """

    name: str
    type: str
    cast: str
    nullable: bool = True
    auto: bool = False
    """Identity, serial, or any default that draws from a sequence."""
    sequence: str = ""
    """The qualified, quoted sequence behind an auto column, ready for ``::regclass``."""
    generated: bool = False
    """GENERATED ALWAYS AS (expression): the database computes it, it never travels."""
    always: bool = False
    """GENERATED ALWAYS AS IDENTITY: what a row was given at first stays, an update may not say it."""
    watched: bool = False
    """A trigger runs where an update names it (``UPDATE OF``), whether it changes or not."""
    default: str = ""
    out: str = ""
    into: str = ""
    equals: str = "OPERATOR(pg_catalog.=)"
    """The type's own equality, qualified: with a pinned search_path a plain ``=`` would compare citext as text.
    Empty for a type without one (json, point), which can be in no key."""
    schemas: tuple[str, ...] = ()
    """The schemas, ``pg_catalog`` left out, of its type (below a domain), that type's functions and its equality: whoever
    names them in a statement needs the right to look into these."""

    @property
    def can_be_drawn(self) -> bool:
        """Say whether a value that no row has can be made: from its sequence, or as a random UUID."""
        return bool(self.sequence) or self.cast == "uuid"

    @property
    def holds_uuid(self) -> bool:
        """Say whether a UUID fits into it, as such or written out.

        >>> [Column(name="id", type=name, cast="").holds_uuid for name in ("uuid", "text", "character varying(36)")]
        [True, True, True]
        >>> [
        ...     Column(name="id", type=name, cast="").holds_uuid
        ...     for name in ("bigint", "character varying(20)", "character(40)")
        ... ]
        [False, False, False]
        """
        found = re.fullmatch(r"(?:uuid|text|character varying)(?:\((\d+)\))?", self.type)
        return found is not None and int(found[1] or UUID_LENGTH) >= UUID_LENGTH


@dataclass(frozen=True, slots=True, kw_only=True)
class UniqueKey:
    """A unique constraint or index over whole columns: not partial, no expressions, valid."""

    name: str
    columns: tuple[str, ...]
    nulls_not_distinct: bool = False
    immediate: bool = True
    """False for a deferrable constraint, which is still unique at the end of each transaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    """A foreign key constraint."""

    name: str
    columns: tuple[str, ...]
    target: TableName
    target_columns: tuple[str, ...]
    deferrable: bool = False
    enforced: bool = True
    """False: PostgreSQL does not look whether the target is there."""
    period: bool = False
    """The last column is a period, in which the target may be several rows (PERIOD)."""
    acts_on_delete: bool = False
    """CASCADE, SET NULL or SET DEFAULT: a deleted target deletes or changes the rows that refer to it."""
    acts_on_update: bool = False
    """The same, where the target's columns change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as its database describes it. ``columns`` are in attribute order, dropped ones left out."""

    name: TableName
    oid: int
    owner: str
    kind: str = "table"
    """``table`` or ``partitioned``."""
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    primary_key_immediate: bool = True
    uniques: tuple[UniqueKey, ...] = ()
    """Beside the primary key."""
    foreign_keys: tuple[ForeignKey, ...] = ()
    partition_keys: tuple[ForeignKey, ...] = ()
    """Those that only a partition of it has, and that act on delete."""
    heirs: bool = False
    """Other tables inherit from it, whose rows are its own too, and are in none of its unique indexes."""
    statement_triggers: bool = False
    """The application has triggers that run once for each INSERT or UPDATE, be it of no row."""
    inherits: bool = False
    """Rows of another table are rows of it as well, or its rows are another's (INHERITS)."""
    row_security: bool = False
    estimated_rows: int = 0
    _by_name: Mapping[str, Column] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {column.name: column for column in self.columns})

    def column(self, name: str) -> Column | None:
        """Find a column by its exact name."""
        return self._by_name.get(name)

    def called(self, names: Mapping[str, str]) -> Table:
        """Give the same table with some columns called otherwise; what its foreign keys point to keeps its names."""

        def each(columns: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(names.get(column, column) for column in columns)

        return replace(
            self,
            columns=tuple(replace(column, name=names.get(column.name, column.name)) for column in self.columns),
            primary_key=each(self.primary_key),
            uniques=tuple(replace(key, columns=each(key.columns)) for key in self.uniques),
            foreign_keys=tuple(replace(key, columns=each(key.columns)) for key in self.foreign_keys),
            partition_keys=tuple(replace(key, columns=each(key.columns)) for key in self.partition_keys),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """All ordinary and partitioned tables of one database, without PostgreSQL's own, dbsync's and partitions."""

    database: str
    server_version: int
    """As ``server_version_num``: 150018, 180000."""
    tables: Mapping[TableName, Table] = field(default_factory=lambda: MappingProxyType({}))

    def table(self, name: TableName) -> Table | None:
        """Find a table by name."""
        return self.tables.get(name)
