"""How long, how large: as a person would say it, on every screen alike."""

from __future__ import annotations

from collections.abc import Sequence

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


def ago(seconds: float) -> str:
    """Say a duration in the unit a person would use.

    >>> ago(0.42), ago(12.0), ago(200.0), ago(90000.0)
    ('0.4 s', '12 s', '3 min', '25 h')
    """
    if seconds < 1:
        return f"{max(seconds, 0):.1f} s"
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * HOUR:
        return f"{seconds / MINUTE:.0f} min"
    return f"{seconds / HOUR:.0f} h" if seconds < 2 * DAY else f"{seconds / DAY:.0f} days"


def size(number: int) -> str:
    """Say a size as one would in dbsync.toml.

    >>> size(8192), size(1_234_567), size(2_000_000_000)
    ('8.2 kB', '1.2 MB', '2.0 GB')
    """
    for unit, factor in (("GB", 1_000**3), ("MB", 1_000**2)):
        if number >= factor:
            return f"{number / factor:,.1f} {unit}"
    return f"{number / 1_000:.1f} kB"


def some(names: Sequence[str], most: int = 5) -> str:
    """Name a few, and say how many there are beside them.

    >>> some(["visit", "crf"]), some(list("abcdefgh"))
    ('visit, crf', 'a, b, c, d, e and 3 more')
    """
    rest = len(names) - most
    return ", ".join(names) if rest <= 0 else f"{', '.join(names[:most])} and {rest:,} more"
