"""A range of the stage."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from dbsync.keys.expression import Sql


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The staged changes from after the place ``low`` up to ``high``; None is open."""

    low: int | None = None
    high: int | None = None
    renames: bool = False
    origin: str | None = None
    """The first origin that all of them share, where it is asked for."""

    def condition(self, alias: str = "s") -> Sql:
        """Say the range.

        >>> Span(low=4, high=9).condition().as_string(None)
        '"s".place > 4 AND "s".place <= 9'
        """
        name = sql.Identifier(alias)
        parts: list[Sql] = []
        if self.low is not None:
            parts.append(sql.SQL("{}.place > {}").format(name, sql.Literal(self.low)))
        if self.high is not None:
            parts.append(sql.SQL("{}.place <= {}").format(name, sql.Literal(self.high)))
        return sql.SQL(" AND ").join(parts) if parts else sql.SQL("true")
