"""The statements by which a trigger writes changes into the change log. Pure: composed here, run by PostgreSQL.

A statement is said in one of three forms. *static*: the table is what it was at installation. *drifted*: its columns
are filled in by ``dbsync.drifted`` from the table as it is now, and with them foreign keys that came since. *unkeyed*:
something its key runs through is gone too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from psycopg import sql

from dbsync.capture.again import found_or_again
from dbsync.keys.expression import (
    Sql,
    column_sql,
    local_id,
    null_array,
    qualified,
    reference_key,
    row_key_of,
    text_array,
    text_of,
)
from dbsync.model.catalog import Catalog
from dbsync.model.layout import Layout
from dbsync.model.registration import GenericReference, KeyColumn, KeyReference, RegisteredTable
from dbsync.statements import statement

NOTHING = sql.SQL("")
BACKFILL = "B"
NO_LEAVES = sql.SQL("NULL::pg_catalog.text[]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How one table's statements are said."""

    table: RegisteredTable
    catalog: Catalog
    drifted: bool = False
    keyed: bool = True
    repeats: bool = False
    """It runs in a trigger: beside its function there is one that looks a key up once more."""

    @property
    def layout(self) -> Layout:
        """Give the layout its changes have (for a drifted form: what its columns are filled into)."""
        layout = Layout.of(self.table)
        return layout if self.keyed else replace(layout, references=(), generics=(), key=None)

    def layout_id(self) -> Sql:
        """Say the layout's id."""
        return sql.SQL("<<layout>>") if self.drifted else sql.Literal(self.layout.identity)

    def image(self, alias: str) -> Sql:
        """Say the image of a row."""
        if self.drifted:
            return sql.SQL("ARRAY[{}]::pg_catalog.text[]").format(sql.SQL(f"<<{alias}.texts>>"))
        columns = (self.table.table.column(name) for name in self.table.values)
        return text_array([text_of(alias, column) for column in columns if column is not None])

    def compared(self, alias: str) -> Sql:
        """Say all that makes an update an update: values, the columns behind references, and the id that others are behind."""
        if self.drifted:
            values: Sql = sql.SQL(f"<<{alias}.columns>>")  # brings its own commas
        else:
            values = NOTHING.join(sql.SQL("{}, ").format(column_sql(alias, name)) for name in self.table.values)
        here = dict.fromkeys((*referring_columns(self.table), *self.table.table.primary_key))
        behind = _columns(alias, [name for name in here if name not in self.table.values]) if self.keyed else sql.NULL
        return sql.SQL("{}{}").format(values, behind)

    def added(self, piece: str) -> Sql:
        """Leave a place for what foreign keys that came since the installation add to a statement."""
        return sql.SQL(f"<<{piece}>>") if self.drifted and self.keyed else NOTHING

    @property
    def elsewhere(self) -> Sql:
        """Say whether any reference of an updated row changed."""
        if self.drifted:
            return sql.SQL("e.elsewhere")
        return _refers_elsewhere(self.table)

    def identity(self, alias: str) -> Sql:
        """Say the row's local id; null for a table without a primary key."""
        key = self.table.table.primary_key
        return local_id(alias, key) if key and self.keyed else sql.NULL


def log_insert(form: Form, *, op: str = "I", rows: Sql | None = None) -> Sql:
    """Log every row of ``new_rows`` (or of ``rows``) as an insert, or as another operation with a new image."""
    return _log_rows(form, op, sql.Identifier("new_rows") if rows is None else rows, form.table.references)


def log_delete(form: Form, *, rows: Sql | None = None) -> Sql:
    """Log every row of ``old_rows`` (or of ``rows``) as a delete; only what its key needs is looked up."""
    return _log_rows(form, "D", sql.Identifier("old_rows") if rows is None else rows, _key_references(form.table))


def log_update(form: Form) -> Sql:
    """Log every row that one UPDATE changed."""
    table = form.table
    looked_up = table.references if form.keyed else ()
    return statement("capture", "log_update").format(
        layout=form.layout_id(),
        image=form.image("n"),
        old_image=form.image("o"),
        renames=_differs(key_columns(table)) if form.keyed else sql.SQL("false"),
        refs=_refs(form, "n", looked_up),
        old_refs=_case(form.elsewhere, _refs(form, "o", looked_up)) if form.keyed else NO_LEAVES,
        local_id=form.identity("n"),
        old_local_id=_case(_differs(table.table.primary_key), form.identity("o")) if form.keyed else sql.NULL,
        unresolved=_unresolved(form, looked_up, both=True),
        lookups=_lookups(form, looked_up, both=True),
        wanted=statement("capture", "wanted"),
        compared_old=form.compared("o"),
        compared_new=form.compared("n"),
    )


