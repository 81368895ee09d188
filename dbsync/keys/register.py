"""Register tables: decide keys, references and travelling columns of all of them at once. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dbsync.config.models import Config, GenericConfig
from dbsync.keys import problems
from dbsync.keys.choose import KeyChoice, choose
from dbsync.keys.mirror import is_trail
from dbsync.keys.pointers import Pointer, Selection, pointers
from dbsync.keys.trees import Trees
from dbsync.model.catalog import Catalog, Table
from dbsync.model.findings import Finding
from dbsync.model.names import TableName
from dbsync.model.registration import GenericReference, KeyReference, KeyTree, Mode, RegisteredTable, Registry

_CALLED_OTHERWISE = {
    "django_admin_log": "admin.logentry",
    "django_comments": "django_comments.comment",
    "django_comment_flags": "django_comments.commentflag",
    "django_content_type": "contenttypes.contenttype",
    "django_flatpage": "flatpages.flatpage",
    "django_redirect": "redirects.redirect",
    "django_site": "sites.site",
}
"""Tables of Django's own applications -> their models."""


def register(config: Config, catalog: Catalog) -> tuple[Registry, tuple[Finding, ...]]:
    """Register every table that the configuration selects, and say everything that is wrong with it.

    A table whose key cannot be resolved is in the findings and not in the registry; one with any other error is in
    both, so that all of it can still be shown. Nothing may be installed while a finding is an ERROR.
    """
    drafts = draft(config, catalog)
    registered = (_registered(drafts, name) for name in sorted(drafts.selection.entries))
    registry = Registry(tables={table.name: table for table in registered if table is not None})
    return registry, tuple(_findings(config, drafts, registry))


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafts:
    """All that is decided of the selected tables, before each is put together."""

    selection: Selection
    choices: Mapping[TableName, KeyChoice]
    pointers: Mapping[TableName, tuple[Pointer, ...]]
    trees: Trees
    local: Mapping[TableName, frozenset[str]]
    """Columns with ids that mean something on one node only."""


def draft(config: Config, catalog: Catalog) -> Drafts:
    """Decide keys and pointers of every table that the configuration selects."""
    entries = {name: entry for name in catalog.tables if (entry := config.table_for(name)) is not None}
    selection = Selection(catalog=catalog, entries=entries)
    choices = {
        name: choose(catalog.tables[name], entry.key, entry.exclude, [generic.id for generic in entry.generic])
        for name, entry in entries.items()
    }
    pointing = {name: pointers(selection, name) for name in entries}
    trees = Trees(selection=selection, choices=choices, pointers=pointing)
    for name in sorted(entries):
        trees.tree(name)
    targets = _target_columns(catalog, pointing)
    local = {name: _local(catalog.tables[name], targets.get(name, frozenset())) for name in entries}
    return Drafts(selection=selection, choices=choices, pointers=pointing, trees=trees, local=local)


def _registered(drafts: Drafts, name: TableName) -> RegisteredTable | None:
    key = drafts.trees.tree(name)
    if key is None:
        return None
    table, entry = drafts.selection.table(name), drafts.selection.entries[name]
    found = (drafts.trees.reference(pointer) for pointer in drafts.pointers[name])
    references = tuple(reference for reference in found if reference is not None)
    generics = tuple(_generic(drafts, generic) for generic in entry.generic if _has_columns(table, generic))
    values = tuple(_values(table, references, generics, {*entry.exclude, *drafts.local[name]}))
    return RegisteredTable(
        table=table,
        mode=entry.mode,
        key=key,
        references=references,
        generics=generics,
        values=values,
        insert_only=tuple(v for v in values if v in table.primary_key and v not in drafts.choices[name].columns),
        excluded=entry.exclude,
        truncate=entry.truncate,
        on_conflict=entry.on_conflict.value,
        on_delete=entry.on_delete.value,
    )


def _values(
    table: Table,
    references: Iterable[KeyReference],
    generics: Iterable[GenericReference],
    staying: Iterable[str],
) -> Iterable[str]:
    """List the columns that travel as they are."""
    other = {column for reference in references for column in reference.columns}
    other.update(generic.id_column for generic in generics)
    other.update(staying)
    return (column.name for column in table.columns if column.name not in other and not column.generated)


