"""The upstream's part of a comparison by papers: a whole question answered from one snapshot.

It tells of the rows that it was told of, and how many there are beyond them: neither their keys nor a value leaves. A table that cannot be
compared says why, and the others are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import assert_never

from dbsync.errors import DbsyncError
from dbsync.verify.answers import side_of
from dbsync.verify.compare import Content, named
from dbsync.verify.paper import Again, Asked, Listed, Otherwise, Question, Reply, Told, ToldAgain, Unable
from dbsync.verify.questions import reading
from dbsync.verify.report import Key, Kind
from dbsync.verify.rows import spelled
from dbsync.verify.shape import Shape, shape, tables_of
from dbsync.verify.side import Connection, DatabaseSide, encoding_of, view_of
from dbsync.verify.sketch import Item, Sketch, matched, taken_apart
from dbsync.verify.views import View, Views


def reply(connection: Connection, question: Question) -> tuple[Reply, ...]:
    """Answer about every table, inside the snapshot that the connection is in."""
    here = encoding_of(connection, "upstream")
    if here != question.encoding:
        problem = f"the source is encoded in {question.encoding}, upstream in {here}: digests of text would differ"
        return tuple(Unable(problem=problem) for _ in question.tables)
    tables = {name for asked in question.tables for name in tables_of(asked.subject.registered)}
    upstream = view_of(connection, tables, "upstream")
    return tuple(_reply(connection, asked, upstream) for asked in question.tables)


def _reply(connection: Connection, asked: Asked, upstream: View) -> Reply:
    """Answer about one table; what is in the way of it is in the way of no other."""
    try:
        with connection.transaction():
            return _compared(connection, asked, upstream)
    except DbsyncError as error:
        if error.try_again:
            raise
        return Unable(problem=str(error))


def _compared(connection: Connection, asked: Asked, upstream: View) -> Reply:
    registered = asked.subject.registered
    with reading():
        found = shape(registered, Views(source=asked.subject.source, upstream=upstream))
        same = (*found.columns, *found.loose) == asked.subject.names
    if found.parts is None:
        return Unable(problem=found.problem)
    side = side_of(connection, found.parts)
    with reading():
        if not same or spelled(found.parts) != asked.spelled:
            return Otherwise(view=upstream, tables=frozenset(tables_of(registered)))
    match asked.what:
        case Sketch() as sketch:
            apart = taken_apart(sketch, side.sketch(sketch.width))
        case Listed(items=items):
            apart = matched(items, side.items())
        case Again(rows=wanted):
            return ToldAgain(rows=tuple(_again(side, found, wanted)))
        case never:
            assert_never(never)
    rows, other_origin = side.counts()
    return Told(rows=rows, other_origin=other_origin, apart=apart, notes=found.notes)


def _again(
    side: DatabaseSide, found: Shape, rows: Sequence[tuple[Item, Content]]
) -> Iterator[tuple[Item, Kind, tuple[str, ...]]]:
    """Compare some rows column by column."""
    here: dict[Key, list[Content]] = defaultdict(list)
    for (place, _), content in side.digests_at([place for (place, _), _ in rows]):
        here[_key(place)].append(content)
    theirs = [(_key(place), content) for (place, _), content in rows]
    ours = [(key, content) for key, contents in here.items() for content in contents]
    differing = named(theirs, ours, found.columns, found.loose)
    for item, _ in rows:
        key = _key(item[0])
        if key not in here:
            yield item, Kind.MISSING, ()
        elif differing[key]:
            yield item, Kind.DIFFERENT, tuple(column.column for column in differing[key])


def _key(place: int) -> Key:
    return (str(place),)
