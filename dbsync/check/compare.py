"""Tables on both sides: what the upstream lacks, has otherwise, or demands. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dbsync.catalog.former import Former
from dbsync.check.finding import error, ok, warning
from dbsync.check.wording import identifier, listed, table
from dbsync.keys.problems import is_unique
from dbsync.model.catalog import Catalog, Column, Table
from dbsync.model.findings import Finding, Severity
from dbsync.model.policy import OnSkew, Policies
from dbsync.model.registration import KeyColumn, Mode, RegisteredTable, Registry

_WIDTHS = re.compile(r"\d+")
_WIDER = {
    ("smallint", "integer"),
    ("smallint", "bigint"),
    ("integer", "bigint"),
    ("smallint", "numeric"),
    ("integer", "numeric"),
    ("bigint", "numeric"),
    ("real", "double precision"),
    ("character varying", "text"),
    ("bpchar", "text"),
    ("json", "text"),
}
"""Types that take every value of another one, without loss."""


def compare(registry: Registry, upstream: Catalog, rules: Policies, former: Former) -> list[Finding]:
    """Find what would keep shipped rows from being written upstream, table by table; ``former`` are names that were said there."""
    found: list[Finding] = []
    for name, registered in sorted(registry.tables.items()):
        found.extend(_of_table(registered, upstream, rules.of(name).on_skew, former))
    if registry.tables and not any(finding.severity is Severity.ERROR for finding in found):
        found.append(ok("tables_match", "upstream", f"all {len(registry.tables):,} tables are there, keys unique"))
    return found


def from_afar(registry: Registry, upstream: Catalog) -> Iterator[Finding]:
    """Find tables and columns that the upstream lacks, by what it says of them: of keys and types it tells less than it knows."""
    for _, registered in sorted(registry.tables.items()):
        there = upstream.table(registered.name)
        if there is None:
            what, remedy = (
                "there is no such table upstream",
                "migrate the upstream, or take the table out of dbsync.toml",
            )
            yield error("table_missing_upstream", str(registered.name), what, remedy)
        elif registered.mode is Mode.SHIP:
            yield from _of_missing(registered, there, OnSkew.PARK, Former())  # its own rules are not told


def _of_table(registered: RegisteredTable, upstream: Catalog, rule: OnSkew, former: Former) -> Iterator[Finding]:
    there = upstream.table(registered.name)
    where = str(registered.name)
    if there is None:
        what = f"there is no such table in {upstream.database}"
        yield error("table_missing_upstream", where, what, "migrate the upstream, or take the table out of dbsync.toml")
        return
    renamed = former.still_said(registered.table)
    for name, now in sorted(renamed.items()):
        what = f"'{name}' is called '{now}' upstream, and what is written into it here goes there"
        yield warning("column_renamed_upstream", where, what, "migrate the source when it is its turn")
    there = there.called({now: name for name, now in renamed.items()})
    yield from _of_key(registered, there)
    if registered.mode is Mode.SHIP:
        yield from _of_missing(registered, there, rule, former)
        yield from _of_travelling(registered, there)
        yield from _of_staying(registered, there)
        yield from _of_references(registered, there, upstream)


def _of_key(registered: RegisteredTable, there: Table) -> Iterator[Finding]:
    where = str(registered.name)
    if registered.mode is Mode.SHIP and not there.primary_key:
        remedy = f"ALTER TABLE {table(there.name)} ADD PRIMARY KEY (...);"
        yield error("primary_key_missing_upstream", where, "the table has no primary key upstream", remedy)
    columns = key_columns(registered)
    if not columns or any(there.column(name) is None for name in columns):
        return  # by row_id, or the missing column is said elsewhere
    if not is_unique(there, columns):
        quoted = ", ".join(identifier(column) for column in columns)
        yield error(
            "key_not_unique_upstream",
            where,
            f"the key ({', '.join(columns)}) has no unique index upstream",
            f"CREATE UNIQUE INDEX CONCURRENTLY ON {table(there.name)} ({quoted});",
        )


def key_columns(registered: RegisteredTable) -> tuple[str, ...]:
    """List the columns of a natural key in its own table; none for a key by row_id."""
    return tuple(
        column
        for part in registered.key.parts
        for column in ((part.column,) if isinstance(part, KeyColumn) else part.columns)
    )


def travelling(registered: RegisteredTable) -> tuple[str, ...]:
    """List the columns that are written upstream, as values or as references, in the table's order."""
    names = {
        *registered.values,
        *(column for reference in registered.references for column in reference.columns),
        *(generic.id_column for generic in registered.generics),
    }
    return tuple(column.name for column in registered.table.columns if column.name in names)