def _local(table: Table, targets: Iterable[str]) -> frozenset[str]:
    """Find the columns whose ids stay: drawn from a sequence, and a primary key, unique by themselves, or referred to.

    A number from a sequence that identifies nothing is a value like any other.
    """
    naming = {
        *table.primary_key,
        *targets,
        *(unique.columns[0] for unique in table.uniques if len(unique.columns) == 1),
    }
    return frozenset(column.name for column in table.columns if column.auto and column.name in naming)


def _target_columns(
    catalog: Catalog, pointing: Mapping[TableName, Iterable[Pointer]]
) -> Mapping[TableName, frozenset[str]]:
    found: dict[TableName, set[str]] = {}
    for table in catalog.tables.values():
        for key in table.foreign_keys:
            found.setdefault(key.target, set()).update(key.target_columns)
    for pointer in (pointer for several in pointing.values() for pointer in several):
        found.setdefault(pointer.target, set()).update(pointer.target_columns)
    return {name: frozenset(columns) for name, columns in found.items()}


def _has_columns(table: Table, generic: GenericConfig) -> bool:
    return table.column(generic.type) is not None and table.column(generic.id) is not None


def _generic(drafts: Drafts, generic: GenericConfig) -> GenericReference:
    """Resolve a generic reference: to every registered table of a model's name, or as configured.

    Django calls a model's table ``app_label_model``, and a model's name rarely has an underscore in it where an app's
    often has: so the last underscore divides them. What is called otherwise is named in ``targets``, but for Django's own.
    """
    named = {model: TableName.parse(table) for model, table in generic.targets.items()}
    taken = set(named.values())
    for name in sorted(drafts.selection.entries):
        if name not in taken and name.name in _CALLED_OTHERWISE:
            named.setdefault(_CALLED_OTHERWISE[name.name], name)
        app, _, model = name.name.rpartition("_")
        if app and name not in taken and _is_target(drafts.selection.table(name)):
            named.setdefault(f"{app}.{model}", name)
    targets: dict[str, KeyTree] = {}
    for model, name in named.items():
        tree = drafts.trees.tree(name) if name in drafts.selection.entries else None
        if tree is not None:
            targets[model] = tree
    return GenericReference(type_column=generic.type, id_column=generic.id, targets=targets)


def _is_target(table: Table) -> bool:
    """Say whether an object id can name a row of the table, and a model stands for it.

    None does for the table between two others, and nobody refers to audit trails.
    """
    pointing = {column for key in table.foreign_keys for column in key.columns}
    between = len(pointing) == 2 and {column.name for column in table.columns} <= {*table.primary_key, *pointing}  # noqa: PLR2004
    return len(table.primary_key) == 1 and not between and not is_trail(table)


def _findings(config: Config, drafts: Drafts, registry: Registry) -> Iterable[Finding]:
    catalog = drafts.selection.catalog
    yield from problems.of_entries(config, catalog)
    yield from problems.of_cycles(drafts.trees.cycles, drafts.selection.entries)
    yield from problems.of_split(drafts.trees.split)
    yield from problems.of_unregistered(drafts.selection, {n: c.columns for n, c in drafts.choices.items()})
    row_ids = {name for name, choice in drafts.choices.items() if choice.row_id}
    for name in sorted(drafts.selection.entries):
        table, entry = catalog.tables[name], drafts.selection.entries[name]
        yield from problems.of_columns(table, entry)
        yield from problems.of_key(table, entry, drafts.choices[name], drafts.local[name])
        yield from problems.of_targets(drafts.selection, name)
        yield from problems.of_uuids(drafts.selection, name, drafts.pointers[name], row_ids)
        yield from problems.of_table(table, entry)
        registered = registry.tables.get(name)
        if registered is not None and entry.mode is Mode.SHIP:
            yield from problems.of_values(registered, drafts.pointers[name], drafts.local[name])
            yield from problems.of_periods(registered)
            yield from problems.of_width(registered)
