"""Put entries of ``[[tables]]``, or a setting of a section, into the text of a dbsync.toml, behind what is there. Pure.

Nothing else of the text is touched, not a blank: it is not written anew from what was understood of it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence

from dbsync.config.locate import locate

TABLES = "tables"


def with_entries(text: str, entries: Sequence[str]) -> str:
    r"""Give a text, which is valid TOML, with entries added; each is some lines, as :mod:`dbsync.config.write` makes them.

    >>> with_entries('[node]\n[[tables]]\nname = "a"  # first\n\n[batch]\n', ['[[tables]]\nname = "b"']).splitlines()
    ['[node]', '[[tables]]', 'name = "a"  # first', '', '[[tables]]', 'name = "b"', '', '[batch]']
    """
    end = "\r\n" if "\r\n" in text else "\n"
    lines = text.replace("\r\n", "\n").rstrip("\n").split("\n")
    behind = _end_of_tables(lines)
    added = [line for entry in entries for line in ("", *entry.split("\n"))]
    apart = [""] if lines[behind : behind + 1] not in ([], [""]) else []
    return end.join([*lines[:behind], *added, *apart, *lines[behind:], ""])


def with_setting(text: str, section: str, setting: str) -> str:
    r"""Give a text, which is valid TOML and has the section, with a setting behind its last one: comments after that are the next's.

    >>> with_setting(
    ...     '[upstream]\nurl = "a"  # here\n\n# --- tables ---\n[[tables]]\n', "upstream", 'name = "b"'
    ... ).splitlines()
    ['[upstream]', 'url = "a"  # here', 'name = "b"', '', '# --- tables ---', '[[tables]]']
    """
    end = "\r\n" if "\r\n" in text else "\n"
    lines = text.replace("\r\n", "\n").split("\n")
    behind = _end_of(lines, section)
    return end.join([*lines[:behind], setting, *lines[behind:]])


def _end_of(lines: Sequence[str], section: str) -> int:
    """Count the lines up to the end of a section's last value."""
    positions = locate("\n".join(lines))
    found = [
        span.line for places in (positions.keys, positions.values) for loc, span in places.items() if loc[0] == section
    ]
    last = max(found, default=len(lines))
    while last < len(lines) and not _is_whole(lines[:last]):  # a value of many lines
        last += 1
    return last


def _end_of_tables(lines: Sequence[str]) -> int:
    """Count the lines up to the end of the last entry, with the comments that follow it without a blank line."""
    last = _end_of(lines, TABLES)
    while last < len(lines) and lines[last].lstrip().startswith("#"):
        last += 1
    return last


def _is_whole(lines: Sequence[str]) -> bool:
    try:
        tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError:
        return False
    return True