def _of_missing(registered: RegisteredTable, there: Table, rule: OnSkew, former: Former) -> Iterator[Finding]:
    """Find columns that the upstream has not, or not any more; those that rows are found by are never left out."""
    lacking = [name for name in travelling(registered) if there.column(name) is None]
    gone = [name for name in lacking if (registered.name, name) in former.dropped]
    left_out = {OnSkew.PARK: [], OnSkew.FOLLOW: gone, OnSkew.IGNORE: lacking}[rule]
    left_out = [name for name in left_out if name not in key_columns(registered)]
    where = str(registered.name)
    if left_out:
        what = f"{_columns(left_out)} in the source and not upstream, and left out there"
        yield warning("column_left_out", where, what, f'nothing, as on_skew = "{rule}" says; or migrate the source')
    missing = [name for name in lacking if name not in left_out]
    if missing:
        lists = ", ".join(f'"{name}"' for name in missing)
        what, remedy = f"{_columns(missing)} in the source and not upstream", "migrate the upstream"
        if set(missing).issubset(gone):
            what, remedy = f"{what} any more", 'migrate the source, or leave out what is dropped: on_skew = "follow"'
        yield error("column_missing_upstream", where, what, f"{remedy}, or keep them here: exclude = [{lists}]")


def _of_travelling(registered: RegisteredTable, there: Table) -> Iterator[Finding]:
    where = str(registered.name)
    for name in travelling(registered):
        here, other = registered.table.column(name), there.column(name)
        if here is None or other is None:
            continue
        if other.generated:
            what = f"'{name}' is computed upstream, and cannot be written there"
            yield error("column_generated_upstream", where, what, f'exclude = ["{name}"]')
        if name in registered.values:
            yield from _of_type(where, here, other)


def _of_type(where: str, here: Column, there: Column) -> Iterator[Finding]:
    """Compare types: the same, a wider one, a narrower one, or another."""
    if here.type == there.type or (here.cast, there.cast) in _WIDER:
        return
    types = f"'{here.name}' is {here.type} in the source and {there.type} upstream"
    if here.cast != there.cast:
        yield warning("type_differs_upstream", where, types, "values that have no place there go to quarantine")
    elif _is_narrower(there, here):
        yield warning("type_narrower_upstream", where, types, "values too large for it go to quarantine")


def _is_narrower(there: Column, here: Column) -> bool:
    """Compare modifiers such as ``(6,2)``: one is narrower with any smaller number, or with one where there is none."""
    ours, theirs = ([int(n) for n in _WIDTHS.findall(column.type.partition("(")[2])] for column in (here, there))
    if not theirs:
        return False
    if len(ours) != len(theirs):
        return True
    places = [*ours[1:], 0][0], [*theirs[1:], 0][0]
    return theirs[0] - places[1] < ours[0] - places[0] or places[1] < places[0]


def _of_staying(registered: RegisteredTable, there: Table) -> Iterator[Finding]:
    """Find upstream columns that no shipped row brings a value for."""
    where, brought = str(registered.name), {*travelling(registered)}
    extra = [column for column in there.columns if column.name not in brought and not column.generated]
    demanding = [column.name for column in extra if not column.nullable and not column.auto and not column.default]
    for name in demanding:
        if name in there.primary_key and registered.table.column(name) is not None:
            what = f"'{name}' is drawn from a sequence in the source, and upstream nothing draws one for new rows"
            remedy = (
                f"ALTER TABLE {table(there.name)} ALTER COLUMN {identifier(name)} ADD GENERATED BY DEFAULT AS IDENTITY;"
            )
            yield error("id_not_generated_upstream", where, what, remedy)
        else:
            what = f"'{name}' must not be null upstream, and no shipped row brings a value"
            remedy = f"ALTER TABLE {table(there.name)} ALTER COLUMN {identifier(name)} SET DEFAULT ...;"
            yield error("column_required_upstream", where, what, remedy)
    unknown = [c.name for c in extra if registered.table.column(c.name) is None and c.name not in demanding]
    if unknown:
        what = f"{_columns(unknown)} upstream and not in the source"
        yield warning("column_only_upstream", where, what, "they keep their defaults there; or migrate the source")


def _of_references(registered: RegisteredTable, there: Table, upstream: Catalog) -> Iterator[Finding]:
    """Find plain values that a constraint upstream takes for ids: shipped as they are, they would name other rows."""
    constrained = {column for key in registered.table.foreign_keys for column in key.columns}
    for key in there.foreign_keys:
        target = upstream.table(key.target)
        if target is None or len(key.columns) != 1 or key.columns[0] not in {*registered.values} - constrained:
            continue
        pointed = target.column(key.target_columns[0])
        if pointed is not None and pointed.auto:
            yield error(
                "reference_only_upstream",
                str(registered.name),
                f"'{key.columns[0]}' refers to {key.target} upstream, and is a plain number in the source",
                f'references = {{ {key.columns[0]} = "{key.target}" }}',
            )


def _columns(names: list[str]) -> str:
    return f"column {listed(names)} is" if len(names) == 1 else f"columns {listed(names)} are"
