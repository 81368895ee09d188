"""Entries of ``[[tables]]`` that contradict themselves or each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dbsync.config.fields import Route
from dbsync.config.locate import Loc
from dbsync.config.models import NodeConfig, TableConfig, UpstreamConfig
from dbsync.config.problems import Fault
from dbsync.model.policy import OnConflict

_NAMELESS = {Route.FILE: "stick", Route.NATS: "broker"}
"""Routes over something that serves many upstreams, or none."""


def contradictions(entries: Mapping[int, TableConfig]) -> Iterator[Fault]:
    """Find what is wrong with entries that are each well formed; they come by their index in the file."""
    yield from _named_twice(entries)
    for index, entry in entries.items():
        loc: Loc = ("tables", index)
        yield from _column_twice(entry, loc)
        yield from _excluded_but_needed(entry, loc)
        yield from _generics(entry, loc)
        yield from _newest(entry, loc)
        if entry.excepted and not entry.is_pattern:
            yield Fault(
                loc=(*loc, "except"), message="'except' belongs to a pattern; this entry names one table", at="key"
            )


def upstream_fits(node: NodeConfig, upstream: UpstreamConfig) -> Iterator[Fault]:
    """Find an upstream that is the source itself, or one without a name whose address gives none."""
    if upstream.route in _NAMELESS and upstream.name is None:
        yield Fault(
            loc=("upstream", "name"),
            message=f"a {_NAMELESS[upstream.route]} does not say whose it is: 'name' is missing",
            hint='write name = "..." as the upstream is called, the same over every route',
            at="section",
        )
    if node.source == upstream.url:
        yield Fault(loc=("upstream", "url"), message="the upstream is the source itself", quoted=False)


def _named_twice(entries: Mapping[int, TableConfig]) -> Iterator[Fault]:
    first: dict[object, int] = {}
    for index, entry in entries.items():
        seen = first.setdefault(entry.table or entry.name, index)
        if seen != index:
            message = f"a second entry for '{entry.name}'; the first is entry {seen + 1} of [[tables]]"
            yield Fault(loc=("tables", index, "name"), message=message, hint="write one entry with both settings")


def _newest(entry: TableConfig, loc: Loc) -> Iterator[Fault]:
    if entry.on_conflict is OnConflict.NEWEST and entry.newest_by is None:
        yield Fault(
            loc=(*loc, "on_conflict"),
            message="'newest' needs 'newest_by': the column that says when a row was last changed",
            hint='write newest_by = "modified", or whatever the column is called',
        )
    if entry.newest_by is not None and entry.newest_by in entry.exclude:
        yield Fault(
            loc=(*loc, "newest_by"), message=f"column '{entry.newest_by}' is excluded and decides who is newest"
        )


def _column_twice(entry: TableConfig, loc: Loc) -> Iterator[Fault]:
    for setting, columns in (("key", _key_columns(entry)), ("exclude", entry.exclude)):
        for position, column in enumerate(columns):
            if column in columns[:position]:
                yield Fault(loc=(*loc, setting, position), message=f"column '{column}' stands twice in '{setting}'")


def _excluded_but_needed(entry: TableConfig, loc: Loc) -> Iterator[Fault]:
    for position, column in enumerate(entry.exclude):
        if column in _key_columns(entry):
            yield Fault(
                loc=(*loc, "exclude", position),
                message=f"column '{column}' is excluded and part of 'key'",
                hint="without it a row cannot be recognised upstream",
            )
        if column in entry.references:
            message = f"column '{column}' is in 'references', and 'exclude' leaves it out"
            yield Fault(loc=(*loc, "references", column), message=message, at="key")


def _generics(entry: TableConfig, loc: Loc) -> Iterator[Fault]:
    for index, generic in enumerate(entry.generic):
        place: Loc = (*loc, "generic", index)
        for setting, column in (("type", generic.type), ("id", generic.id)):
            if column in entry.exclude:
                message = f"column '{column}' is in 'generic', and 'exclude' leaves it out"
                yield Fault(loc=(*place, setting), message=message)
        if generic.type == generic.id:
            yield Fault(loc=(*place, "id"), message="'type' and 'id' must be two columns")
        if generic.id in entry.references:
            message = f"column '{generic.id}' is in 'references' too; it can point one way only"
            yield Fault(loc=(*place, "id"), message=message)


def _key_columns(entry: TableConfig) -> Sequence[str]:
    return entry.key if isinstance(entry.key, tuple) else ()
