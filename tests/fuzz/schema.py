"""A made-up schema: tables with natural keys of every kind, and references between them with every action."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

POOLS: Mapping[str, Sequence[str]] = {
    "text": ["''", "'x'", "E'a\\\\b\\n\\t'", "'NULL'", "'{\"q\"}'", "'é'"],
    "varchar(5)": ["'a'", "'b '", "''"],
    "char(4)": ["'ab'", "'abc'"],
    "integer": ["0", "-7", "2147483647"],
    "numeric(6,2)": ["1.5", "-0.01", "1234.56"],
    "numeric": ["1.50", "1.5", "'NaN'"],
    "float8": ["0", "'-0'", "'NaN'", "0.1"],
    "boolean": ["true", "false"],
    "timestamptz": ["'2026-01-02 03:04:05.678901+00'", "'infinity'", "'0044-03-15 BC'"],
    "date": ["'2026-02-28'", "'-infinity'"],
    "interval": ["'1 mon'", "'30 days'"],
    "jsonb": ["'{\"a\": [1, null]}'", "'null'", "'\"\\\\u00e9\"'"],
    "json": ["'{\"a\":  1}'", "'{\"a\": 1}'"],
    "text[]": ["'{}'", '\'{a,NULL,"b,c",""}\'', "'{{a,b},{c,d}}'"],
    "bytea": ["'\\x00ff'", "''"],
    "uuid": ["'00000000-0000-0000-0000-00000000000a'"],
    "inet": ["'10.0.0.1/8'", "'::1'"],
    "point": ["'(1,2)'", "'(0,-0)'"],
    "int4range": ["'[1,5)'", "'empty'"],
}
"""Values of each type, as SQL literals."""
KEY_TYPES = ["text", "integer", "varchar(5)", "date", "uuid"]
KEY_POOLS: Mapping[str, Sequence[str]] = {
    "text": [f"'{c}'" for c in "abcdef"],
    "varchar(5)": [f"'{c}'" for c in "abcd"],
    "integer": [str(n) for n in range(5)],
    "date": [f"'2026-01-0{n}'" for n in range(1, 6)],
    "uuid": [f"'00000000-0000-0000-0000-00000000000{n}'" for n in range(1, 6)],
}
"""Few values, so that keys are given again."""


ACTIONS = [
    "DEFERRABLE INITIALLY DEFERRED",
    "ON DELETE CASCADE",
    "ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED",
]
"""Of references that may be null and that are added later."""
POINTS = ("pt", "pi")
"""The columns of a generic reference: its table, its row."""
TYPES = "django_content_type"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column with a value of its own."""

    name: str
    type: str
    nullable: bool
    pool: Sequence[str]
    own: bool = False
    """Whether each laptop has values of its own: they tell rows apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A foreign key of one column."""

    name: str
    target: str
    nullable: bool
    actions: str
    """From ON DELETE to DEFERRABLE."""
    to: str = "id"
    type: str = ""
    """Of the column it refers to."""
    soft: bool = False
    """Whether no constraint holds it, as in a table of Django's that keeps history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """A generic reference: one column says which table, another one which row. No constraint holds it."""

    targets: Sequence[str]
    """Tables whose ids are of one type."""
    id_type: str
    """Of the column with the id; text may hold any."""
    nullable: bool

    @property
    def columns(self) -> Sequence[Column]:
        """Give both columns; their values go together."""
        return [
            Column(name=name, type=kind, nullable=self.nullable, pool=())
            for name, kind in zip(POINTS, ("integer", self.id_type), strict=True)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with a primary key, ``id``, and a natural one."""

    name: str
    id_type: str
    key: Sequence[Column | Reference]
    columns: Sequence[Column]
    references: Sequence[Reference]
    pointer: Pointer | None = None
    also_unique: Sequence[str] = ()
    unique_when: str = ""
    """DEFERRABLE, or nothing: of its unique constraints."""
    by_row_id: bool = False
    """Whether dbsync gives its rows UUIDs of its own: it has no natural key, and nobody refers to it."""
    parts: int = 0
    """Into how many partitions its rows go, by the first column of its key; 0 for none."""

    @property
    def told(self) -> Sequence[Column | Reference]:
        """Give all columns that mean something elsewhere."""
        return [*self.key, *self.others]

    @property
    def others(self) -> Sequence[Column | Reference]:
        """Give the columns that are not of the key."""
        return [*self.columns, *self.references, *(self.pointer.columns if self.pointer else ())]

    @property
    def writable(self) -> Sequence[Column | Reference]:
        """Give all columns but the id."""
        return [column for column in self.told if column.name != "id"]

    @property
    def shared(self) -> Sequence[Column]:
        """Give the columns with values of their own that several rows may have."""
        return [column for column in self.columns if not column.own]

    @property
    def held(self) -> Sequence[Reference]:
        """Give the references that a constraint holds."""
        return [column for column in self.told if isinstance(column, Reference) and not column.soft]

    @property
    def is_known_by_id(self) -> bool:
        """Say whether the primary key is the natural one: a code, or another table's id, where it goes on with rows of that."""
        return self.key[0].name == "id"

    def id(self, number: int) -> str:
        """Give an id as a literal."""
        return {
            "uuid": f"'00000000-0000-4000-8000-{number:012x}'",
            "text": f"'id{number}'",
        }.get(self.id_type, str(number))


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """Tables, each after those that its natural key runs through."""

    tables: Sequence[Table]
    on_error: str = "row"
    triggers: str = ""
    """What an application's triggers do at the source."""

    def __getitem__(self, name: str) -> Table:
        return next(table for table in self.tables if table.name == name)

    def without_pointers(self) -> Schema:
        """Give it without generic references."""
        return replace(self, tables=[replace(table, pointer=None) for table in self.tables])

    @property
    def ddl(self) -> str:
        """Give the statements that make it."""
        script, later = [self._types], []
        for table in self.tables:
            default = {"uuid": " DEFAULT gen_random_uuid()", "text": " DEFAULT gen_random_uuid()::text"}
            kind = default.get(table.id_type, " GENERATED BY DEFAULT AS IDENTITY")
            head = table.key[0].name
            if isinstance(table.key[0], Reference) and table.is_known_by_id:
                kind = ""
            parts = [f"id {table.id_type}{kind}", f"PRIMARY KEY (id{f', {head}' if table.parts else ''})"]
            for column in table.writable:
                null = "" if column.nullable else " NOT NULL"
                parts.append(f"{column.name} {column.type}{null}")
            later += [
                f"ALTER TABLE {table.name} ADD FOREIGN KEY ({column.name})"
                f" REFERENCES {column.target} ({column.to}) {column.actions}"
                for column in table.held
            ]
            if table.pointer:
                later.append(f"ALTER TABLE {table.name} ADD FOREIGN KEY ({POINTS[0]}) REFERENCES {TYPES} (id)")
            if not (table.by_row_id or table.is_known_by_id):
                parts.append(f"UNIQUE ({', '.join(part.name for part in table.key)}) {table.unique_when}")
            parts += [f"UNIQUE ({name}) {table.unique_when}" for name in table.also_unique]
            script.append(f"CREATE TABLE {table.name} ({', '.join(parts)})")
            if table.parts:
                script[-1] += f" PARTITION BY HASH ({head})"
            script += [
                f"CREATE TABLE {table.name}_{n} PARTITION OF {table.name} FOR VALUES WITH (MODULUS {table.parts}, REMAINDER {n})"
                for n in range(table.parts)
            ]
        return ";\n".join([*script, *later])

    @property
    def _types(self) -> str:
        """Give the table by whose rows a generic reference says which table it means."""
        rows = ", ".join(f"({number}, 'made', '{table.name}')" for number, table in enumerate(self.tables))
        return (
            f"CREATE TABLE {TYPES} (id integer PRIMARY KEY, app_label text NOT NULL, model text NOT NULL,"
            f" UNIQUE (app_label, model));\nINSERT INTO {TYPES} VALUES {rows}"
        )

    @property
    def config(self) -> str:
        """Give what stands in dbsync.toml."""
        lookup = f'[[tables]]\nname = "{TYPES}"\nmode = "lookup"'
        return "\n".join(
            [
                lookup,
                *(
                    f'[[tables]]\nname = "{table.name}"\nkey = {self._key(table)}\non_error = "{self.on_error}"'
                    '\non_skew = "follow"'
                    f"\nreferences = {self._soft(table)}\ngeneric = [{self._pointer(table)}]"
                    for table in self.tables
                ),
            ]
        )

    @staticmethod
    def _pointer(table: Table) -> str:
        if table.pointer is None:
            return ""
        targets = ", ".join(f'"made.{name}" = "{name}"' for name in table.pointer.targets)
        kind, identity = POINTS
        return f'{{ type = "{kind}", id = "{identity}", targets = {{ {targets} }} }}'

    @staticmethod
    def _key(table: Table) -> str:
        names = ", ".join(f'"{part.name}"' for part in table.key)
        return '"row_id"' if table.by_row_id else f"[{names}]"

    @staticmethod
    def _soft(table: Table) -> str:
        soft = [c for c in table.references if c.soft]
        return "{" + ", ".join(f'{c.name} = "{c.target}"' for c in soft) + "}"

    def told(self, name: str) -> str:
        """Give a query of all rows of a table, references told by the key of what they find.

        Those that no constraint holds are left to ``dbsync verify``: of what is gone upstream has an id that no row has.
        """
        table = self[name]
        columns = [self._said(column, "t") for column in (*table.key, *table.columns, *table.held)]
        return f"SELECT ROW({', '.join(columns)})::text FROM {name} t ORDER BY 1"

    def _said(self, column: Column | Reference, alias: str) -> str:
        if isinstance(column, Column):
            return f"{alias}.{column.name}::text"
        inner = f"{alias}{column.name}"
        parts = ", ".join(self._said(part, inner) for part in self[column.target].key)
        return f"(SELECT ROW({parts})::text FROM {column.target} {inner} WHERE {inner}.{column.to} = {alias}.{column.name})"