def row_key_statements(table: RegisteredTable, event: str) -> list[Sql]:
    """Give what keeps ``dbsync.row_key`` true on an event; nothing for a table with a natural key."""
    if not table.key.row_id:
        return []
    blocks = {"INSERT": "new_row_keys", "UPDATE": "moved_row_keys", "DELETE": "gone_row_keys"}
    own = local_id("n", table.key.row_id)
    return [
        statement("capture", blocks[event]).format(
            relation=sql.Literal(qualified(table.name)),
            local_id=own,
            pairs=statement("capture", "row_pairs").format(local_id=own, old_local_id=local_id("o", table.key.row_id)),
            rows=sql.Identifier("new_rows"),
        )
    ]


def forget_row_keys(table: RegisteredTable) -> Sql:
    """Say within the function behind TRUNCATE that the rows which go take their UUIDs along.

    A whole table's go by its name: for that nothing about it needs to be what it was.
    """
    if table.table.kind != "partitioned":
        return statement("capture", "all_row_keys").format(relation=sql.Literal(qualified(table.name)))
    (gone,) = row_key_statements(table, "DELETE")
    return statement("capture", "execute_of_these").format(statement=sql.Literal(gone.as_string(None)))


def key_columns(table: RegisteredTable) -> tuple[str, ...]:
    """Give the table's own columns that its natural key is made of."""
    found: list[str] = []
    for part in table.key.parts:
        found.extend((part.column,) if isinstance(part, KeyColumn) else part.columns)
    return tuple(dict.fromkeys(found))


def referring_columns(table: RegisteredTable) -> tuple[str, ...]:
    """Give the columns that hold local ids of other rows."""
    columns = [column for reference in table.references for column in reference.columns]
    return tuple(dict.fromkeys([*columns, *(generic.id_column for generic in table.generics)]))


def _log_rows(form: Form, op: str, rows: Sql, references: Sequence[KeyReference]) -> Sql:
    looked_up = references if form.keyed else ()
    return statement("capture", "log_insert").format(
        layout=form.layout_id(),
        op=sql.Literal(op),
        image=form.image("n"),
        refs=_refs(form, "n", looked_up, gone=op == "D"),
        local_id=form.identity("n"),
        unresolved=_unresolved(form, looked_up, gone=op == "D"),
        rows=rows,
        lookups=_lookups(form, looked_up, gone=op == "D"),
        wanted=sql.SQL("true") if op == BACKFILL else statement("capture", "wanted"),
    )


def _key_references(table: RegisteredTable) -> tuple[KeyReference, ...]:
    return tuple(part for part in table.key.parts if not isinstance(part, KeyColumn))


def _lookups(form: Form, references: Sequence[KeyReference], *, both: bool = False, gone: bool = False) -> Sql:
    """Look up each reference of the new row as ``r``; of ``both`` rows, the old one as ``o`` where it is another.

    Of a row that is ``gone`` none is looked up that is new to the triggers: it is in no key.
    """
    generics = () if gone or not form.keyed else form.table.generics
    found = _looked_up(form, references, generics, both=both) if references or generics else NOTHING
    if gone or not (form.drifted and form.keyed):
        return found
    if not both:
        return found + form.added("n.lookups")
    told = sql.SQL(" CROSS JOIN LATERAL (SELECT ({}{}) AS elsewhere OFFSET 0) e").format(
        _refers_elsewhere(form.table), form.added("differ")
    )
    return found + form.added("lookups") + told


