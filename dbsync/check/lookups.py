"""Lookups: what rows refer to and what is not shipped, so that it has to be on both sides already."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from dbsync.check.finding import warning
from dbsync.check.side import Session, unseen
from dbsync.check.wording import listed
from dbsync.keys.problems import in_config
from dbsync.model.catalog import Catalog
from dbsync.model.findings import Finding
from dbsync.model.registration import KeyColumn, KeyTree, Mode, RegisteredTable, Registry
from dbsync.verify.compare import EVERYTHING, match
from dbsync.verify.report import Kind
from dbsync.verify.rows import row_sql
from dbsync.verify.shape import shape, tables_of
from dbsync.verify.side import DatabaseSide, families
from dbsync.verify.views import View, Views
from dbsync.verify.words import counted, shown_key

MOST = 20_000
"""Rows up to which a lookup is compared; larger ones are not what the word means."""

_STEPS = "then: dbsync install-triggers, dbsync backfill"


def of_lookups(
    source: Session, upstream: Session, registry: Registry, here: Catalog, there: Catalog, *, installed: bool
) -> Iterator[Finding]:
    """Find keys of lookups that are here and not upstream: what refers to such a row waits in quarantine.

    Both sessions are in a transaction with dbsync's settings. Before it is ``installed`` on both sides no row has a UUID by which
    another one could be known.
    """
    lookups = [only_key(one) for _, one in sorted(registry.tables.items()) if one.mode is Mode.LOOKUP]
    lookups = [one for one in lookups if not one.key.row_id and (installed or not _holds_uuid(one.key))]
    read = {name for one in lookups for name in tables_of(one)}
    if not read:
        return
    views = Views(
        source=View(catalog=here, families=families(source, read, "source")),
        upstream=View(catalog=there, families=families(upstream, read, "upstream")),
    )
    for registered in lookups:
        yield from _of_lookup(source, upstream, registered, views)


def _holds_uuid(key: KeyTree) -> bool:
    """Say whether a key runs through a row that is known by a UUID of dbsync's own."""
    return bool(key.row_id) or any(_holds_uuid(part.target) for part in key.parts if not isinstance(part, KeyColumn))


def only_key(registered: RegisteredTable) -> RegisteredTable:
    """Leave of a table what its key needs: nothing else of a lookup matters."""
    references = tuple(reference for reference in registered.references if reference in registered.key.parts)
    return replace(registered, values=(), references=references, generics=())


def _of_lookup(source: Session, upstream: Session, registered: RegisteredTable, views: Views) -> Iterator[Finding]:
    found = shape(registered, views)
    if found.parts is None:
        return  # the missing table or column is said elsewhere
    if found.estimate > MOST:
        yield unseen("upstream", f"which rows of {registered.name} are there (about {found.estimate:,} rows)")
        return

    def rows(session: Session, name: str, view: View) -> DatabaseSide:
        assert found.parts is not None
        return DatabaseSide(connection=session, name=name, said=row_sql(found.parts, view))

    here, there = rows(source, "source", views.source), rows(upstream, "upstream", views.upstream)
    differing = match(registered.name, here.rows(EVERYTHING), there.rows(EVERYTHING))
    missing = sorted(shown_key(one.key) for one in differing if one.kind is Kind.MISSING)
    if missing:
        yield warning(
            "lookup_missing_upstream",
            str(registered.name),
            f"{counted(len(missing), 'row')} of this lookup {'is' if len(missing) == 1 else 'are'} not upstream:"
            f" {listed(missing)}; what refers to them waits in quarantine",
            in_config(registered.name, f'mode = "ship"   # {_STEPS} {registered.name}; or add the rows upstream'),
        )
