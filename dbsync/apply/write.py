"""The statements that write one share: insert and update in one, deletes in another. Pure.

One statement sees one snapshot and takes the rows it found with it; what it could not resolve it reports and writes none
of; what somebody changed since that snapshot it leaves, and the counts tell. Where rows may refer to each other, or a
row's UUID is to be remembered, the ids of new rows are drawn first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from psycopg import sql

from dbsync.apply.judge import Judgement
from dbsync.apply.resolve import Found, coalesced, same, target_column, target_table
from dbsync.apply.share import Share
from dbsync.apply.typed import net, typed
from dbsync.apply.wish import Wish
from dbsync.keys.expression import Query, Sql, column_sql, filled, local_id, qualified, table_sql, text_array
from dbsync.model.catalog import Column
from dbsync.model.registration import KeyReference
from dbsync.statements import statement


def write_statement(share: Share) -> Query:
    """Compose the insert and the update of a share; it answers (kept out, updated, to be updated, troubles).

    Troubles are null, or one array of text a change that cannot be written now: tx, seq, why, the place of the reference
    that finds nothing, and the key it asked for. Then nothing of the segment may be kept.
    """
    judge = Judgement(share=share)
    drawn = drawn_columns(share)
    writes: list[Sql] = []
    after: Sql = sql.SQL("")
    known: Sql = sql.SQL("")
    if share.layout.keyed_by_row_id:
        writes.append(sql.SQL("dangling AS ({})").format(_forget_dangling(judge)))
        writes.append(sql.SQL("remembered AS ({})").format(_remember(judge, drawn)))
        after = sql.SQL("AND (SELECT count(*) FROM remembered) >= 0")
        known = sql.SQL("JOIN remembered r ON r.local_id = i.local_id")  # a trigger may have given it another id
    counted: dict[str, Sql] = {"inserted": sql.SQL("0"), "updated": sql.SQL("0")}
    wish = share.wish or Wish()
    if wish.inserts:
        writes.append(sql.SQL("inserted AS ({})").format(_insert(judge, drawn, after)))
        counted["inserted"] = sql.SQL("(SELECT count(*) FROM inserted i {})").format(known)
    updates = _updates(judge, wish) if judge.assignments else []
    writes += [sql.SQL("updated{} AS ({})").format(sql.Literal(i), update) for i, update in enumerate(updates)]
    if updates:
        counts = [sql.SQL("(SELECT count(*) FROM updated{})").format(sql.Literal(i)) for i, _ in enumerate(updates)]
        counted["updated"] = sql.SQL(" + ").join(counts)
    writes.append(sql.SQL("recorded AS ({})").format(judge.ledger()))
    return statement("apply", "write").format(
        **_judged(judge, drawn),
        writes=_listed(writes),
        absent=judge.absent,
        **counted,
        troubles=statement("apply", "troubles"),
    )


def wish_statement(share: Share) -> Query:
    """Compose the question what a share is to do; it answers as :class:`Wish` has it, without the watched columns."""
    judge = Judgement(share=share)
    changes = judge.changes(watched(share))
    said = sql.SQL("CASE WHEN bool_or(b.differs AND b.held IS NULL AND {}) THEN {} END")
    return statement("apply", "wishes").format(
        **_judged(judge, drawn_columns(share)),
        absent=judge.absent,
        other=_any(changes.values()),
        changed=text_array([said.format(change, sql.Literal(name)) for name, change in changes.items()]),
    )


def watched(share: Share) -> frozenset[str]:
    """Name the columns that triggers wait for to be named in an update."""
    return frozenset(column.name for column in share.table.columns if column.watched)


def absent_statement(share: Share) -> Query:
    """Compose the question how many rows of a share are to be inserted still: a trigger may have put them elsewhere."""
    judge = Judgement(share=share)
    return statement("apply", "count_absent").format(**_judged(judge, drawn_columns(share)), absent=judge.absent)


def _judged(judge: Judgement, drawn: list[str]) -> dict[str, Sql]:
    share = judge.share
    return {
        "net": net(share),
        "typed": typed(share),
        "bound": share.bound(judge.written, without_self=bool(drawn)),
        "more": _listed(_draw(share, drawn) if drawn else []),
        "judged": judge.judged(sql.Identifier("final" if drawn else "bound")),
    }


def delete_statement(share: Share) -> Query:
    """Compose the delete of a share's gone rows; it answers (deleted, to be deleted, troubles)."""
    judge = Judgement(share=share)
    return statement("apply", "delete").format(
        net=net(share),
        typed=typed(share),
        bound=share.bound(judge.written),
        judged=judge.judged(sql.Identifier("bound")),
        table=table_sql(share.table.name),
        doomed=judge.doomed,
        same_row=judge.same_row,
        more=_listed([sql.SQL("recorded AS ({})").format(judge.ledger())]),
        troubles=statement("apply", "troubles"),
    )


