"""Generic references in the rows: to which models they point, and whether anybody can say what row that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from psycopg import sql

from dbsync.check.finding import error
from dbsync.check.side import Session, unseen
from dbsync.keys.expression import Query, column_sql, flatten, table_sql, text_array
from dbsync.keys.problems import in_config
from dbsync.model.catalog import Catalog
from dbsync.model.findings import Finding
from dbsync.model.names import TableName
from dbsync.model.registration import GenericReference, KeyReference, RegisteredTable
from dbsync.statements import statement

READ = 100_000
"""Rows that are looked through where no index says which models occur."""
_STEP = "then: dbsync install-triggers"


def of_generics(session: Session, registered: RegisteredTable, catalog: Catalog) -> Iterator[Finding]:
    """Find models that rows of a table point to and that no registered table stands for.

    Capture cannot say which row is meant, so such a change waits upstream.
    """
    for generic in registered.generics:
        kind = next((r for r in registered.references if r.columns == (generic.type_column,)), None)
        if kind is None:
            continue  # it is said elsewhere that nothing tells the model
        row = session.execute(
            statement("health", "leading_index"),
            {"schema": registered.name.schema, "name": registered.name.name, "column": generic.type_column},
        ).fetchone()
        if row is None or not row[3]:
            yield unseen("source", f"which models {registered.name} points to (this role may not read it)")
            continue
        by_index, rows, _, _ = row
        exact = by_index or rows <= READ
        if by_index:  # where nearly all rows point to one model the planner hopes to meet the others soon
            session.execute(statement("retention", "by_index"))
        query = _pointed_to(registered.name, generic, kind, catalog, exact=exact)
        for (label,) in session.execute(query).fetchall():
            yield _unregistered(registered.name, generic, label, catalog, exact=exact)


def _pointed_to(
    name: TableName, generic: GenericReference, kind: KeyReference, catalog: Catalog, *, exact: bool
) -> Query:
    flat = flatten(kind.target, "t", catalog)
    common = {
        "leaves": text_array(flat.leaves),
        "joins": sql.SQL(" ").join(flat.joins),
        "identity": column_sql("t", kind.target_columns[0]),
        "types": table_sql(kind.target.table),
        "known": sql.Literal(sorted(generic.targets)),
    }
    if exact:
        return statement("health", "types_referred_to").format(
            **common, table=table_sql(name), column=sql.Identifier(generic.type_column)
        )
    place = {"schema": name.schema, "name": name.name, "attribute": generic.type_column}
    return statement("health", "common_types").format(**common, **{k: sql.Literal(v) for k, v in place.items()})


def _unregistered(name: TableName, generic: GenericReference, label: str, catalog: Catalog, *, exact: bool) -> Finding:
    about = "" if exact else " (told from statistics)"
    what = f"rows point to {label} by '{generic.id_column}', and no registered table is that model's{about}"
    meant = _tables_called(label, catalog)
    if meant:
        remedy = in_config(meant[0], f'mode = "lookup"   # or without a mode, to ship it; {_STEP}')
    else:
        pair = f'type = "{generic.type_column}", id = "{generic.id_column}"'
        remedy = in_config(name, f'generic = [{{ {pair}, targets = {{ "{label}" = "ITS TABLE" }} }}]   # {_STEP}')
    return error("generic_unregistered", str(name), what, remedy)


def _tables_called(label: str, catalog: Catalog) -> Sequence[TableName]:
    wanted = label.replace(".", "_")
    return [name for name in sorted(catalog.tables) if name.name == wanted]
