"""What an answer that a stick brought means now: days have gone by, and rows have changed since they were asked about. Pure.

A row is said to differ by what it was when it was asked about. If it is still just that, and the upstream had no later batch when it
answered, it does differ. If it has changed since, or another way may have brought the upstream's rows further meanwhile, it is
asked about once more, as it is then. If it is gone, its delete is on the way, and it is no difference.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from dbsync.service.comparison import Ask, Found, Row, Standing
from dbsync.verify.paper import Otherwise, Reply, Told, ToldAgain, Unable
from dbsync.verify.report import Key, Kind, Place
from dbsync.verify.side import Found as Now
from dbsync.verify.sketch import ITEM_BYTES, Apart, Item

OTHERWISE = 3
"""So often an upstream may say that its tables are not what they were taken for: then the two programs do not understand each other."""
TWICE = 2
"""A row that is said to differ so often, just as it is, does: whatever came by other ways meanwhile."""
LATER = "upstream had later changes of this node when it answered: extra rows may be theirs"
MOST = (48 << 20) // ITEM_BYTES
"""Rows of one table that fit into a paper one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """The source now."""

    at: Callable[[Collection[int]], Mapping[int, list[Now]]]
    """Says what is at some places of the table."""
    uncaptured: Callable[[], Iterable[tuple[Key, Place]]]
    """Gives the rows whose key cannot be said."""
    exact: bool
    """Whether the upstream had just what it needed to answer, and nothing newer."""


def settle(reply: Reply, standing: Standing, before: Sequence[Row], present: Present) -> tuple[Standing, list[Row]]:
    """Give how far a table is after a reply, and the rows that differ or are to be asked about once more."""
    match reply:
        case Unable(problem=problem):
            return replace(standing, ask=Ask.NOTHING, problem=problem), []
        case Otherwise():
            return _otherwise(standing), []
        case ToldAgain():
            return standing, list(_told_again(reply, before, present))
        case Told(apart=Apart() as apart):
            done = replace(_counted(reply, standing), ask=Ask.NOTHING, extra=apart.extra)
            if apart.extra and not present.exact:
                done = replace(done, notes=(*done.notes, LATER))
            return done, list(_told(apart, before, present))
        case Told():
            return _undecided(reply, standing), list(before)
        case never:
            assert_never(never)


def _otherwise(standing: Standing) -> Standing:
    """Ask again, by what the upstream's tables are; not for ever. Places that were told by other spellings mean nothing any more."""
    seen = replace(standing, ask=Ask.WHOLE, otherwise=standing.otherwise + 1)
    if seen.otherwise < OTHERWISE:
        return seen
    return replace(
        seen,
        ask=Ask.NOTHING,
        problem="upstream says its rows in another way: dbsync of both ends has to be of one version",
    )


def _counted(reply: Told, standing: Standing) -> Standing:
    return replace(standing, upstream_rows=reply.rows, other_origin=reply.other_origin, notes=reply.notes)


def _undecided(reply: Told, standing: Standing) -> Standing:
    """Tell row by row the next time, where that fits into a paper."""
    if standing.source_rows <= MOST:
        return replace(_counted(reply, standing), ask=Ask.LISTED)
    return replace(
        _counted(reply, standing),
        ask=Ask.NOTHING,
        problem=f"of its {standing.source_rows:,} rows more differ than a stick tells of: compare it over a line",
    )


def _told(apart: Apart, before: Sequence[Row], present: Present) -> Iterator[Row]:
    """Judge the rows that were said to differ, and add those that nobody captured."""
    said = [(item, Found.DIFFERENT) for item in apart.different]
    said += [(item, Found.MISSING) for item in apart.missing]
    now = present.at({place for (place, _), _ in said})
    times = {row.item: row.times for row in before if not row.settled}
    for item, found in said:
        row = _judged(item, found, now.get(item[0], ()), times.get(item, 0), exact=present.exact)
        if row is not None:
            yield row
    for key, place in present.uncaptured():
        yield Row(found=Found.UNCAPTURED, item=(0, 0), times=1, settled=True, key=key, place=place)


def _told_again(reply: ToldAgain, before: Sequence[Row], present: Present) -> Iterator[Row]:
    """Judge rows that were asked about once more; those of which nothing is said agree."""
    said = {item: (kind, columns) for item, kind, columns in reply.rows}
    wanted = [row for row in before if row.asked]
    now = present.at({row.item[0] for row in wanted})
    yield from (row for row in before if not row.asked)
    for row in wanted:
        if row.item not in said:
            continue
        kind, columns = said[row.item]
        found = Found.MISSING if kind is Kind.MISSING else Found.DIFFERENT
        if row.settled:
            yield replace(row, found=found, columns=columns, asked=False)
            continue
        judged = _judged(row.item, found, now.get(row.item[0], ()), row.times, exact=present.exact, sure=True)
        if judged is not None:
            yield replace(judged, columns=columns) if judged.settled else judged


def _judged(item: Item, found: Found, now: Sequence[Now], times: int, *, exact: bool, sure: bool = False) -> Row | None:
    """Judge one row; None where it is gone.

    Unless it was compared column by column (``sure``), one of whose references the target is gone may differ in nothing else.
    """
    if not now:
        return None
    same = next((one for one in now if one.item == item), None)
    if same is None:
        return Row(found=found, item=now[0].item, times=0, settled=False, key=now[0].key, place=now[0].place)
    times += 1
    settled = (exact or times >= TWICE) and (sure or found is Found.MISSING or not same.gone)
    return Row(found=found, item=item, times=times, settled=settled, key=same.key, place=same.place)
