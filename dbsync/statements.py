"""The statements of dbsync: named blocks in ``sql/*.sql``, beside the package or in the checkout.

A file holds blocks, each begun by a line ``-- name: the_name`` and, below it, a comment that says why it is written
the way it is. ``{placeholders}`` are filled with :mod:`psycopg.sql` values only.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from psycopg import sql

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


@cache
def folder() -> Path:
    """Find ``sql/``: in the installed package, or at the top of the checkout."""
    here = Path(__file__).resolve().parent
    for candidate in (here / "sql", here.parent / "sql"):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"dbsync's sql folder is neither in {here} nor beside it")


@cache
def blocks(file: str) -> dict[str, str]:
    """Read all named blocks of ``sql/<file>.sql``."""
    parts = _NAME.split((folder() / f"{file}.sql").read_text(encoding="utf-8"))
    return {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}


@cache
def statement(file: str, name: str) -> sql.SQL:
    """Give one named block, ready for ``.format()`` or for execution."""
    return sql.SQL(blocks(file)[name])  # not a literal: read from our own file
