"""What is wrong with the tables of a configuration, each with a remedy. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches

from dbsync.config.models import Config, TableConfig
from dbsync.keys.choose import Columns, KeyChoice, is_complete
from dbsync.keys.mirror import is_trail
from dbsync.keys.pairs import generic_pairs
from dbsync.keys.pointers import Pointer, Selection
from dbsync.keys.types import unsupported
from dbsync.model.catalog import Catalog, Column, Table
from dbsync.model.findings import Finding, Severity
from dbsync.model.names import TableName
from dbsync.model.registration import Mode, RegisteredTable

IDLE = "pattern_selects_nothing"
_SHOWN = 5
_WIDEST = 1_000
"""Columns of a table that may travel: of more, PostgreSQL plans the statement that writes them upstream for minutes."""
_INTEGERS = frozenset({"smallint", "integer", "bigint"})


def of_entries(config: Config, catalog: Catalog) -> Iterator[Finding]:
    """Find entries that no table answers to."""
    names = {str(name): name for name in catalog.tables}
    for entry in config.tables:
        if entry.skip or any(config.entry_for(name) is entry for name in catalog.tables):
            continue
        if entry.table is None:
            if not any(entry.selects(name) for name in catalog.tables):
                yield _warning(IDLE, entry.name, "no table of the source has such a name", "dbsync tables")
            continue
        close = get_close_matches(str(entry.table), names, n=1)
        meant = f'did you mean "{close[0]}"?' if close else "dbsync tables --unregistered   (lists what is there)"
        yield _error("unknown_table", str(entry.table), f"there is no such table in {catalog.database}", meant)


def of_cycles(cycles: Iterable[Sequence[TableName]], entries: Collection[TableName]) -> Iterator[Finding]:
    """Say which keys lead back to where they began."""
    for cycle in cycles:
        chain = " -> ".join(str(name) for name in (*cycle, cycle[0]))
        assert cycle[0] in entries, cycle
        remedy = in_config(cycle[0], 'key = "row_id"') if len(cycle) == 1 else in_config(cycle[-1], 'key = "row_id"')
        yield _error("recursive_key", str(cycle[0]), f"its natural key runs in a circle: {chain}", remedy)


def of_split(split: Iterable[tuple[TableName, str]]) -> Iterator[Finding]:
    """Say which keys have a part of a reference of several columns."""
    for name, column in split:
        yield _error(
            "key_splits_reference",
            str(name),
            f"key column '{column}' refers to another row only together with other columns",
            in_config(name, "key = [...]   # with all columns of the foreign key, or without any"),
        )


def of_columns(table: Table, entry: TableConfig) -> Iterator[Finding]:
    """Find columns that the table does not have. A pattern may name columns that only some of its tables have."""
    if entry.is_pattern:
        return
    generic = [column for one in entry.generic for column in (one.type, one.id)]
    newest = () if entry.newest_by is None else (entry.newest_by,)
    named = (
        ("exclude", entry.exclude),
        ("references", entry.references),
        ("generic", generic),
        ("newest_by", newest),
    )
    for setting, columns in named:
        for column in columns:
            if table.column(column) is None:
                yield _unknown_column(table, column, setting)


def of_key(table: Table, entry: TableConfig, choice: KeyChoice, local: Collection[str]) -> Iterator[Finding]:
    """Find what keeps a table's key from identifying its rows everywhere."""
    if choice.refused:
        yield _unchosen(table, choice)
    elif choice.row_id:
        yield from _of_row_id(table, entry)
    else:
        yield from _of_key_columns(table, entry, choice, local)


def of_targets(selection: Selection, name: TableName) -> Iterator[Finding]:
    """Find configured references to what is no table, or what an id cannot point into."""
    table = selection.table(name)
    for column, target in selection.entries[name].reference_tables.items():
        there = selection.catalog.table(target)
        if table.column(column) is None:
            continue
        if there is None:
            yield _unknown_target(selection.catalog, name, column, target)
        elif len(there.primary_key) != 1:
            what = f"column '{column}' cannot refer to {target}, whose primary key is not one column"
            yield _error("reference_target_key", str(name), what, "take it out of 'references'")