def forget_statement(share: Share) -> Query:
    """Compose what forgets the UUIDs of a share's gone rows; it answers nothing."""
    known = Found(joins=(), alias="k", tree=share.key)
    return statement("apply", "forget_row_keys").format(
        net=net(share),
        typed=typed(share),
        table=table_sql(share.table.name),
        same_row=sql.SQL(" AND ").join(
            same(column_sql("t", name), target_column(share.table, name), known.value(share.catalog, name))
            for name in share.table.primary_key
        ),
    )


def doom_statement(share: Share) -> Query:
    """Compose what locks a share's rows that are to be deleted, and notes where they stand.

    With row-level security they are locked before: a row that may be deleted and not updated cannot be, and is noted too.
    """
    judge = Judgement(share=share)
    return statement("apply", "doom").format(
        net=net(share),
        typed=typed(share),
        bound=share.bound(judge.written),
        judged=judge.judged(sql.Identifier("bound")),
        layout=sql.Literal(share.identity),
        table=table_sql(share.table.name),
        same_row=judge.same_row,
        doomed=judge.doomed,
        order=_by_primary_key(share),
        locked=sql.SQL("" if share.table.row_security else "FOR UPDATE OF t"),
    )


def lock_statement(share: Share) -> Query:
    """Compose what locks the rows that a share is about to change, in the order of their primary keys.

    The statement after it sees them as they are then, and nobody changes them any more.
    """
    judge = Judgement(share=share)
    return statement("apply", "lock").format(
        net=net(share),
        typed=typed(share),
        bound=share.bound(judge.written),
        judged=judge.judged(sql.Identifier("bound")),
        table=table_sql(share.table.name),
        same_row=judge.same_row,
        wanted=judge.doomed if share.deletes_only else sql.SQL("b.differs AND b.held IS NULL"),
        order=_by_primary_key(share),
        strength=sql.SQL("UPDATE" if share.deletes_only or share.renames else "NO KEY UPDATE"),
    )


def _by_primary_key(share: Share) -> Sql:
    return sql.SQL(", ").join(column_sql("t", name) for name in share.table.primary_key)


def _listed(parts: Sequence[Sql]) -> Sql:
    return sql.SQL("").join(sql.SQL(",\n{}").format(part) for part in parts)


def drawn_columns(share: Share) -> list[str]:
    """Give the columns whose values must be known before the rows are inserted; none for most tables."""
    wanted: list[str] = []
    for _, reference, _ in share.references:
        if share.is_self(reference):
            wanted += reference.target_columns
    if share.layout.keyed_by_row_id:
        wanted += share.table.primary_key
    return list(dict.fromkeys(wanted))


def _draw(share: Share, drawn: list[str]) -> list[Sql]:
    """Draw the ids of new rows, then resolve self-references among them."""
    ids = [
        sql.SQL("CASE WHEN b.found THEN {} ELSE {} END AS {}").format(
            _existing(share, column), _new_value(share, column), sql.Identifier(f"id{i}")
        )
        for i, column in enumerate(drawn, start=1)
    ]
    columns: list[Sql] = [sql.SQL("y.*")]
    joins: list[Sql] = []
    anchors: list[tuple[int, KeyReference, Sql]] = []
    for place, reference, _ in share.references:
        if not share.is_self(reference):
            continue
        found = share.resolve(reference, place)
        other = f"d{place}_0"
        joins += [*found.joins, _join_drawn(share, reference, place, other)]
        either = sql.SQL("coalesce({}::text, {}::text)").format(share.anchor(reference, place), column_sql(other, "tx"))
        anchors.append((place, reference, either))
        columns += [
            sql.SQL("coalesce({}, {}) AS {}").format(
                found.value(share.catalog, column),
                column_sql(other, f"id{drawn.index(column) + 1}"),
                sql.Identifier(f"f{place}_{i}"),
            )
            for i, column in enumerate(reference.target_columns, start=1)
        ]
    missing, asked = share.missing(anchors, sql.SQL("NOT y.found"))
    return [
        sql.SQL("drawn AS MATERIALIZED (SELECT b.*, {} FROM bound b ORDER BY b.first_seq)").format(
            sql.SQL(", ").join(ids)
        ),
        statement("apply", "final").format(
            columns=sql.SQL(", ").join(columns), joins=sql.SQL("\n").join(joins), missing=missing, asked=asked
        ),
    ]


def _join_drawn(share: Share, reference: KeyReference, place: int, alias: str) -> Sql:
    """Join the row of the same share that a self-reference means, by its own key's leaves."""
    same = [
        sql.SQL("{} = {}").format(own, leaf)
        for own, leaf in zip(share.own_leaves(alias), share.leaf_names("y", reference, place), strict=True)
    ]
    return sql.SQL("LEFT JOIN drawn {} ON NOT {} AND {}").format(
        sql.Identifier(alias), column_sql(alias, "gone"), sql.SQL(" AND ").join(same)
    )


def _existing(share: Share, column: str) -> Sql:
    if column in share.table.primary_key:
        return column_sql("b", f"e{share.table.primary_key.index(column) + 1}")
    return _new_value(share, column)


