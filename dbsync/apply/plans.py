"""The plans that an applier's session keeps: whose statements take longer to plan than to run, and for how long.

PostgreSQL keeps a plan until somebody analyzes the table. One that was made when the table was a page reads all of it, and goes on
so when it is large.
"""

from __future__ import annotations

import math
import time

import psycopg

from dbsync.statements import statement

FEW = 100
"""Changes up to which the plans of the statements that write them are kept for the next batch as small."""
KEPT = 10.0
"""Seconds after which they are made anew all the same: the tables may have grown, by whomever."""
NEVER = 1 << 30
"""Executions after which a plan is kept; one that is the same for any number of changes is kept from the first on."""


class Plans:
    """Those of one session. Under a pooler that deals sessions out there are none to keep."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._made_at = -math.inf
        if connection.prepare_threshold is not None:
            connection.prepare_threshold = NEVER  # a plan made for one change must not meet a hundred thousand

    def kept_for(self, changes: int) -> bool:
        """Say whether the plans for so many changes are kept; forget those of before when it is time.

        PostgreSQL's own for foreign keys are kept whatever the number is: before many changes they are forgotten too.
        """
        few, now = changes <= FEW, time.monotonic()
        if not few or now >= self._made_at + KEPT:
            self._connection.execute(statement("apply", "forget_plans"))
            self._made_at = now
        return few
