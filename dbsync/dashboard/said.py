"""How the pages say what the commands say too: times, sizes, keys, and the command that does the same. Pure."""

from __future__ import annotations

import shlex
from datetime import datetime

from jinja2 import Environment

from dbsync.dashboard.facts import Facts
from dbsync.dashboard.plot import plot
from dbsync.model.words import ago, size
from dbsync.pages.rendered import environment
from dbsync.service import ledger
from dbsync.service.case import OPS, SOURCE_MAY_WIN, said_key
from dbsync.service.quarantine import table_of
from dbsync.verify.words import counted


def templates(assets: str) -> Environment:
    """Give the templates, with what they say things by; ``assets`` stands in the address of the files beside them."""
    found = environment("dbsync.dashboard")
    found.filters |= {
        "ago": ago,
        "size": size,
        "number": number,
        "key": said_key,
        "op": lambda op: OPS.get(op, op),
        "table": lambda relation: str(table_of(relation)),
        "counted": counted,
        "span": lambda length: ago(length.total_seconds()),
    }
    found.filters |= {"found": ledger.found, "decided": ledger.decided, "sentence": sentence}
    found.globals |= {
        "assets": assets,
        "passed": passed,
        "plot": plot,
        "command": command,
        "may_be_undone": ledger.may_be_undone,
        "source_wins": SOURCE_MAY_WIN,
    }
    return found


def sentence(text: str) -> str:
    """Make a sentence of words.

    >>> sentence("upstream kept what it had")
    'Upstream kept what it had.'
    """
    return f"{text[:1].upper()}{text[1:]}."


def number(value: float) -> str:
    """Write a number as a person reads it.

    >>> number(1204)
    '1,204'
    """
    return f"{value:,}"


def passed(at: datetime, facts: Facts) -> str:
    """Say how long ago something was, no finer than it stays true for a while."""
    seconds = (facts.now - at).total_seconds()
    return "just now" if seconds < 60 else f"{ago(max(seconds, 120.0))} ago"  # noqa: PLR2004 - a minute


def command(*words: str | int, here: bool = False, **options: str | None) -> str:
    """Write a command as a shell takes it.

    >>> command("quarantine", "skip", 7, here=True, reason="entered twice", by=None)
    "dbsync quarantine skip 7 --here --reason 'entered twice'"
    """
    said = ["dbsync", *map(str, words), *(["--here"] if here else [])]
    for name, value in options.items():
        if value is not None:
            said += [f"--{name.replace('_', '-')}", value]
    return shlex.join(said)