def _new_value(share: Share, column: str) -> Sql:
    """Say a column of a row that is new upstream: its value, a resolved reference, or a fresh id."""
    source = _sources(share).get(column)
    if source is not None:
        return source
    found = target_column(share.table, column)
    return _fresh(found) if found.sequence else sql.NULL


def _fresh(column: Column) -> Sql:
    """Draw a value that no row has."""
    if column.sequence:
        return _as(sql.SQL("pg_catalog.nextval({}::regclass)").format(sql.Literal(column.sequence)), column)
    return sql.SQL("pg_catalog.gen_random_uuid()")


def _sources(share: Share) -> dict[str, Sql]:
    """Give for each written column where its value comes from; a reference goes before a plain value."""
    sources: dict[str, Sql] = {}
    for place, column in share.values:
        if not column.generated:
            sources[column.name] = column_sql("b", f"v{place}")
    for place, generic, _ in share.generics:
        sources[generic.id_column] = column_sql("b", f"f{place}_1")
    for place, reference, _ in share.references:
        for i, name in enumerate(reference.columns, start=1):
            found = column_sql("b", f"f{place}_{i}")
            sources[name] = _or_stand_in(share, reference, place, i, found) if share.stands_in(reference) else found
    return sources


def _or_stand_in(share: Share, reference: KeyReference, place: int, i: int, found: Sql) -> Sql:
    """Say what a reference resolves to, or an id that no row has until the row that is meant has been written."""
    target = target_table(share.catalog, reference.target.table)
    return sql.SQL("coalesce({}, CASE WHEN {} IS NOT NULL THEN {} END)").format(
        found,
        coalesced(share.leaf_names("b", reference, place)),
        _fresh(target_column(target, reference.target_columns[i - 1])),
    )


def insert_columns(share: Share, drawn: Sequence[str] = ()) -> dict[str, Sql]:
    """Say the columns that a new row gets and their values, in the alias ``b``: the ``drawn`` ones among them."""
    sources = _sources(share)
    for i, column in enumerate(drawn, start=1):
        sources.setdefault(column, column_sql("b", f"id{i}"))
    return {
        "columns": sql.SQL(", ").join(sql.Identifier(name) for name in sources),
        "overriding": sql.SQL("OVERRIDING SYSTEM VALUE"),
        "values": sql.SQL(", ").join(sources.values()),
    }


def _insert(judge: Judgement, drawn: list[str], after: Sql) -> Sql:
    share = judge.share
    own = local_id(share.table.name.name, share.table.primary_key) if share.layout.keyed_by_row_id else sql.Literal(1)
    return statement("apply", "insert").format(
        told=own,
        table=table_sql(share.table.name),
        **insert_columns(share, drawn),
        absent=judge.absent,
        after=after,
        order=sql.SQL(", ").join(share.own_leaves("b")) if share.ordered else sql.SQL("b.first_seq"),
    )


def _updates(judge: Judgement, wish: Wish) -> list[Sql]:
    """Compose the updates of a share: of rows in which watched columns change, one of its own names those."""
    touched = _any(judge.changes(wish.watched).values())
    plain = _update(judge, wish.watched, sql.SQL("NOT {}").format(touched))
    naming = _update(judge, wish.watched - wish.changed, touched)
    return [*([plain] if wish.updates else []), *([naming] if wish.changed else [])]


def _any(conditions: Iterable[Sql]) -> Sql:
    return sql.SQL("({})").format(sql.SQL(" OR ").join([sql.SQL("false"), *conditions]))


def _update(judge: Judgement, left_out: AbstractSet[str], wanted: Sql) -> Sql:
    return statement("apply", "update").format(
        table=table_sql(judge.share.table.name),
        assignments=sql.SQL(", ").join(
            filled("{} = {}", sql.Identifier(a.name), judge.wanted(a, column_sql("t", a.name)))
            for a in judge.assignments
            if a.name not in left_out
        ),
        wanted=wanted,
        same_row=judge.same_row,
    )


def _forget_dangling(judge: Judgement) -> Sql:
    return statement("apply", "forget_dangling_row_keys").format(absent=judge.absent, leaf=sql.Identifier("own_key"))


def _remember(judge: Judgement, drawn: list[str]) -> Sql:
    share = judge.share
    ids = [
        sql.SQL("{}::pg_catalog.text").format(column_sql("b", f"id{drawn.index(column) + 1}"))
        for column in share.table.primary_key
    ]
    local = ids[0] if len(ids) == 1 else sql.SQL("ARRAY[{}]::pg_catalog.text").format(sql.SQL(", ").join(ids))
    return statement("apply", "remember_row_keys").format(
        relation=sql.Literal(qualified(share.table.name)),
        local_id=local,
        leaf=sql.Identifier("own_key"),
        absent=judge.absent,
    )


def _as(value: Sql, column: Column) -> Sql:
    return sql.SQL("({})::{}").format(value, sql.SQL(column.cast))