def _looked_up(
    form: Form, references: Sequence[KeyReference], generics: Sequence[GenericReference], *, both: bool
) -> Sql:
    places = {reference: i for i, reference in enumerate(form.table.references)}
    expressions: list[Sql] = []
    differences: list[Sql] = []
    for reference in references:
        place = _place(places, reference)
        expressions.append(_named(_key(form, reference, place, "n"), f"r{place}"))
        if both:
            differs = sql.Identifier("d", f"d{place}")
            differences.append(_named(_differs(reference.columns), f"d{place}"))
            expressions += [differs, _named(_case(differs, _key(form, reference, place, "o")), f"o{place}")]
    expressions += [_named(_generic(generic, "n"), f"g{i}") for i, generic in enumerate(generics)]
    told = sql.SQL("FROM (SELECT {} OFFSET 0) d").format(sql.SQL(", ").join(differences)) if differences else NOTHING
    return statement("capture", "lookup").format(expressions=sql.SQL(", ").join(expressions), told=told)


def _key(form: Form, reference: KeyReference, place: int, alias: str) -> Sql:
    """Look up what a reference means; where a trigger finds nothing, once more."""
    key = reference_key(reference, alias, form.catalog)
    return found_or_again(key, reference, place, alias, table=form.table) if form.repeats else key


def _place(places: dict[KeyReference, int], reference: KeyReference) -> int:
    """Find a reference among the table's own: a key's reference is one of them, told by its columns."""
    return next(i for known, i in places.items() if known.columns == reference.columns)


def _refs(form: Form, alias: str, looked_up: Sequence[KeyReference], *, gone: bool = False) -> Sql:
    """Concatenate the leaves of all references; those not looked up stay null, for a row that is ``gone`` all but its key's.

    One that is gone before it was given a UUID goes under one that nobody knows: upstream has never heard of it.
    """
    if not form.keyed:
        return NO_LEAVES
    table = form.table
    parts: list[Sql] = []
    if table.key.row_id:
        own = row_key_of(table.name, local_id("n", table.key.row_id))
        unknown = sql.SQL("coalesce({}, pg_catalog.gen_random_uuid()::pg_catalog.text)").format(own)
        parts.append(text_array([unknown if gone else own]))
    known = {reference.columns for reference in looked_up}
    for i, reference in enumerate(table.references):
        nulls = null_array(reference.width)
        parts.append(_leaves_or(_found(alias, i), nulls, reference) if reference.columns in known else nulls)
    if form.drifted:
        parts.append(NO_LEAVES + form.added("no.refs" if gone else f"{alias}.refs"))  # no leaves change no array
    for i, generic in enumerate(table.generics):
        found = _generic(generic, alias) if alias == "o" else _pointed_to(i)
        parts.append(null_array(2) if gone else found)
    return sql.SQL(" || ").join(parts) if parts else NO_LEAVES


def _pointed_to(place: int) -> Sql:
    """Say what a generic reference of the new row was found to point to."""
    return sql.Identifier("q", f"g{place}")


def _found(alias: str, place: int) -> Sql:
    """Say the key that a reference was found to mean; that of the old row is looked up only where it is another."""
    new = sql.Identifier("q", f"r{place}")
    if alias == "n":
        return new
    return sql.SQL("CASE WHEN {} THEN {} ELSE {} END").format(
        sql.Identifier("q", f"d{place}"), sql.Identifier("q", f"o{place}"), new
    )


def _refers_elsewhere(table: RegisteredTable) -> Sql:
    """Say whether any reference of an updated row changed."""
    changed: list[Sql] = [sql.Identifier("q", f"d{i}") for i, _ in enumerate(table.references)]
    changed += [_differs((generic.id_column,)) for generic in table.generics]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(changed)) if changed else sql.SQL("false")


def _leaves_or(found: Sql, nulls: Sql, reference: KeyReference) -> Sql:
    """Say a reference's elements: what was found, with room for a gone row's UUID behind a soft one, or nulls."""
    if reference.soft:
        return sql.SQL("CASE WHEN {0} IS NULL THEN {1} ELSE {0} || {2} END").format(found, nulls, null_array(1))
    return sql.SQL("coalesce({}, {})").format(found, nulls)


