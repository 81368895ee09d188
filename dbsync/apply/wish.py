"""What a share is to do to its table, asked before where the doing alone would run triggers. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a share is to do to its table."""

    inserts: bool = True
    """There are rows to insert."""
    updates: bool = True
    """There are rows to update in which no watched column changes."""
    watched: frozenset[str] = frozenset()
    """The columns that triggers wait for to be named in an update."""
    changed: frozenset[str] = frozenset()
    """Those of them that change in some row."""
