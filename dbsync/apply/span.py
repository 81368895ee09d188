"""A range of the stage."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from dbsync.keys.expression import Sql

Place = tuple[int, int]
"""Where a change stands in the stage: (tx, seq)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The staged changes from after ``low`` up to ``high``; None is open."""

    low: Place | None = None
    high: Place | None = None
    renames: bool = False
    origin: str | None = None
    """The first origin that all of them share, where it is asked for."""

    def condition(self, alias: str = "s") -> Sql:
        """Say the range.

        >>> Span(low=(1, 4), high=(2, 9)).condition().as_string(None)
        '("s".tx, "s".seq) > (1, 4) AND ("s".tx, "s".seq) <= (2, 9)'
        """
        name = sql.Identifier(alias)
        parts: list[Sql] = []
        if self.low is not None:
            parts.append(sql.SQL("({0}.tx, {0}.seq) > ({1}, {2})").format(name, *map(sql.Literal, self.low)))
        if self.high is not None:
            parts.append(sql.SQL("({0}.tx, {0}.seq) <= ({1}, {2})").format(name, *map(sql.Literal, self.high)))
        return sql.SQL(" AND ").join(parts) if parts else sql.SQL("true")