def _generic(generic: GenericReference, alias: str) -> Sql:
    """Say the table and the key that a content type and an object id point to; an empty key where it could not be told."""
    cases = [
        sql.SQL("WHEN {} THEN {}").format(sql.Literal(model), sql.Literal(qualified(tree.table)))
        for model, tree in sorted(generic.targets.items())
    ]
    untold = sql.SQL("CASE WHEN {} IS NOT NULL THEN '{{}}' END").format(column_sql(alias, generic.id_column))
    if not cases:
        return sql.SQL("ARRAY[NULL, {}]::pg_catalog.text[]").format(untold)
    return sql.SQL(
        "(SELECT ARRAY[g.target, coalesce(dbsync.key_of(g.target, {id}::pg_catalog.text)::pg_catalog.text, {untold})]"
        " FROM (SELECT (SELECT CASE c.app_label || '.' || c.model {cases} END FROM {types} c WHERE c.id = {type}) AS target) g)"
    ).format(
        id=column_sql(alias, generic.id_column),
        untold=untold,
        cases=sql.SQL(" ").join(cases),
        types=sql.Identifier("public", "django_content_type"),
        type=column_sql(alias, generic.type_column),
    )


def _unresolved(form: Form, references: Sequence[KeyReference], *, both: bool = False, gone: bool = False) -> Sql:
    """Say the local ids of references that gave no key, one element a reference; null where all did.

    For an update those of the old row follow (``both``), where any reference changed: then all that it referred to is told.
    Generic ones come last, behind both rows, of the new row only, and only into tables that are known.
    """
    if not form.keyed:
        return sql.SQL("ARRAY[]::pg_catalog.text[]")
    missing: list[Sql] = [sql.SQL("false")] if form.drifted else []
    rows: list[Sql] = []
    for alias in ("n", "o")[: 1 + both]:
        lost, elements = _lost(form, references, alias)
        missing += lost
        rows.append(text_array(elements) + form.added("no.ids" if gone else f"{alias}.ids"))
    if form.table.generics and not gone:
        lost, elements = _lost_generics(form.table.generics)
        missing += lost
        if not both:
            rows.append(text_array([sql.NULL] * len(form.table.references)) + form.added("no.ids"))
        rows.append(text_array(elements))
    if not missing:
        return sql.NULL
    added = NOTHING if gone else form.added("n.lost") + (form.added("o.lost") if both else NOTHING)
    return _case(sql.SQL(" OR ").join(missing) + added, sql.SQL(" || ").join(rows))


def _lost(form: Form, references: Sequence[KeyReference], alias: str) -> tuple[list[Sql], list[Sql]]:
    """Say of one of the rows which references gave no key, and the local ids of those."""
    known = {reference.columns for reference in references}
    conditions: list[Sql] = []
    elements: list[Sql] = []
    for i, reference in enumerate(form.table.references):
        if reference.columns not in known:
            elements.append(sql.NULL)
            continue
        given: list[Sql] = [form.elsewhere] if alias == "o" else []
        given += [sql.SQL("{} IS NOT NULL").format(column_sql(alias, c)) for c in reference.columns]
        lost = sql.SQL("({} AND {} IS NULL)").format(sql.SQL(" AND ").join(given), _found(alias, i))
        conditions.append(lost)
        elements.append(_case(lost, local_id(alias, reference.columns)))
    return conditions, elements


def _lost_generics(generics: Sequence[GenericReference]) -> tuple[list[Sql], list[Sql]]:
    """Say of the new row which generic references gave no key though their table is known, and the ids of those."""
    conditions: list[Sql] = [
        sql.SQL("({0}[1] IS NOT NULL AND {0}[2] OPERATOR(pg_catalog.=) '{{}}')").format(_pointed_to(i))
        for i, _ in enumerate(generics)
    ]
    ids = [sql.SQL("{}::pg_catalog.text").format(column_sql("n", generic.id_column)) for generic in generics]
    return conditions, [_case(*lost) for lost in zip(conditions, ids, strict=True)]


def _differs(columns: Sequence[str]) -> Sql:
    if not columns:
        return sql.SQL("false")
    return sql.SQL("pg_catalog.record_image_ne(ROW({}), ROW({}))").format(
        _columns("o", columns), _columns("n", columns)
    )


def _named(value: Sql, name: str) -> Sql:
    return sql.SQL("{} AS {}").format(value, sql.Identifier(name))


def _columns(alias: str, columns: Sequence[str]) -> Sql:
    return sql.SQL(", ").join(column_sql(alias, c) for c in columns) if columns else sql.NULL


def _case(condition: Sql, value: Sql) -> Sql:
    return sql.SQL("CASE WHEN {} THEN {} END").format(condition, value)