def of_uuids(
    selection: Selection, name: TableName, pointing: Iterable[Pointer], row_ids: Collection[TableName]
) -> Iterator[Finding]:
    """Find references by other columns than the primary key to rows that are known by that, and the UUID it stands for."""
    for pointer in pointing:
        known_by = selection.table(pointer.target).primary_key
        if pointer.target in row_ids and pointer.target_columns != known_by:
            what = (
                f"({', '.join(pointer.columns)}) refers to {pointer.target} by ({', '.join(pointer.target_columns)}),"
                f' and with key = "row_id" its rows are known by ({", ".join(known_by)}) only'
            )
            yield _error("reference_target_key", str(name), what, _key_of(pointer.target, pointer.target_columns))


def of_unregistered(selection: Selection, keys: Mapping[TableName, Collection[str]]) -> Iterator[Finding]:
    """Find tables that others refer to and that are not registered, once each."""
    referring: dict[TableName, list[str]] = {}
    for name in sorted(selection.entries):
        for columns, target in _needed(selection, name, keys[name]):
            if target not in selection.entries:
                referring.setdefault(target, []).append(f"{name} ({', '.join(columns)})")
    for target, who in sorted(referring.items()):
        shown = ", ".join(who[:_SHOWN]) + (f" and {len(who) - _SHOWN:,} more" if len(who) > _SHOWN else "")
        yield _error(
            "reference_unregistered",
            str(target),
            f"not registered, so its ids cannot be translated, and rows refer to it: {shown}",
            in_config(target, 'mode = "lookup"   # or without a mode, to ship it'),
        )


def _needed(selection: Selection, name: TableName, key: Collection[str]) -> Iterator[tuple[Sequence[str], TableName]]:
    """List what a table refers to. Of a lookup, whose rows do not travel, only the references in its key matter."""
    table, entry = selection.table(name), selection.entries[name]
    for column, target in entry.reference_tables.items():
        if table.column(column) is not None and target in selection.catalog.tables:
            yield (column,), target
    for foreign in table.foreign_keys:
        matters = entry.mode is Mode.SHIP or not set(key).isdisjoint(foreign.columns)
        if matters and not set(foreign.columns) & {*entry.exclude, *entry.references}:
            yield foreign.columns, foreign.target
    for generic in entry.generic:
        for model_table in generic.targets.values():
            yield (generic.id,), TableName.parse(model_table)


def of_table(table: Table, entry: TableConfig) -> Iterator[Finding]:
    """Find what else about a table stands in the way."""
    if table.row_security:
        yield _warning(
            "row_security",
            str(table.name),
            "row-level security is on: dbsync sees only the rows that its policies show to the role dbsync_capture",
            f"CREATE POLICY dbsync ON {_sql(table.name)} TO dbsync_capture USING (true);",
        )
    if entry.mode is Mode.LOOKUP:
        return
    if table.inherits:
        what = (
            "it inherits from another table, or another from it: a statement on the upper one changes rows of the lower one"
            " too, and they are captured as the upper one's, or not at all if that is not shipped"
        )
        yield _warning(
            "inheritance", str(table.name), what, "say ONLY in the application, or name the table that a row is in"
        )
    for column in table.columns:
        reason = unsupported(column)
        if reason and column.name not in entry.exclude and not column.generated:
            remedy = in_config(table.name, f'exclude = ["{column.name}"]')
            yield _error("unsupported_type", str(table.name), f"column '{column.name}' cannot travel: {reason}", remedy)


def of_values(registered: RegisteredTable, pointing: Iterable[Pointer], local: Collection[str]) -> Iterator[Finding]:
    """Find columns that look like ids of other rows and would travel as they are, and numbers that stay."""
    table = registered.table
    pointed = {column for pointer in pointing for column in pointer.columns}
    pointed |= {column for key in table.foreign_keys for column in key.columns}
    ours = {c for generic in registered.generics for c in (generic.type_column, generic.id_column)} | pointed
    for generic in registered.generics:
        if generic.type_column not in pointed:
            yield _error(
                "generic_type_unresolved",
                str(table.name),
                f"'{generic.type_column}' refers to no registered table, so nothing says what '{generic.id_column}' is",
                in_config(table.name, f'references = {{ {generic.type_column} = "django_content_type" }}'),
            )
    unpaired = {
        identity: kind for kind, identity in generic_pairs(table, _plain_targets(pointing)) if identity not in ours
    }
    for name in registered.values:
        column = table.column(name)
        if name in unpaired:
            yield _warning(
                "unresolved_id",
                str(table.name),
                f"'{name}' beside '{unpaired[name]}' looks like the id of a row of any table, and would travel as it is here",
                in_config(table.name, f'generic = [{{ type = "{unpaired[name]}", id = "{name}" }}]'),
            )
        elif column is not None and name not in ours and looks_like_id(table, column):
            yield _warning(
                "unresolved_id",
                str(table.name),
                f"'{name}' looks like the id of another row, and would travel as the number it is here",
                in_config(table.name, f'references = {{ {name} = "..." }}   # or leave it, if it is a plain number'),
            )
    for column in table.columns:
        if column.name in local and column.name not in table.primary_key:
            what = f"'{column.name}' is unique and drawn from a sequence: the upstream draws its own"
            yield _warning("local_number", str(table.name), what, "none needed, if the number means nothing elsewhere")