def make(seed: int) -> Schema:
    """Make a schema up."""
    return _Maker(Random(seed)).make()


class _Maker:
    def __init__(self, pick: Random) -> None:
        self._pick = pick
        self._like_django = pick.random() < 0.4
        self._tables: list[Table] = []
        self._goes_on_with: dict[str, str] = {}

    def make(self) -> Schema:
        pick = self._pick
        names = [f"t{number}" for number in range(pick.randint(2, 5))]
        id_types = {name: pick.choice(["bigint", "bigint", "integer", "uuid", "text"]) for name in names}
        for here, name in enumerate(names):
            if here and pick.random() < 0.12:
                self._goes_on_with[name] = pick.choice(names[:here])
                id_types[name] = id_types[self._goes_on_with[name]]
        for name in names:
            self._tables.append(self._table(name, id_types))
        referred = {c.target for table in self._tables for c in table.told if isinstance(c, Reference)}
        tables = [self._odd(table) if table.name not in referred else table for table in self._tables]
        tables = [self._pointing(table, tables) if pick.random() < 0.2 else table for table in tables]
        on_error = pick.choice(["row", "row", "transaction"])
        triggers = ";\n".join(_trigger(pick, table, tables) for table in tables if pick.random() < 0.6)
        return Schema(tables=tables, on_error=on_error, triggers=triggers)

    def _odd(self, table: Table) -> Table:
        """Make of a table that nobody refers to one without a natural key, or one of partitions, now and then."""
        chance = self._pick.random()
        if chance < 0.25 and not table.is_known_by_id:
            return replace(table, by_row_id=True)
        if chance < 0.5 and not table.also_unique and not table.is_known_by_id:
            return replace(table, parts=3)
        return table

    def _pointing(self, table: Table, tables: Sequence[Table]) -> Table:
        """Let a table's rows point to rows of some tables whose ids are of one type."""
        kinds = sorted({other.id_type for other in tables if not other.parts})
        if not kinds:
            return table
        kind = self._pick.choice(kinds)
        targets = [other.name for other in tables if other.id_type == kind and not other.parts]
        if table.is_known_by_id:  # a row that points to itself is a limit
            targets = [name for name in targets if name != table.name]
        if not targets:
            return table
        id_type = self._pick.choice([kind, "text"])
        return replace(table, pointer=Pointer(targets=targets, id_type=id_type, nullable=self._pick.random() < 0.6))

    def _table(self, name: str, id_types: Mapping[str, str]) -> Table:
        pick, names = self._pick, list(id_types)
        here = names.index(name)
        references = [
            self._reference(f"r{place}", pick.choice(names[: here + 1] if pick.random() < 0.7 else names), id_types)
            for place in range(pick.randint(0, 2))
        ]
        columns = [self._column(place) for place in range(pick.randint(0, 3))]
        return Table(
            name=name,
            id_type=id_types[name],
            key=self._key_of_one(name, id_types) or self._key(id_types),
            columns=columns,
            references=references,
            also_unique=[
                *(column.name for column in columns if column.own),
                *(each.name for each in references if not each.soft and pick.random() < 0.1),
            ],
            unique_when=pick.choice(["", "", "", "", "DEFERRABLE INITIALLY DEFERRED"]),
        )

    def _key_of_one(self, name: str, id_types: Mapping[str, str]) -> list[Column | Reference]:
        """Let the primary key be the natural one: the id of a row that this one goes on with, or a code now and then."""
        above = self._goes_on_with.get(name)
        if above is not None:
            actions = self._actions(nullable=False, in_circle=False)
            return [Reference(name="id", target=above, nullable=False, actions=actions, type=id_types[name])]
        if id_types[name] == "text" and self._pick.random() < 0.5:
            return [Column(name="id", type="text", nullable=False, pool=KEY_POOLS["text"], own=True)]
        return []

    def _key(self, id_types: Mapping[str, str]) -> list[Column | Reference]:
        pick = self._pick
        parts: list[Column | Reference] = []
        for place in range(pick.choice([1, 1, 2, 2, 3])):
            if self._tables and pick.random() < 0.5:
                target = pick.choice(self._tables)
                parts.append(self._refer(f"k{place}", target.name, target, id_types, nullable=False))
            else:
                kind = pick.choice(KEY_TYPES)
                parts.append(Column(name=f"k{place}", type=kind, nullable=False, pool=KEY_POOLS[kind], own=True))
        return parts

    def _column(self, place: int) -> Column:
        kind = self._pick.choice(sorted(POOLS))
        own = kind in KEY_TYPES and self._pick.random() < 0.15
        pool = KEY_POOLS[kind] if own else POOLS[kind]
        return Column(name=f"v{place}", type=kind, nullable=self._pick.random() < 0.6, pool=pool, own=own)

    def _reference(self, name: str, target: str, id_types: Mapping[str, str]) -> Reference:
        earlier = next((table for table in self._tables if table.name == target), None)
        nullable = earlier is None or self._pick.random() < 0.6
        made = self._refer(name, target, earlier, id_types, nullable=nullable)
        return replace(made, soft=made.to == "id" and self._pick.random() < 0.12)

    def _refer(
        self, name: str, target: str, table: Table | None, id_types: Mapping[str, str], *, nullable: bool
    ) -> Reference:
        actions = self._actions(nullable=nullable, in_circle=table is None)
        if (
            table is not None
            and not table.unique_when
            and len(table.key) == 1
            and isinstance(table.key[0], Column)
            and self._pick.random() < 0.15
        ):
            (column,) = table.key
            return Reference(
                name=name, target=target, nullable=nullable, actions=actions, to=column.name, type=column.type
            )
        return Reference(name=name, target=target, nullable=nullable, actions=actions, type=id_types[target])

    def _actions(self, *, nullable: bool, in_circle: bool) -> str:
        pick = self._pick
        if self._like_django or in_circle:
            return "DEFERRABLE INITIALLY DEFERRED"
        kinds = ["NO ACTION", "NO ACTION", "CASCADE", "CASCADE", "RESTRICT", "SET NULL" if nullable else "CASCADE"]
        when = pick.choice(["", "DEFERRABLE INITIALLY DEFERRED", "DEFERRABLE INITIALLY DEFERRED", "DEFERRABLE"])
        return f"ON DELETE {pick.choice(kinds)} ON UPDATE {pick.choice(['NO ACTION', 'NO ACTION', 'CASCADE'])} {when}"


