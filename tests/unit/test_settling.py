"""What an answer that comes home after days says of rows that have changed meanwhile: no false alarm, and nothing hidden."""

from __future__ import annotations

from collections.abc import Sequence

from dbsync.model.names import TableName
from dbsync.service.comparison import Ask, Found, Row, Standing
from dbsync.service.settling import LATER, OTHERWISE, Present, settle
from dbsync.verify.asking import Known
from dbsync.verify.paper import Otherwise, Told, ToldAgain, Unable
from dbsync.verify.report import Kind
from dbsync.verify.side import Found as Now
from dbsync.verify.sketch import Apart, Item

TABLE = TableName("public", "visit")
STANDING = Standing(table=TABLE, source_rows=3)
ITEM: Item = (7, 70)
CHANGED: Item = (7, 71)


def present(*now: Item, exact: bool = True, gone: bool = False) -> Present:
    """Say what there is now."""
    rows = {
        place: [Now(item=item, key=("S-1",), place=("1",), gone=gone) for item in now if item[0] == place]
        for place in {item[0] for item in now}
    }
    return Present(at=lambda places: {p: rows[p] for p in places if p in rows}, uncaptured=list, exact=exact)


def told(*, different: Sequence[Item] = (), missing: Sequence[Item] = (), extra: int = 0) -> Told:
    return Told(rows=3, other_origin=0, apart=Apart(different=tuple(different), missing=tuple(missing), extra=extra))


def row(item: Item = ITEM, *, settled: bool = False, asked: bool = True, times: int = 1) -> Row:
    return Row(found=Found.DIFFERENT, item=item, times=times, settled=settled, asked=asked, key=("S-1",), place=("1",))


def test_a_row_that_is_as_it_was_asked_about_differs() -> None:
    standing, (found,) = settle(told(missing=[ITEM]), STANDING, [], present(ITEM))
    assert (standing.ask, found.found, found.settled) == (Ask.NOTHING, Found.MISSING, True)


def test_a_row_that_has_changed_since_is_asked_about_once_more() -> None:
    _, (found,) = settle(told(different=[ITEM]), STANDING, [], present(CHANGED))
    assert (found.settled, found.item) == (False, CHANGED)


def test_a_row_that_is_gone_since_is_no_difference() -> None:
    assert settle(told(missing=[ITEM]), STANDING, [], present())[1] == []


def test_where_other_ways_brought_more_a_row_has_to_be_said_to_differ_twice() -> None:
    standing, first = settle(told(missing=[ITEM], extra=2), STANDING, [], present(ITEM, exact=False))
    assert [found.settled for found in first] == [False]
    assert standing.notes == (LATER,)
    _, (second,) = settle(told(missing=[ITEM]), STANDING, first, present(ITEM, exact=False))
    assert second.settled
    _, (changed,) = settle(told(missing=[CHANGED]), STANDING, first, present(CHANGED, exact=False))
    assert not changed.settled


def test_a_row_whose_reference_has_lost_its_target_is_compared_column_by_column_first() -> None:
    _, (found,) = settle(told(different=[ITEM]), STANDING, [], present(ITEM, gone=True))
    assert not found.settled
    again = ToldAgain(rows=((ITEM, Kind.DIFFERENT, ("note",)),))
    _, (named,) = settle(again, STANDING, [row()], present(ITEM, gone=True))
    assert (named.settled, named.columns) == (True, ("note",))
    assert settle(ToldAgain(rows=()), STANDING, [row()], present(ITEM, gone=True))[1] == []


def test_rows_that_were_not_asked_about_stay_what_they_are() -> None:
    others = [row((8, 80), settled=True, asked=False), row((9, 90), asked=False)]
    assert settle(ToldAgain(rows=()), STANDING, others, present())[1] == others


def test_columns_of_a_settled_row_are_named_and_one_that_agrees_by_now_is_none() -> None:
    known = row(settled=True)
    again = ToldAgain(rows=((ITEM, Kind.DIFFERENT, ("note",)),))
    _, (named,) = settle(again, STANDING, [known], present(CHANGED))
    assert (named.settled, named.columns, named.asked) == (True, ("note",), False)
    assert settle(ToldAgain(rows=()), STANDING, [known], present(ITEM))[1] == []


def test_more_differences_than_a_sketch_tells_are_told_row_by_row() -> None:
    undecided = Told(rows=9, other_origin=1, apart=None)
    standing, _ = settle(undecided, STANDING, [], present())
    assert (standing.ask, standing.upstream_rows, standing.other_origin) == (Ask.LISTED, 9, 1)
    huge = Standing(table=TABLE, source_rows=10**9)
    standing, _ = settle(undecided, huge, [], present())
    assert (standing.ask, "over a line" in standing.problem) == (Ask.NOTHING, True)


def test_tables_that_are_otherwise_are_asked_about_anew_and_not_for_ever() -> None:
    otherwise = Otherwise(view=Known().view, tables=frozenset({TABLE}))
    standing = STANDING
    for _ in range(OTHERWISE):
        assert (standing.ask, standing.problem) == (Ask.WHOLE, "")
        standing, rows = settle(otherwise, standing, [row()], present(ITEM))
        assert rows == []
    assert (standing.ask, "one version" in standing.problem) == (Ask.NOTHING, True)


def test_what_cannot_be_compared_says_why() -> None:
    standing, rows = settle(Unable(problem="upstream has no such table"), STANDING, [row()], present())
    assert (standing.ask, standing.problem, rows) == (Ask.NOTHING, "upstream has no such table", [])
