"""What a node took for a plain value and the upstream for the id of another row is told; natural values are none."""

from __future__ import annotations

import pytest

from dbsync.apply.skew import raw_ids
from dbsync.model.catalog import Table
from dbsync.model.layout import Layout, LayoutGeneric
from dbsync.model.names import TableName
from dbsync.model.registration import KeyColumn, KeyReference, KeyTree
from tests.unit.catalogs import catalog, table

VISIT = TableName("public", "visit")
SITE = table("site", "id auto", "code text", unique=["code"])
WARD = table("ward", "site_id big", "name text", pk="site_id", fk=["site_id -> site.id"])
"""Each row is one with a site, as in Django's multi-table inheritance."""
COLOUR = table("colour", "id uuid", "code text", "number int", unique=["code", "number"])


def found(upstream: Table, *columns: str, references: tuple[KeyReference, ...] = ()) -> list[str]:
    """Name the raw ids among a layout's columns."""
    layout = Layout(
        table=VISIT,
        columns=tuple((name, "integer") for name in columns),
        insert_only=("id",),
        references=references,
        generics=(LayoutGeneric(type_column="type_id", id_column="object_id"),),
        key=KeyTree(table=VISIT, parts=(KeyColumn(column="code"),)),
    )
    return [raw.column for raw in raw_ids(layout, catalog(upstream, SITE, WARD, COLOUR))]


def visit(*fk: str) -> Table:
    """Make the upstream's table."""
    return table("visit", "id uuid", "code text", "site_id big", "place int", "object_id text", fk=fk)


@pytest.mark.parametrize("key", ["site_id -> site.id", "site_id -> ward.site_id", "code site_id -> site.code id"])
def test_a_number_that_another_database_gave_is_one(key: str) -> None:
    assert found(visit(key), "id", "code", "site_id", "place") == ["site_id"]


@pytest.mark.parametrize(
    "key",
    [
        "site_id -> site.code",
        "site_id -> colour.id",
        "site_id -> colour.number",
        "site_id -> gone.id",
        "id -> colour.id",
    ],
)
def test_a_natural_value_is_none(key: str) -> None:
    assert found(visit(key), "id", "code", "site_id", "place") == []


def test_a_column_that_does_not_travel_as_a_value_is_none() -> None:
    key = KeyTree(table=SITE.name, parts=(KeyColumn(column="code"),))
    told = KeyReference(columns=("site_id",), target_columns=("id",), target=key)
    upstream = visit("site_id -> site.id", "object_id -> site.id")
    assert found(upstream, "id", "code", references=(told,)) == []
    assert found(upstream, "id", "code", "site_id", references=(told,)) == []


def test_tables_that_are_one_with_each_other_come_to_an_end() -> None:
    one = table("one", "id big", fk=["id -> two.id"])
    two = table("two", "id big", fk=["id -> one.id"])
    layout = Layout(table=VISIT, columns=(("site_id", "integer"),))
    assert raw_ids(layout, catalog(visit("site_id -> one.id"), one, two)) == []
