"""Single rows at a steady pace, as an application enters them all day: when each was committed, and when it was seen."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import LiteralString

from tests.benchmarks.routes import Route
from tests.support.databases import Database

PACE = 20.0
"""Rows a second."""
PATIENCE = 60.0
"""Seconds after the last of them was due."""
_LOOK = 0.001
"""Seconds between two looks upstream."""
_AHEAD = 50
"""Rows that one look asks for: the first that were not seen, in the order in which they must come."""

_ENTER: LiteralString = "INSERT INTO subject (subject_identifier, site_id, sex) VALUES (%s, 1, 'M')"
_SEEN: LiteralString = "SELECT subject_identifier FROM subject WHERE subject_identifier = ANY(%s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """One row: when its statement was sent and when its commit was known, by this machine's monotonic clock."""

    began: float
    committed: float


def enter(source: Database, tag: str, go_on: Callable[[int], bool], pace: float = PACE) -> list[Entered]:
    """Enter a row whenever one is due and ``go_on`` (asked with the number of rows so far) says so.

    One that was held up does not hurry those behind it.
    """
    entered: list[Entered] = []
    with source.connect() as connection:
        connection.execute(_ENTER, [f"{tag}warm-up"])
        due = time.monotonic()
        while go_on(len(entered)):
            time.sleep(max(0.0, due - time.monotonic()))
            began = time.monotonic()
            connection.execute(_ENTER, [_name(tag, len(entered))])
            entered.append(Entered(began=began, committed=time.monotonic()))
            due = max(due, began) + 1 / pace
    return entered


def watch(route: Route, tag: str, enough: Callable[[int], bool], seconds: float) -> dict[int, float]:
    """See rows arrive upstream on a session that looks every millisecond; give when, by their number.

    Ends when ``enough`` (asked at each look with the number of rows seen) says so, or when the rest did not come in time.
    """
    numbers = count()
    waiting: dict[str, int] = {}
    seen: dict[int, float] = {}
    deadline = time.monotonic() + seconds + PATIENCE
    with route.upstream.connect() as connection:
        while not enough(len(seen)) and time.monotonic() < deadline:
            waiting |= {_name(tag, number): number for number in islice(numbers, _AHEAD - len(waiting))}
            for (name,) in connection.execute(_SEEN, [list(waiting)]).fetchall():
                seen[waiting.pop(name)] = time.monotonic()
            time.sleep(_LOOK)
    return seen


def percentile(values: Sequence[float], percent: int) -> float:
    """Give the value that so many percent of them stay under, between neighbours where need be."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _name(tag: str, number: int) -> str:
    return f"{tag}{number}"
