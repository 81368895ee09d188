"""A computer whose clock is wrong: the time that one process sees, by Debian's libfaketime."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

_LIBRARIES = tuple(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
_YEAR = timedelta(days=365)


def available() -> bool:
    """Say whether the library is installed (Debian's package ``libfaketime``); where all is asked for, it must be."""
    return bool(_LIBRARIES) or bool(os.environ.get("DBSYNC_TEST_REQUIRE"))


def wrong_by(years: int) -> Mapping[str, str]:
    """Give the environment of a process whose clock is so many years ahead, or behind."""
    return {
        "LD_PRELOAD": str(_LIBRARIES[0]),
        "FAKETIME": f"{(years * _YEAR).days:+d}d",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def year(years: int) -> int:
    """Give the year that such a clock shows."""
    return (datetime.now(UTC) + years * _YEAR).year
