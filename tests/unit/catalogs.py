"""Catalogs in few words, for tests of what is pure."""

from __future__ import annotations

from collections.abc import Sequence

from dbsync.config.models import Config
from dbsync.model.catalog import Catalog, Column, ForeignKey, Table, UniqueKey
from dbsync.model.names import TableName

_TYPES = {"int": "integer", "big": "bigint", "text": "text", "uuid": "uuid", "json": "json", "time": "timestamptz"}


def column(words: str) -> Column:
    """Make a column of words such as ``id auto``, ``code text``, ``head_id int null``, ``total int generated``."""
    name, *rest = words.split()
    kind = _TYPES.get(rest[0], rest[0]) if rest and rest[0] != "auto" else "bigint"
    return Column(
        name=name,
        type=kind,
        cast=kind,
        nullable="null" in rest,
        auto="auto" in rest,
        sequence=f"public.{name}_seq" if "auto" in rest else "",
        generated="generated" in rest,
        default="now()" if "default" in rest else "",
        equals="" if kind == "json" else "OPERATOR(pg_catalog.=)",
    )


def table(
    name: str,
    *columns: str,
    pk: str = "id",
    unique: Sequence[str | UniqueKey] = (),
    fk: Sequence[str] = (),
    row_security: bool = False,
    inherits: bool = False,
) -> Table:
    """Make a table; ``unique=["code", "site_id day"]``, ``fk=["site_id -> sites_site.id"]``."""
    return Table(
        name=TableName.parse(name),
        oid=abs(hash(name)),
        owner="owner",
        columns=tuple(column(words) for words in columns),
        primary_key=tuple(pk.split()),
        uniques=tuple(key if isinstance(key, UniqueKey) else unique_key(key) for key in unique),
        foreign_keys=tuple(foreign_key(words) for words in fk),
        row_security=row_security,
        inherits=inherits,
    )


def unique_key(columns: str, *, immediate: bool = True, nulls_not_distinct: bool = False) -> UniqueKey:
    """Make a unique key."""
    return UniqueKey(
        name=f"unique_{columns.replace(' ', '_')}",
        columns=tuple(columns.split()),
        immediate=immediate,
        nulls_not_distinct=nulls_not_distinct,
    )


def foreign_key(words: str) -> ForeignKey:
    """Make a foreign key of words such as ``a b -> target.x y``."""
    columns, _, target = words.partition(" -> ")
    name, _, there = target.rpartition(".")
    return ForeignKey(
        name=f"fk_{columns.replace(' ', '_')}",
        columns=tuple(columns.split()),
        target=TableName.parse(name),
        target_columns=tuple(there.split()),
    )


def catalog(*tables: Table) -> Catalog:
    """Make a catalog."""
    return Catalog(database="clinic", server_version=150018, tables={one.name: one for one in tables})


def config(*entries: str | dict[str, object]) -> Config:
    """Make a configuration; an entry in one word is a table without settings."""
    return Config.model_validate(
        {
            "node": {"name": "field-07", "source": "dbname=clinic"},
            "upstream": {"url": "dbname=community"},
            "tables": [{"name": entry} if isinstance(entry, str) else entry for entry in entries],
        }
    )


SITE = table("sites_site", "id auto", "domain text", unique=["domain"])
SUBJECT = table(
    "clinic_subject",
    "id auto",
    "subject_identifier text",
    "site_id int",
    "mother_id int null",
    unique=["subject_identifier"],
    fk=["site_id -> sites_site.id", "mother_id -> clinic_subject.id"],
)
VISIT = table(
    "clinic_visit",
    "id auto",
    "subject_id int",
    "visit_code text",
    "report time",
    unique=["subject_id visit_code"],
    fk=["subject_id -> clinic_subject.id"],
)
CRF = table(
    "clinic_crf",
    "id auto",
    "visit_id int",
    "weight numeric",
    unique=["visit_id"],
    fk=["visit_id -> clinic_visit.id"],
)