def _plain_targets(pointing: Iterable[Pointer]) -> dict[str, TableName]:
    return {pointer.columns[0]: pointer.target for pointer in pointing if len(pointer.columns) == 1}


def of_width(registered: RegisteredTable) -> Iterator[Finding]:
    """Find tables so wide that a batch of them would hold up everything behind it."""
    wide = len(registered.values)
    if wide > _WIDEST:
        what = f"{wide:,} columns would travel, and no more than {_WIDEST:,} can be compared and written upstream in one statement"
        yield _error("table_too_wide", str(registered.name), what, in_config(registered.name, "exclude = [...]"))


def of_periods(registered: RegisteredTable) -> Iterator[Finding]:
    """Find references for a period (PERIOD) to rows whose key is not what they hold."""
    translated = {reference.columns for reference in registered.references}
    for key in registered.table.foreign_keys:
        if key.period and key.columns in translated:
            what = f"({', '.join(key.columns)}) refers to {key.target} for a period, and no key of one of its rows says that"
            yield _error("reference_target_key", str(registered.name), what, _key_of(key.target, key.target_columns))


def looks_like_id(table: Table, column: Column) -> bool:
    """Say whether a column is named and typed like a generated id of another row.

    In an audit trail the original's own ``id`` is one too.
    """
    if not is_integer(column) or column.auto:
        return False
    return column.name.endswith("_id") or (column.name == "id" and is_trail(table))


def is_integer(column: Column) -> bool:
    """Say whether a column has the type of a generated id."""
    return column.cast in _INTEGERS


def _unchosen(table: Table, choice: KeyChoice) -> Finding:
    if choice.candidates:
        shown = "   # or key = ".join(_listed(columns) for columns in choice.candidates)
        what = f"{len(choice.candidates)} unique keys would do, and one must be chosen"
        return _error("several_keys", str(table.name), what, in_config(table.name, f"key = {shown}"))
    if not table.primary_key:
        return _error(
            "no_key",
            str(table.name),
            f"there is no natural key: {choice.refused}",
            f"ALTER TABLE {_sql(table.name)} ADD COLUMN dbsync_id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY;"
            '   -- then key = "row_id"',
        )
    remedy = in_config(table.name, 'key = "row_id"   # rows of different nodes never merge')
    return _error("no_key", str(table.name), f"there is no natural key: {choice.refused}", remedy)


def _of_row_id(table: Table, entry: TableConfig) -> Iterator[Finding]:
    if not table.primary_key:
        yield _error(
            "row_id_without_primary_key",
            str(table.name),
            'key = "row_id" needs a primary key to know the row by, and there is none',
            f"ALTER TABLE {_sql(table.name)} ADD PRIMARY KEY (...);",
        )
    if entry.mode is Mode.LOOKUP:
        yield _error(
            "lookup_by_row_id",
            str(table.name),
            'a lookup needs a natural key: with key = "row_id" only shipped rows are known upstream',
            in_config(table.name, 'mode = "ship"'),
        )


def _of_key_columns(table: Table, entry: TableConfig, choice: KeyChoice, local: Collection[str]) -> Iterator[Finding]:
    known: list[Column] = []
    for key_column in choice.columns:
        column = table.column(key_column)
        if column is None:
            yield _unknown_column(table, key_column, "key")
            continue
        known.append(column)
        reason = _unfit(column, entry, local)
        if reason:
            yield _error(reason[0], str(table.name), reason[1], _instead(table, choice))
    if len(known) == len(choice.columns):
        yield from _of_uniqueness(table, choice)


