"""How values look on a page."""

from __future__ import annotations

from datetime import UTC, datetime

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

LONG = 200
"""Characters of a value that are shown."""


def environment(package: str) -> Environment:
    """Give the templates of a package, with those that all share: everything is escaped, and a name that is missing is an error."""
    found = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("dbsync.pages")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["moment"] = moment
    found.filters["short"] = _short
    return found


def moment(at: datetime) -> str:
    """Write a time, in UTC.

    >>> moment(datetime(2026, 11, 24, 12, 0, 59, 999_999, UTC))
    '2026-11-24 12:00:59'
    """
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _short(value: str | None) -> str:
    """Show a value's beginning.

    >>> _short(None), _short("a"), len(_short("a" * 999))
    ('null', 'a', 201)
    """
    if value is None:
        return "null"
    return value if len(value) <= LONG else value[:LONG] + "\N{HORIZONTAL ELLIPSIS}"