def _trigger(pick: Random, table: Table, tables: Sequence[Table]) -> str:
    """Make up what a trigger of a table does: change its very row before or after, its parent, or write a line of its own."""
    stamped = pick.choice([*table.shared, None])
    above = [column for column in table.told if isinstance(column, Reference) and column.target != table.name]
    parent = pick.choice(above or [None])
    touched = next((other for other in tables if parent is not None and other.name == parent.target), None)
    if parent is not None and touched is not None and touched.shared and pick.random() < 0.5:
        events, when = "INSERT OR UPDATE OR DELETE", "AFTER"
        does = [_set(pick, touched, f"{parent.to} = {row}.{parent.name}") for row in ("OLD", "NEW")]
        body = f"IF TG_OP <> 'INSERT' THEN {does[0]}; END IF; IF TG_OP <> 'DELETE' THEN {does[1]}; END IF"
    elif stamped is not None:
        events, when = "INSERT OR UPDATE", pick.choice(["BEFORE", "AFTER"])
        body = (
            f"NEW.{stamped.name} := {_literal(pick, stamped)}" if when == "BEFORE" else _set(pick, table, "id = NEW.id")
        )
    else:
        return "SELECT"
    name = f"of_{table.name}"
    return (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$;\n"
        f"CREATE TRIGGER {name} {when} {events} ON {table.name} FOR EACH ROW EXECUTE FUNCTION {name}()"
    )


def _set(pick: Random, table: Table, condition: str) -> str:
    column = pick.choice(table.shared)
    value = _literal(pick, column)
    return f"UPDATE {table.name} SET {column.name} = {value} WHERE {condition} AND {column.name}::text IS DISTINCT FROM {value}::text"


def _literal(pick: Random, column: Column) -> str:
    return f"({pick.choice(column.pool)})::{column.type}"
