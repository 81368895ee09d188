"""Propose a configuration for all tables of a database. Pure.

What is proposed must pass ``dbsync check`` as it stands, so that the first guess works: a draft is made table by table,
registered as the program would register it, and mended until nothing is wrong with its keys any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from dbsync.config.models import Config, NodeConfig, TableConfig, UpstreamConfig
from dbsync.config.proposal import Omission, Proposal, ProposedTable, Stated
from dbsync.keys import guess, mirror, pairs
from dbsync.keys.choose import Columns, KeyChoice, choose, is_complete, is_usable
from dbsync.keys.problems import is_identifying, is_unique
from dbsync.keys.register import Drafts, draft
from dbsync.keys.types import unsupported
from dbsync.model.catalog import Catalog, Table
from dbsync.model.names import TableName
from dbsync.model.registration import Mode

LEFT_OUT: Mapping[str, str] = MappingProxyType(
    {
        "django_migrations": "which migrations ran in this database: every database keeps its own",
        "django_session": "who is logged in on this machine: means nothing elsewhere",
        "django_admin_log": "clicks in this machine's admin site",
        "alembic_version": "which migrations ran in this database: every database keeps its own",
        "spatial_ref_sys": "filled by PostGIS itself on every database",
    }
)
LOOKUPS = frozenset({pairs.CONTENT_TYPES, "auth_permission", "django_site"})

_NEVER_MERGE = "each row gets a UUID of its own: rows of different nodes never merge"
_POOR = "{} says where a row stands in a list or tree: a poor key, since it moves and is taken anew on every node"


def propose(
    catalog: Catalog,
    upstream: Catalog | None = None,
    patterns: Sequence[str] = (),
    stated: Mapping[TableName, Stated] = MappingProxyType({}),
) -> Proposal:
    """Propose an entry for every table, or for those that patterns select and what they refer to.

    With the upstream's catalog, keys that are unique there too come first, and tables it lacks are left out. A key that the
    application itself has ``stated`` goes before any other, if the database makes it unique.
    """
    asked = [name for name in sorted(catalog.tables) if not patterns or any(name.matches(p) for p in patterns)]
    left_out = {name: why for name in asked if (why := _why_out(catalog.tables[name], upstream))}
    facts = _Facts(catalog=catalog, upstream=upstream, stated=stated)
    entries = {name: _entry(facts, name) for name in asked if name not in left_out}
    entries = _closed(facts, entries)
    entries = _mended(facts, entries)
    return Proposal(
        database=catalog.database,
        tables=tuple(entry for _, entry in sorted(entries.items())),
        left_out=tuple(Omission(name=name, why=why) for name, why in left_out.items() if name not in entries),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    catalog: Catalog
    upstream: Catalog | None
    stated: Mapping[TableName, Stated]

    def said(self, table: Table, exclude: Columns) -> tuple[Columns, str, str]:
        """Give the columns that the application knows the rows by, the reason, and what keeps them from being the key."""
        found = self.stated.get(table.name)
        if found is None:
            return (), "", ""
        if not found.columns:
            return (), "", f"the {found.where} was not understood: {found.problem}"
        if not pairs.ids(table).isdisjoint(found.columns):
            return (
                (),
                "",
                f"the {found.where} is ({', '.join(found.columns)}), which holds the id of a row of any table",
            )
        if not is_usable(table, found.columns, exclude) or not is_identifying(table, found.columns):
            return (
                (),
                "",
                f"the {found.where} is ({', '.join(found.columns)}), and nothing in the database makes that unique",
            )
        return found.columns, found.where, ""

    def unique_upstream(self, name: TableName, columns: Columns) -> bool:
        there = self.upstream.table(name) if self.upstream is not None else None
        return there is None or is_unique(there, columns)


def _why_out(table: Table, upstream: Catalog | None) -> str:
    if table.name.name in LEFT_OUT:
        return LEFT_OUT[table.name.name]
    if upstream is not None and upstream.table(table.name) is None:
        return "the upstream has no such table: migrate it there, then add this one"
    if upstream is not None and not upstream.tables[table.name].primary_key:
        return "the upstream's table has no primary key, by which its rows are written: add one there, then this table"
    if not table.primary_key and choose(table).refused and not _best(None, table):
        return "it has no key at all, not even a primary key: rows cannot be told apart"
    return ""


def _entry(facts: _Facts, name: TableName, *, outside: bool = False) -> ProposedTable:
    """Propose the entry of one table; one ``outside`` of what was asked for is there for others to refer to."""
    table = facts.catalog.tables[name]
    exclude, notes = _excluded(table)
    choice = choose(table, None, exclude, pairs.ids(table))
    said, why, remark = facts.said(table, exclude)
    columns = said or choice.columns or _best(facts, table)
    notes = (*notes, remark) if remark else notes
    lookup = bool(columns) and (outside or name.name in LOOKUPS)
    references = mirror.references(facts.catalog, table) if mirror.is_trail(table) else {}
    references = {**pairs.types(table, facts.catalog), **references}
    references = {column: target for column, target in references.items() if not _is_plain(facts.catalog, target)}
    entry = ProposedTable(
        name=name,
        mode=Mode.LOOKUP if lookup else Mode.SHIP,
        exclude=() if lookup else exclude,
        references=references,
        generic=() if lookup else pairs.generic_pairs(table, references),
        notes=(*notes, *(("here because other tables refer to it",) if outside else ())),
    )
    entry = _keyed(entry, table, choice, columns, why)
    known = [*entry.references, *(one for pair in entry.generic for one in pair), *entry.exclude]
    return entry if lookup else replace(entry, guesses=dict(guess.guesses(facts.catalog, table, known)))


def _excluded(table: Table) -> tuple[Columns, tuple[str, ...]]:
    reasons = {c.name: reason for c in table.columns if not c.generated and (reason := unsupported(c))}
    notes = [f"'{name}' stays here: {reason}" for name, reason in reasons.items()]
    if table.column("password") is not None:
        notes.append("password hashes travel with the rows")
    return tuple(reasons), tuple(notes)


def _keyed(entry: ProposedTable, table: Table, choice: KeyChoice, columns: Columns, said: str) -> ProposedTable:
    """Write down the key: in words where the catalog alone leads to it, else also as a setting."""
    if not columns:
        return _by_row_id(entry, choice.refused)
    leads = set(choice.columns) == set(columns)
    why = said or (choice.why if leads else "") or f"unique ({', '.join(columns)})"
    poor = guess.positions(table, columns)
    return replace(
        entry,
        key=None if leads else columns,
        why=why,
        candidates=tuple(other for other in choice.candidates if set(other) != set(columns)),
        notes=(*entry.notes, *((_POOR.format(" and ".join(poor)),) if poor else ())),
    )


def _by_row_id(entry: ProposedTable, reason: str, candidates: tuple[Columns, ...] = ()) -> ProposedTable:
    return replace(
        entry,
        mode=Mode.SHIP,
        key="row_id",
        why=_NEVER_MERGE,
        candidates=candidates,
        notes=(*entry.notes, f"no natural key: {reason}"),
    )


def _best(facts: _Facts | None, table: Table, avoid: Iterable[Columns] = ()) -> Columns:
    """Pick the best of several unique keys; of none, a deferrable one, which the configuration has to name."""
    avoided = [set(columns) for columns in avoid]
    pointing = pairs.ids(table)
    found = [columns for columns in choose(table, None, (), pointing).candidates if set(columns) not in avoided]
    found = found or [
        unique.columns
        for unique in table.uniques
        if is_complete(table, unique)
        and is_usable(table, unique.columns, pointing)
        and set(unique.columns) not in avoided
    ]

    def order(columns: Columns) -> tuple[bool, tuple[bool, bool, int]]:
        return facts is not None and not facts.unique_upstream(table.name, columns), guess.rank(table, columns)

    return min(found, key=order, default=())


def _is_plain(catalog: Catalog, target: TableName) -> bool:
    """Say whether the target's primary key is its natural key: a reference to it holds the same values everywhere."""
    table = catalog.tables[target]
    return choose(table).columns == table.primary_key and not any(
        set(key.columns) & set(table.primary_key) for key in table.foreign_keys
    )


