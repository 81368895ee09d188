"""What a change takes the upstream's row for, beside what it is: conflicts, found set-based. Pure: it composes SQL.

Somebody else changed a column meanwhile when upstream holds there neither what the source had before nor what it has
now. So two nodes that change different columns of one row are in no conflict, and both win. (PostgreSQL 18 tells
update_origin_differs by who wrote the row last; by values, nobody has to remember that.)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from psycopg import sql

from dbsync.apply.resolve import coalesced, look_up, same, target_column
from dbsync.apply.share import RANGE, Share
from dbsync.keys.expression import Sql, column_sql, filled, qualified, settled, table_sql, text_array, text_sql
from dbsync.model.batch import Op
from dbsync.model.catalog import Column
from dbsync.model.layout import LayoutGeneric
from dbsync.model.names import TableName
from dbsync.model.policy import Conflict, OnConflict, OnDelete
from dbsync.model.registration import KeyReference
from dbsync.statements import statement

FALSE = sql.SQL("false")
CLOCK = sql.SQL("<<clock>>")
"""Stands for whether the source's clock can be believed."""
GIVEN_BACK = sql.SQL("<<given back>>")
"""Stands for what lets triggers find names as everybody does (:mod:`dbsync.apply.path`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A column to bring up to date: when the source changed it, to what, and from what where that is known."""

    name: str
    changed: Sql
    value: Sql
    before: Sql | None = None
    """None where it cannot be known: then nobody asks whether others changed it."""
    known: Sql | None = None
    """Whether ``before`` says anything, row by row; None is always."""
    late: bool = False
    points_to: tuple[TableName, str] | None = None
    """Of a reference that must be set: the table and the column that it points to."""
    moved: Sql | None = None
    """What the first of several changes made of it, where a constraint upstream does the same by itself."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """How the rows of a share, in the alias ``b``, are held against the rows they were found to be."""

    share: Share

    @cached_property
    def assignments(self) -> list[Assignment]:
        """Give the columns that may be written on a row that is there."""
        share = self.share
        found: dict[str, Assignment] = {}
        for place, column in share.values:
            if not (column.generated or column.always or column.name in share.layout.insert_only):
                found[column.name] = self._value(place, column)
        for place, generic, _ in () if share.deletes_only else share.generics:
            found[generic.id_column] = self._generic(place, generic)
        for place, reference, _ in () if share.deletes_only else share.references:
            if reference.target.table not in share.late:
                found.update({a.name: a for a in self._reference(place, reference)})
        wanted = list(found.values())
        return [a for a in wanted if a.late] if share.catch_up else wanted

    @cached_property
    def written(self) -> list[str]:
        """Name the columns whose values upstream are looked at."""
        return [assignment.name for assignment in self.assignments]

    def judged(self, rows: Sql) -> Sql:
        """Compose the judged rows."""
        return statement("apply", "judged").format(
            rows=rows,
            differs=self._differs(),
            clash=self._clash(),
            newer=self._newer(),
            held=self._held(),
            given_back=GIVEN_BACK,
        )

    def wanted(self, assignment: Assignment, current: Sql) -> Sql:
        """Say what a column is to hold: the source's value where it changed it and wins."""
        wins = assignment.changed
        if self._rule in (OnConflict.UPSTREAM, OnConflict.NEWEST):
            newer = sql.SQL("b.newer") if self._rule is OnConflict.NEWEST else FALSE
            wins = filled("({} AND ({} OR NOT {}))", wins, newer, self._conflicts[assignment.name])
        return self._typed(_case(wins, assignment.value, current), assignment.name)

    def changes(self, names: Collection[str]) -> dict[str, Sql]:
        """Say of each of some columns that a row is to get another value there."""
        asked = [assignment for assignment in self.assignments if assignment.name in names]
        return {
            a.name: _other([self._typed(self._current(a), a.name)], [self.wanted(a, self._current(a))]) for a in asked
        }

    @property
    def absent(self) -> Sql:
        """Say that a row is to be inserted."""
        if self.share.catch_up:
            return FALSE
        condition = sql.SQL("NOT b.gone AND NOT b.found AND b.held IS NULL")
        if self._rule is OnConflict.UPSTREAM:  # a row that is gone upstream stays gone
            return sql.SQL("{} AND b.whole").format(condition)
        return condition

    @property
    def doomed(self) -> Sql:
        """Say that a row is to be deleted: not one that was made and gone between two batches, that was never this."""
        condition = sql.SQL("b.found AND b.gone AND b.held IS NULL AND b.first_op <> 'I'")
        if self._rule is OnConflict.UPSTREAM:
            return sql.SQL("{} AND NOT b.clash").format(condition)
        return condition

    def ledger(self) -> Sql:
        """Compose what writes each conflict down."""
        return self._entries(
            conflict=self._delete_kind() if self.share.deletes_only else self._kind(),
            decision=self._decision(),
            recorded=sql.SQL("b.held IS NULL AND (b.clash OR ({}))").format(self._unfound()),
        )

    def undecided(self, op: Op) -> Sql:
        """Compose what writes conflicts down that wait for a person: of cases that are staged, those of one kind."""
        return self._entries(
            conflict=sql.SQL("q.conflict"),
            decision=sql.Literal(OnConflict.QUARANTINE.value),
            recorded=sql.SQL("q.id IS NOT NULL AND s.op = {} AND {}").format(sql.Literal(op.value), RANGE),
        )

    def _entries(self, *, conflict: Sql, decision: Sql, recorded: Sql) -> Sql:
        share = self.share
        texts = [self._text(a.value, a.name) for a in self.assignments]
        return statement("apply", "ledger").format(
            conflict=conflict,
            relation=sql.Literal(qualified(share.table.name)),
            key=text_array([sql.SQL("{}::pg_catalog.text").format(leaf) for leaf in share.own_leaves("b")]),
            rule=sql.Literal(self._rule.value),
            decision=decision,
            differing=self._differing(),
            row_id=self._row_id(),
            source_image=sql.SQL("NULL") if share.deletes_only else _object(self.written, texts),
            upstream_image=self._upstream_image(),
            recorded=recorded,
        )

    # What the columns are.

    @property
    def _rule(self) -> OnConflict:
        return self.share.policy.on_conflict

    def _value(self, place: int, column: Column) -> Assignment:
        value, changed = column_sql("b", f"v{place}"), self._changed(self.share.differs("b", place))
        before: Sql = value
        if self.share.updates:
            before = _case(self.share.differs("b", place), self.share.was("b", place, column), value)
        moved = column_sql("b", f"a{place}") if self.share.updates and column.name in self.share.moved else None
        return Assignment(name=column.name, changed=changed, value=value, before=before, moved=moved)

    def _reference(self, place: int, reference: KeyReference) -> list[Assignment]:
        values = [column_sql("b", f"f{place}_{i}") for i, _ in enumerate(reference.columns, start=1)]
        return [
            Assignment(
                name=name,
                changed=self._changed(column_sql("b", f"dl{place}")),
                value=value,
                before=self._before(place, reference, there, value),
                known=self._known(place, reference),
                late=reference.target.table in self.share.catch_up,
                points_to=(reference.target.table, there) if self.share.must_be_set(reference) else None,
            )
            for name, there, value in zip(reference.columns, reference.target_columns, values, strict=True)
        ]

    def _generic(self, place: int, generic: LayoutGeneric) -> Assignment:
        """Give a generic reference; into a table of a cycle it is written in the second pass."""
        now = self.share.points_into(self.share.catch_up, generic, place, "b")
        if not self.share.catch_up:
            now = sql.SQL("NOT {}").format(self.share.points_into(self.share.late, generic, place, "b"))
        return Assignment(
            name=generic.id_column,
            changed=sql.SQL("({} AND {})").format(self._changed(column_sql("b", f"dl{place}")), now),
            value=column_sql("b", f"f{place}_1"),
            late=bool(self.share.may_be_late(self.share.catch_up, generic)),
        )

    def _before(self, place: int, reference: KeyReference, column: str, value: Sql) -> Sql:
        """Look up what the reference pointed to before, only where it pointed elsewhere."""
        if not self.share.updates:
            return value
        found = look_up(reference.target, self._old_leaves(place, reference), self.share.catalog, f"was{place}_")
        return sql.SQL("CASE WHEN {} THEN (SELECT {} FROM (SELECT) one {}) ELSE {} END").format(
            column_sql("b", f"dl{place}"),
            found.value(self.share.catalog, column),
            sql.SQL(" ").join(found.joins),
            value,
        )

    def _known(self, place: int, reference: KeyReference) -> Sql | None:
        """Say that what a reference was before is known: it was null, or its row can still be found."""
        if not self.share.updates:
            return None
        leaves = self._old_leaves(place, reference)
        found = self._before(place, reference, reference.target_columns[0], sql.NULL)
        return sql.SQL("(b.first_op <> 'D' AND (NOT {} OR NOT b.unknown AND {} IS NULL OR {} IS NOT NULL))").format(
            column_sql("b", f"dl{place}"), coalesced(leaves), found
        )

    @staticmethod
    def _old_leaves(place: int, reference: KeyReference) -> list[Sql]:
        return [column_sql("b", f"bl{place}_{i}") for i in range(1, reference.target.width + 1)]

    def _changed(self, flag: Sql) -> Sql:
        if not self.share.updates:
            return sql.SQL("true")
        return filled("(b.whole OR {})", flag)

    def _current(self, assignment: Assignment) -> Sql:
        return self.share.held("b", assignment.name, self.written.index(assignment.name) + 1)

    def _typed(self, value: Sql, name: str) -> Sql:
        """Say a value in the very type of its column: rows are compared only where the types are the same."""
        return filled("({})::{}", value, sql.SQL(target_column(self.share.table, name).cast))

    # What is found out.

    def _differs(self) -> Sql:
        if self.share.deletes_only or not self.assignments:
            return FALSE
        current = [self._typed(self._current(a), a.name) for a in self.assignments]
        wanted = [self.wanted(a, self._current(a)) for a in self.assignments]
        if self._rule is OnConflict.NEWEST:  # ``newer`` is being found out beside this
            wanted = [self._typed(_case(a.changed, a.value, self._current(a)), a.name) for a in self.assignments]
        return sql.SQL("(b.found AND NOT b.gone AND b.missing = 0 AND {})").format(_other(current, wanted))

    @cached_property
    def _conflicts(self) -> Mapping[str, Sql]:
        """Say of each column that upstream holds neither what the source had nor what it has."""
        return {assignment.name: settled(self._conflict(assignment)) for assignment in self.assignments}

    def _conflict(self, assignment: Assignment) -> Sql:
        if assignment.before is None:
            return FALSE
        changed = assignment.changed
        if self.share.catch_up:
            changed = filled("({} AND {})", changed, self._is_settled(assignment))
        differs = self._holds_none_of(assignment, assignment.value)
        if assignment.before is assignment.value:  # of new rows there is nothing that the source had
            return filled("({} AND {})", changed, differs)
        return filled(
            "({} AND {} AND (b.first_op = 'I' OR ({} AND {})))",
            changed,
            differs,
            assignment.known or sql.SQL("true"),
            self._holds_none_of(assignment, assignment.before, assignment.moved),
        )

    def _holds_none_of(self, assignment: Assignment, *values: Sql | None) -> Sql:
        """Say that upstream holds none of some values in a column."""
        current = settled(self._exact(self._current(assignment), assignment.name))
        asked = [v for i, v in enumerate(values) if v is not None and v not in values[:i]]
        others = [_other([current], [self._exact(v, assignment.name)]) for v in asked]
        return filled("({})", sql.SQL(" AND ").join(others))

    def _is_settled(self, assignment: Assignment) -> Sql:
        """Say that a late reference is not what the first pass left in a row that is new: null, or an id that stands in."""
        current = self._current(assignment)
        if assignment.points_to is None:
            return sql.SQL("{} IS NOT NULL").format(current)
        table, column = assignment.points_to
        return sql.SQL("EXISTS (SELECT FROM {} meant WHERE {} = {})").format(
            table_sql(table), column_sql("meant", column), current
        )

    def _exact(self, value: Sql, name: str) -> Sql:
        """Say a value as its column would keep it: rounded and padded where the column does that."""
        return filled("({})::{}", value, sql.SQL(target_column(self.share.table, name).type))

    def _clash(self) -> Sql:
        if not self.assignments:
            return FALSE
        if self.share.deletes_only:
            changed = sql.SQL(" OR ").join(self._moved_on.values())
            return sql.SQL("(b.found AND b.gone AND b.first_op <> 'I' AND ({}))").format(changed)
        each = sql.SQL(" OR ").join(self._conflicts.values())
        return sql.SQL("(b.found AND NOT b.gone AND b.missing = 0 AND ({}))").format(each)

    @cached_property
    def _moved_on(self) -> Mapping[str, Sql]:
        """Say of each column that upstream holds neither what the source had nor what it deleted."""
        return {
            a.name: FALSE if a.before is None else settled(self._holds_none_of(a, a.before, a.value, a.moved))
            for a in self.assignments
        }

    def _newer(self) -> Sql:
        """Say whether the source's row was changed last; null where no clock can be believed."""
        name = self.share.policy.newest_by
        known = next((a for a in self.assignments if a.name == name), None)
        if self._rule is not OnConflict.NEWEST or known is None or self.share.deletes_only:
            return sql.SQL("NULL::pg_catalog.bool")
        current = self._current(known)
        return sql.SQL("CASE WHEN {} AND {} AND {} THEN {} >= {} END").format(
            CLOCK, self._past(current, known.name), self._past(known.value, known.name), known.value, current
        )

    def _past(self, moment: Sql, name: str) -> Sql:
        """Say that a time is none of the future, where one can be told; anything else only has to be there."""
        now = {"timestamptz": "pg_catalog.clock_timestamp()", "timestamp": "pg_catalog.clock_timestamp()::timestamp"}
        said = target_column(self.share.table, name).type.partition("(")[0].strip()
        kind = {"timestamp with time zone": "timestamptz", "timestamp without time zone": "timestamp"}.get(said, said)
        if kind not in now:
            return sql.SQL("{} IS NOT NULL").format(moment)
        return sql.SQL("{} <= {} + <<limit>>").format(moment, sql.SQL(now[kind]))

    def _held(self) -> Sql:
        """Say why a row that both sides changed is left to a person."""
        parts = [sql.SQL("WHEN {} THEN {}").format(moved, _kind(Conflict.REFUSED)) for moved in self._given_anew()]
        if self.share.table.heirs:
            several = sql.SQL("j.found AND count(*) OVER (PARTITION BY j.tx, j.seq) > 1")
            parts.append(sql.SQL("WHEN {} THEN {}").format(several, _kind(Conflict.MULTIPLE_UNIQUE_CONFLICTS)))
        if self.share.deletes_only and self.share.policy.on_delete is OnDelete.QUARANTINE:
            parts.append(
                sql.SQL("WHEN j.found AND j.gone AND j.first_op <> 'I' THEN {}").format(_kind(Conflict.DELETE_HELD))
            )
        undecided = {
            OnConflict.QUARANTINE: sql.SQL("j.clash"),
            OnConflict.NEWEST: sql.SQL("j.clash AND j.newer IS NULL"),
        }
        if self._rule in undecided:
            kind = self._delete_kind("j") if self.share.deletes_only else self._kind("j")
            parts.append(sql.SQL("WHEN {} THEN {}").format(undecided[self._rule], kind))
            if not (self.share.deletes_only or self.share.catch_up):
                parts.append(sql.SQL("WHEN {} THEN {}").format(self._unfound("j"), _kind(Conflict.UPDATE_MISSING)))
        return sql.SQL(" ").join(parts)

    def _given_anew(self) -> list[Sql]:
        """Say that the source changed what a row here keeps for good."""
        if self.share.deletes_only or self.share.catch_up or not self.share.updates:
            return []
        kept = [place for place, column in self.share.values if column.always]
        says = sql.SQL("j.found AND NOT j.gone AND NOT j.whole AND {}")
        return [says.format(self.share.differs("j", place)) for place in kept]

    def _unfound(self, alias: str = "b") -> Sql:
        """Say that an update or a delete found nothing."""
        if self.share.catch_up:
            return FALSE
        name = sql.Identifier(alias)
        if self.share.deletes_only:
            return sql.SQL("{0}.gone AND NOT {0}.found AND {0}.first_op <> 'I' AND {0}.missing = 0").format(name)
        return sql.SQL("NOT {0}.gone AND NOT {0}.found AND NOT {0}.whole AND {0}.missing = 0").format(name)

    def _kind(self, alias: str = "b") -> Sql:
        return sql.SQL("CASE WHEN NOT {0}.found THEN {1} WHEN {0}.first_op IN ('I', 'B') THEN {2} ELSE {3} END").format(
            sql.Identifier(alias),
            _kind(Conflict.UPDATE_MISSING),
            _kind(Conflict.INSERT_EXISTS),
            _kind(Conflict.UPDATE_ORIGIN_DIFFERS),
        )

    def _delete_kind(self, alias: str = "b") -> Sql:
        return sql.SQL("CASE WHEN {}.found THEN {} ELSE {} END").format(
            sql.Identifier(alias), _kind(Conflict.DELETE_ORIGIN_DIFFERS), _kind(Conflict.DELETE_MISSING)
        )

    # What is written down.

    def _decision(self) -> Sql:
        if self.share.deletes_only:
            kept = OnConflict.UPSTREAM if self._rule is OnConflict.UPSTREAM else OnConflict.SOURCE
            return sql.SQL("CASE WHEN b.found THEN {} ELSE 'none' END").format(sql.Literal(kept.value))
        if self._rule is OnConflict.NEWEST:
            return sql.SQL("CASE WHEN b.newer THEN 'source' ELSE 'upstream' END")
        return sql.Literal(self._rule.value)

    def _differing(self) -> Sql:
        says = self._moved_on if self.share.deletes_only else self._conflicts
        names = [_case(condition, sql.Literal(name), sql.NULL) for name, condition in says.items()]
        return sql.SQL("CASE WHEN b.found THEN pg_catalog.array_remove({}, NULL) END").format(text_array(names))

    def _row_id(self) -> Sql:
        names = self.share.table.primary_key
        texts = [self._text(column_sql("b", f"e{i}"), name) for i, name in enumerate(names, start=1)]
        return sql.SQL("CASE WHEN b.found THEN {} END").format(_object(names, texts))

    def _upstream_image(self) -> Sql:
        """Say the whole row as upstream holds it, looked up once more: few rows need it."""
        table = self.share.table
        names = [column.name for column in table.columns]
        return sql.SQL("(SELECT {} FROM {} t WHERE b.found AND {})").format(
            _object(names, [self._text(column_sql("t", name), name) for name in names]),
            table_sql(table.name),
            self.same_row,
        )

    @property
    def same_row(self) -> Sql:
        """Say that ``t`` is the row that ``b`` was found to be."""
        table = self.share.table
        return sql.SQL(" AND ").join(
            same(column_sql("t", name), target_column(table, name), column_sql("b", f"e{i}"))
            for i, name in enumerate(table.primary_key, start=1)
        )

    def _text(self, value: Sql, name: str) -> Sql:
        column = target_column(self.share.table, name)
        return text_sql(filled("({})::{}", value, sql.SQL(column.cast)), column)


def _other(left: Sequence[Sql], right: Sequence[Sql]) -> Sql:
    """Say that two rows are not the same, byte for byte: every type can be compared so."""
    comma = sql.SQL(", ")
    return filled("pg_catalog.record_image_ne(ROW({}), ROW({}))", comma.join(left), comma.join(right))


def _object(names: Sequence[str], texts: Sequence[Sql]) -> Sql:
    return sql.SQL("pg_catalog.jsonb_object({}, {})").format(
        text_array([sql.Literal(name) for name in names]), text_array(texts)
    )


def _case(condition: Sql, value: Sql, otherwise: Sql) -> Sql:
    return filled("CASE WHEN {} THEN {} ELSE {} END", condition, value, otherwise)


def _kind(conflict: Conflict) -> Sql:
    return sql.Literal(conflict.value)
