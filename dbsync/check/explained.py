"""What the findings mean, in more words than a line has: beside this module, in findings.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from dbsync.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """One finding, as somebody reads about it who has met it."""

    code: str
    group: str
    """What it is about."""
    means: str
    remedy: str


@cache
def explanations() -> dict[str, Explained]:
    """Give all of them by code, in the order in which a person would look into things."""
    groups = tomllib.loads(Path(__file__).with_name("findings.toml").read_text(encoding="utf-8"))
    return {
        code: Explained(code=code, group=group, means=means, remedy=remedy)
        for group, findings in groups.items()
        for code, (means, remedy) in findings.items()
    }


def explain(code: str) -> Explained:
    """Give one. Raises UsageError for a code that no finding has."""
    found = explanations().get(code)
    if found is None:
        close = get_close_matches(code, explanations(), n=1)
        hint = f"did you mean {close[0]}?" if close else "docs/reference/findings.md lists them all"
        raise UsageError(f"no finding is called {code!r}", where="--explain", hint=hint)
    return found
