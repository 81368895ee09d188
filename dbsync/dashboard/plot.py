"""Two small plots of what came or went: changes as bars, the age of the oldest as a line. Pure: places, no drawing.

Places are in units of a view box of :data:`WIDTH` by :data:`HEIGHT`; the template draws, and the browser stretches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from dbsync.dashboard.facts import History, Moment

WIDTH, HEIGHT = 960.0, 120.0
LEAST = 1.0
"""A bar is never lower: something came."""
TICKS = ((1.0, "1 s"), (60.0, "1 min"), (3600.0, "1 h"), (86_400.0, "1 day"), (864_000.0, "10 days"))
_FASTEST = 0.1
"""Seconds: the lag at the plot's foot."""
_LOWEST = 120.0
"""Seconds: the lag at the top is never less, so that a quiet day does not look like a wild one."""
_LABELS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """The changes of one step."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A line across the plot, and what it stands for."""

    y: float
    label: str

    @property
    def share(self) -> float:
        """Say how far from the top it is, in parts of a hundred."""
        return round(100 * self.y / HEIGHT, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A history, placed."""

    bars: tuple[Bar, ...]
    most: int
    """Changes in the highest bar."""
    lines: tuple[str, ...]
    """The lag, as points of polylines; a step in which nothing came is a gap."""
    dots: tuple[tuple[float, float], ...]
    """Steps between two gaps, which make no line."""
    ticks: tuple[Tick, ...]
    """Of the lag."""
    times: tuple[datetime, ...]
    """Below, from left to right, the same distance apart."""
    total: int
    longest: float | None
    """The longest lag, in seconds."""


def plot(history: History) -> Plot:
    """Place a history."""
    moments = history.moments
    most = max((one.changes for one in moments), default=0)
    longest = max((one.lag for one in moments if one.lag is not None), default=None)
    top = max(2 * (longest or 0.0), _LOWEST)
    runs = list(_runs(moments, top))
    return Plot(
        bars=tuple(_bars(moments, most)),
        most=most,
        lines=tuple(" ".join(f"{x:g},{y:g}" for x, y in run) for run in runs if len(run) > 1),
        dots=tuple(run[0] for run in runs if len(run) == 1),
        ticks=tuple(Tick(y=_height_of(seconds, top), label=label) for seconds, label in TICKS if seconds <= top),
        times=tuple(moments[len(moments) * part // _LABELS].begin for part in range(_LABELS)) if moments else (),
        total=history.changes,
        longest=longest,
    )


def _bars(moments: Sequence[Moment], most: int) -> Iterator[Bar]:
    step = WIDTH / max(len(moments), 1)
    for place, one in enumerate(moments):
        if one.changes:
            height = max(HEIGHT * one.changes / most, LEAST)
            yield Bar(
                x=round(place * step + step * 0.1, 1),
                y=round(HEIGHT - height, 1),
                width=round(step * 0.8, 1),
                height=round(height, 1),
            )


def _runs(moments: Sequence[Moment], top: float) -> Iterator[list[tuple[float, float]]]:
    """Give the lag's points, each run of steps without a gap by itself."""
    step = WIDTH / max(len(moments), 1)
    run: list[tuple[float, float]] = []
    for place, one in enumerate(moments):
        if one.lag is not None:
            run.append((round((place + 0.5) * step, 1), _height_of(one.lag, top)))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _height_of(seconds: float, top: float) -> float:
    """Place a lag: from a tenth of a second at the foot to the longest at the top, by its logarithm."""
    share = math.log(max(seconds, _FASTEST) / _FASTEST) / math.log(top / _FASTEST)
    return round(HEIGHT * (1 - min(share, 1.0)), 1)
