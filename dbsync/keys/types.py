"""Types whose values cannot travel."""

from __future__ import annotations

from dbsync.model.catalog import Column

_UNREADABLE = frozenset(
    {
        "pg_node_tree",
        "pg_ndistinct",
        "pg_dependencies",
        "pg_mcv_list",
        "pg_brin_bloom_summary",
        "pg_brin_minmax_multi_summary",
        "gtsvector",
    }
)
"""PostgreSQL writes these as text and refuses to read them."""

_LARGE_OBJECT = "lo"


def unsupported(column: Column) -> str:
    """Say why a column's values cannot be captured and read again upstream; empty when they can.

    Everything else in PostgreSQL's catalogue of types comes back byte for byte: a property test goes over all of it.
    """
    name = column.cast.rsplit(".", 1)[-1].removesuffix("[]").strip('"')
    if name in _UNREADABLE:
        return f"PostgreSQL does not read values of type {column.type}"
    if column.type.rsplit(".", 1)[-1] == _LARGE_OBJECT:
        return "it points at a large object, which is in no table"
    return ""