def _unfit(column: Column, entry: TableConfig, local: Collection[str]) -> tuple[str, str] | None:
    """Say why a column can be in no key: a code and the words."""
    name = column.name
    if name in entry.exclude:
        return "key_excluded", f"key column '{name}' is excluded, so it would not travel"
    if name in local:
        return "key_is_local", f"key column '{name}' is a generated id, and ids never travel"
    if any(name == generic.id for generic in entry.generic):
        return "key_is_generic", f"key column '{name}' is the id of a row of any table, and ids never travel"
    if column.generated:
        return "key_is_generated", f"key column '{name}' is computed by the database, so it would not travel"
    if not column.equals:
        return "key_not_comparable", f"key column '{name}' has type {column.type}, which has no equality"
    return None


def _of_uniqueness(table: Table, choice: KeyChoice) -> Iterator[Finding]:
    shown = ", ".join(choice.columns)
    if not is_unique(table, choice.columns):
        yield _error(
            "key_not_unique",
            str(table.name),
            f"the key ({shown}) is not unique in the source: two rows may have it",
            f"CREATE UNIQUE INDEX CONCURRENTLY ON {_sql(table.name)} ({', '.join(map(_quoted, choice.columns))});"
            "   -- or choose another key",
        )
        return
    nullable = [c.name for c in table.columns if c.name in choice.columns and c.nullable]
    if nullable and not _nulls_identify(table, choice.columns):
        yield _error(
            "key_nullable",
            str(table.name),
            f"key column '{nullable[0]}' may be NULL, and such rows are not identified",
            f"ALTER TABLE {_sql(table.name)} ALTER COLUMN {_quoted(nullable[0])} SET NOT NULL;   -- or another key",
        )


def is_unique(table: Table, columns: Collection[str]) -> bool:
    """Say whether a unique index or constraint makes the columns unique: one over them, or over some of them."""
    keys = [unique.columns for unique in table.uniques]
    if table.primary_key:
        keys.append(table.primary_key)
    return any(set(key) <= set(columns) for key in keys)


def is_identifying(table: Table, columns: Collection[str]) -> bool:
    """Say whether columns are unique, and no null among them lets two rows be alike."""
    nullable = {column.name for column in table.columns if column.nullable}
    return is_unique(table, columns) and (nullable.isdisjoint(columns) or _nulls_identify(table, columns))


def _nulls_identify(table: Table, columns: Collection[str]) -> bool:
    return any(u.nulls_not_distinct and is_complete(table, u) and set(u.columns) == set(columns) for u in table.uniques)


def _instead(table: Table, choice: KeyChoice) -> str:
    others = [columns for columns in choice.candidates if set(columns) != set(choice.columns)]
    if others:
        return in_config(table.name, f"key = {_listed(others[0])}")
    return in_config(table.name, 'key = "row_id"   # rows of different nodes never merge')


def _unknown_column(table: Table, column: str, setting: str) -> Finding:
    close = get_close_matches(column, [known.name for known in table.columns], n=1)
    remedy = f'did you mean "{close[0]}"?' if close else f"take it out of '{setting}'"
    return _error("unknown_column", str(table.name), f"there is no column '{column}' ('{setting}' names it)", remedy)


def _unknown_target(catalog: Catalog, name: TableName, column: str, target: TableName) -> Finding:
    close = get_close_matches(str(target), [str(known) for known in catalog.tables], n=1)
    remedy = f'did you mean "{close[0]}"?' if close else "dbsync tables   (lists what is there)"
    return _error("unknown_table", str(name), f"'{column}' refers to {target}, and there is no such table", remedy)


def in_config(name: TableName, line: str) -> str:
    """Say what to put into the table's entry."""
    return f'in dbsync.toml: [[tables]] name = "{_toml(str(name))}" with {line}'


def _key_of(name: TableName, columns: Columns) -> str:
    return in_config(name, f"key = {_listed(columns)}")


def _listed(columns: Columns) -> str:
    return "[" + ", ".join(f'"{_toml(column)}"' for column in columns) + "]"


def _toml(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _sql(name: TableName) -> str:
    return f"{_quoted(name.schema)}.{_quoted(name.name)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _error(code: str, where: str, what: str, remedy: str) -> Finding:
    return Finding(code=code, severity=Severity.ERROR, where=where, what=what, remedy=remedy)


def _warning(code: str, where: str, what: str, remedy: str) -> Finding:
    return Finding(code=code, severity=Severity.WARNING, where=where, what=what, remedy=remedy)