def _closed(facts: _Facts, entries: Mapping[TableName, ProposedTable]) -> dict[TableName, ProposedTable]:
    """Add the tables that others refer to, as lookups where they have a natural key, until none is missing."""
    closed = dict(entries)
    waiting = list(closed)
    while waiting:
        name = waiting.pop()
        for target in _targets(facts.catalog, closed[name]):
            if target not in closed and target in facts.catalog.tables and not _is_missing(facts, target):
                why = _why_out(facts.catalog.tables[target], facts.upstream)
                entry = _entry(facts, target, outside=True)
                closed[target] = replace(entry, notes=(*entry.notes, why)) if why else entry
                waiting.append(target)
    return closed


def _is_missing(facts: _Facts, name: TableName) -> bool:
    return facts.upstream is not None and facts.upstream.table(name) is None


def _targets(catalog: Catalog, entry: ProposedTable) -> Iterator[TableName]:
    """List the tables that must be registered for an entry: of a lookup only those that its key runs through."""
    table = catalog.tables[entry.name]
    key = entry.key if isinstance(entry.key, tuple) else choose(table).columns
    for foreign in table.foreign_keys:
        if entry.mode is Mode.SHIP or set(foreign.columns) & set(key):
            yield foreign.target
    yield from entry.references.values()


