"""How large batches are: as large as the line carries in a reasonable time, found by trying."""

from __future__ import annotations

WANTED = 15.0
"""Seconds that the changes of a batch should take at most: what a line that breaks has to carry again."""
TRIPS = 40
"""Round trips that a batch takes however small it is."""
NEAR = 0.05
"""Seconds of a round trip below which an upstream is near, and the first batch as large as any."""
FIRST = 500
"""Changes in the first batch to an upstream that is not near."""
LEAST = 100
"""Changes below which a batch is not made smaller: its round trips would cost more than it saves."""
STEP = 4.0
"""A batch is at most so many times larger or smaller than the one before."""


class Pace:
    """The size of the next batch on one route; a transaction is never split, and may make it larger.

    ``round_trip`` is how long the upstream takes to answer anything, in seconds. Where that alone makes a batch slow,
    batches are so large that half of the time goes into their changes.

    >>> pace = Pace(20_000, round_trip=0.6)
    >>> pace.changes
    500
    >>> pace.note(500, seconds=28.0)  # 24 s of round trips, 4 s for the changes: there may be more of them
    >>> pace.changes
    1714
    """

    def __init__(self, most: int, round_trip: float = 0.0) -> None:
        self._most = most
        self._trips = TRIPS * round_trip
        self.changes = most if round_trip < NEAR else min(most, FIRST)
        """So many changes, or a few more to the end of a transaction, make the next batch."""

    def note(self, changes: int, seconds: float) -> None:
        """Learn from a batch of so many changes that took so long; a handful of changes says nothing."""
        if changes < min(LEAST, self.changes):
            return
        of_each = max(seconds - self._trips, seconds / STEP) / changes
        fitting = max(WANTED, self._trips) / max(of_each, 1e-9)
        nearest = min(max(fitting, self.changes / STEP), self.changes * STEP)
        self.changes = min(max(int(nearest), LEAST), self._most)
