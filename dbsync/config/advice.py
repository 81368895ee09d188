"""What works in a configuration file but is unwise: for ``dbsync check``, as warnings."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping

from dbsync.config.locate import Loc, locate
from dbsync.config.problems import Fault, Problem, place
from dbsync.config.redact import secret_spans

_FOR_SHIPPING = ("exclude", "truncate", "on_conflict", "on_delete", "on_error", "on_skew", "newest_by")


def advise(text: str) -> tuple[Problem, ...]:
    """Find passwords written in the file itself, and settings that have no effect.

    The text is that of a file which :func:`dbsync.config.load.parse` accepts; of any other it says nothing.
    """
    text = text.replace("\r\n", "\n")
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError):
        return ()
    faults = [*_passwords(document), *_without_effect(document)]
    return place(faults, text, locate(text))


def _passwords(document: Mapping[str, object]) -> Iterator[Fault]:
    for section, key in (("node", "source"), ("upstream", "url")):
        holder = document.get(section)
        value = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(value, str) and secret_spans(value):
            yield Fault(
                loc=(section, key),
                message="a password stands in the file",
                hint="write ${NAME} or ${file:/path} for it, or leave it to PGPASSFILE",
            )


def _without_effect(document: Mapping[str, object]) -> Iterator[Fault]:
    entries = document.get("tables")
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if not isinstance(entry, dict):
            continue
        loc: Loc = ("tables", index)
        if entry.get("skip") is True:
            settings = [key for key in entry if key not in {"name", "skip", "except"}]
            reason = "the entry says 'skip'"
        elif entry.get("mode") == "lookup":
            settings = [key for key in entry if key in _FOR_SHIPPING]
            reason = "a lookup table is not shipped"
        else:
            continue
        yield from (Fault(loc=(*loc, key), message=f"'{key}' has no effect: {reason}", at="key") for key in settings)