def _mended(facts: _Facts, entries: Mapping[TableName, ProposedTable]) -> dict[TableName, ProposedTable]:
    """Give another key to tables whose own leads nowhere: it runs in a circle, or holds half of a reference."""
    mended = dict(entries)
    tried: dict[TableName, list[Columns]] = {}
    for _ in range(3 * len(mended) + 1):
        drafts = draft(as_config(mended.values()), facts.catalog)
        broken = {name for name, _ in drafts.trees.split} | {_weakest(drafts, cycle) for cycle in drafts.trees.cycles}
        if not broken:
            break
        for name in broken:
            tried.setdefault(name, []).append(drafts.choices[name].columns)
            mended[name] = _next_key(facts, mended[name], tried[name])
        mended = _closed(facts, mended)
    return mended


def _weakest(drafts: Drafts, cycle: Sequence[TableName]) -> TableName:
    """Pick the table of a circle that is given another key: one with another candidate, else the first."""
    return max(cycle, key=lambda name: len(drafts.choices[name].candidates))


def _next_key(facts: _Facts, entry: ProposedTable, tried: Sequence[Columns]) -> ProposedTable:
    table = facts.catalog.tables[entry.name]
    columns = _best(facts, table, tried)
    reason = f"({', '.join(tried[-1])}) would lead back to this table or hold half of a reference"
    if not columns:
        return _by_row_id(entry, reason)
    return replace(entry, key=columns, why=f"unique ({', '.join(columns)})", notes=(*entry.notes, reason))


def as_config(entries: Iterable[ProposedTable]) -> Config:
    """Make the configuration that the entries would be read as."""
    return Config(
        node=NodeConfig(name="proposal", source="dbname=source"),
        upstream=UpstreamConfig(url="dbname=upstream"),
        tables=tuple(_as_config(entry) for entry in entries),
    )


def _as_config(entry: ProposedTable) -> TableConfig:
    return TableConfig.model_validate(
        {
            "name": str(entry.name),
            "mode": entry.mode,
            "key": entry.key,
            "exclude": entry.exclude,
            "references": {column: str(target) for column, target in entry.references.items()},
            "generic": [{"type": type_column, "id": id_column} for type_column, id_column in entry.generic],
        }
    )
