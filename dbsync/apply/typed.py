"""A share's rows as they were staged: reduced to one a row of the source, and read by their types' input functions. Pure."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from psycopg import sql

from dbsync.apply.resolve import target_column, typed_leaves
from dbsync.apply.share import RANGE, Share
from dbsync.keys.expression import Query, Sql, column_sql, filled, named, qualified, settled, value_of
from dbsync.model.layout import LayoutGeneric
from dbsync.model.registration import KeyColumn, KeyTree
from dbsync.statements import statement

DIFFER = sql.SQL("{} IS DISTINCT FROM {}")


class Rows(NamedTuple):
    """Of how many rows of the source some changes are, and whether each of them is entered by the first of its changes."""

    number: int
    all_new: bool


def net(share: Share) -> Sql:
    """Compose the net rows."""
    said = {"layout": sql.Literal(share.identity), "range": RANGE}
    if not share.reduce:
        return statement("apply", "parsed").format(**said)
    leaves = _key_leaves(share, sql.SQL("s.image"), sql.SQL("s.refs"))
    names = [f"k{i}" for i, _ in enumerate(leaves, start=1)]
    return statement("apply", "reduced").format(
        named_key=sql.SQL(", ").join(named(leaf, name) for leaf, name in zip(leaves, names, strict=True)),
        key=sql.SQL(", ").join(column_sql("s", name) for name in names),
        **said,
    )


def last_of_new(share: Share) -> Sql:
    """Compose the net rows where each row of the source is entered by its first change."""
    return statement("apply", "last_of_new").format(**_by_key(share))


def rows_statement(share: Share, *, may_begin: bool) -> Query:
    """Compose the question that :class:`Rows` answers; ``may_begin`` says that it may be so."""
    return statement("apply", "rows").format(
        said=statement("apply", "begins") if may_begin else sql.SQL(""),
        new=statement("apply", "all_new") if may_begin else sql.SQL("false"),
        **_by_key(share),
    )


def _by_key(share: Share) -> dict[str, Sql]:
    leaves = _key_leaves(share, sql.SQL("s.image"), sql.SQL("s.refs"))
    return {"key": sql.SQL(", ").join(leaves), "layout": sql.Literal(share.identity), "range": RANGE}


def typed(share: Share) -> Sql:
    """Compose the typed rows."""
    columns: list[Sql] = [
        sql.SQL("n.tx, n.seq, n.first_seq, n.first_op, n.whole, n.gone, coalesce(n.unknown, false) AS unknown")
    ]
    columns += [named(value_of(_element("n.image", place), column), f"v{place}") for place, column in share.values]
    if share.layout.keyed_by_row_id:
        columns.append(sql.SQL("n.refs[1]::pg_catalog.uuid AS own_key"))
    for place, reference, first in share.references:
        columns += _leaves(share, reference.target, "n.refs", first, f"l{place}")
        columns.append(named(sql.SQL("coalesce(n.lost[{}], false)").format(sql.Literal(place)), f"lost{place}"))
        if reference.soft:
            uuid = sql.SQL("{}::pg_catalog.uuid").format(_element("n.refs", first + reference.target.width))
            columns.append(named(uuid, f"departed{place}"))
    for place, generic, first in share.generics:
        columns += _generic_leaves(share, generic, first, place)
    columns += [*_differences(share), *_before(share)] if share.updates else []
    columns += [sql.SQL("n.image, n.old_image")] if share.updates and share.wide else []
    columns += _old_key(share) if share.renames else []
    return statement("apply", "typed").format(columns=sql.SQL(", ").join(columns))


def _leaves(share: Share, tree: KeyTree, array: str, first: int, name: str) -> list[Sql]:
    leaves = typed_leaves(tree, share.catalog, sql.SQL(array), first)  # one of our own names
    return [named(leaf, f"{name}_{i}") for i, leaf in enumerate(leaves, start=1)]


def _generic_leaves(share: Share, generic: LayoutGeneric, first: int, place: int) -> list[Sql]:
    columns: list[Sql] = [
        named(_element("n.refs", first), f"gt{place}"),
        named(_element("n.refs", first + 1), f"gk{place}"),
    ]
    key = sql.SQL("({}::pg_catalog.text[])").format(_element("n.refs", first + 1))
    columns.append(named(_departed(generic, key, first), f"departed{place}"))
    for i, tree in enumerate(generic.targets, start=1):
        if share.catalog.table(tree.table) is None:
            continue
        for j, leaf in enumerate(typed_leaves(tree, share.catalog, key, 1), start=1):
            mine = sql.SQL("CASE WHEN {} = {} THEN {} END").format(
                _element("n.refs", first), sql.Literal(qualified(tree.table)), leaf
            )
            columns.append(named(mine, f"g{place}_{i}_{j}"))
    return columns


def _departed(generic: LayoutGeneric, key: Sql, first: int) -> Sql:
    """Say the UUID that stands for a gone row, behind its key."""
    behind = [
        sql.SQL("WHEN {} THEN {}").format(sql.Literal(qualified(tree.table)), sql.Literal(tree.width + 1))
        for tree in generic.targets
    ]
    if not behind:
        return sql.SQL("NULL::pg_catalog.uuid")
    place = sql.SQL("CASE {} {} END").format(_element("n.refs", first), sql.SQL(" ").join(behind))
    return sql.SQL("{}[{}]::pg_catalog.uuid").format(key, place)


@cache
def _difference(place: int) -> Sql:
    """Say whether an update changed a value."""
    old, new = _element("n.old_image", place), _element("n.image", place)
    return settled(named(DIFFER.format(old, new), f"d{place}"))


def _differences(share: Share) -> list[Sql]:
    """Say for each value and reference whether an update changed it."""
    columns = [_difference(place) for place, _ in (() if share.wide else share.values)]
    for place, reference, first in share.references:
        old, new = _slice("n.old_refs", first, reference.width), _slice("n.refs", first, reference.width)
        changed = sql.SQL("({} OR coalesce(n.unknown, false) AND {} IS NULL)").format(
            DIFFER.format(old, new), _element("n.refs", first)
        )
        columns.append(named(changed, f"dl{place}"))
    for place, _, first in share.generics:
        columns.append(named(DIFFER.format(_slice("n.old_refs", first, 2), _slice("n.refs", first, 2)), f"dl{place}"))
    return columns


def _before(share: Share) -> list[Sql]:
    """Read what each value and reference was before, where it was changed."""
    columns: list[Sql] = []
    for place, column in share.values:
        old, new = _element("n.old_image", place), _element("n.image", place)
        if not share.wide:
            columns.append(named(_where_other(old, new, value_of(old, column)), f"b{place}"))
        if column.name in share.moved:
            columns.append(named(value_of(_element("n.first_image", place), column), f"a{place}"))
    for place, reference, first in () if share.deletes_only else share.references:
        leaves = typed_leaves(reference.target, share.catalog, sql.SQL("n.old_refs"), first)
        old, new = _slice("n.old_refs", first, reference.width), _slice("n.refs", first, reference.width)
        for i, leaf in enumerate(leaves, start=1):
            columns.append(named(_where_other(old, new, leaf), f"bl{place}_{i}"))
    return columns


def _old_key(share: Share) -> list[Sql]:
    columns: list[Sql] = []
    for part in share.key.parts:
        if isinstance(part, KeyColumn):
            place = share.image_place(part.column)
            old = value_of(_element("n.old_image", place), target_column(share.table, part.column))
            columns.append(named(old, f"ov{place}"))
        else:
            place, reference = share.key_reference(part)
            first = next(first for p, _, first in share.references if p == place)
            columns += _leaves(share, reference.target, "n.old_refs", first, f"ol{place}")
    return columns


def _key_leaves(share: Share, image: Sql, refs: Sql) -> list[Sql]:
    """Read the row's own key out of a change, typed."""
    if share.layout.keyed_by_row_id:
        return [sql.SQL("{}[1]::pg_catalog.uuid").format(refs)]
    leaves: list[Sql] = []
    for part in share.key.parts:
        if isinstance(part, KeyColumn):
            text = sql.SQL("{}[{}]").format(image, sql.Literal(share.image_place(part.column)))
            leaves.append(value_of(text, target_column(share.table, part.column)))
        else:
            place, reference = share.key_reference(part)
            first = {p: f for p, _, f in share.references}[place]
            leaves += typed_leaves(reference.target, share.catalog, refs, first)
    return leaves


def _where_other(old: Sql, new: Sql, value: Sql) -> Sql:
    return filled("CASE WHEN {} IS DISTINCT FROM {} THEN {} END", old, new, value)


@cache
def _element(array: str, place: int) -> Sql:
    return settled(sql.SQL("{}[{}]").format(sql.SQL(array), sql.Literal(place)))  # one of our own names


def _slice(array: str, first: int, width: int) -> Sql:
    return sql.SQL("{}[{}:{}]").format(
        sql.SQL(array),  # one of our own names
        sql.Literal(first),
        sql.Literal(first + width - 1),
    )
