"""What a shell offers when somebody presses Tab: tables, cases, conflicts, nodes and lists.

Names come from dbsync.toml, the rest from the database, which has a moment to answer. Where anything is in the way nothing is offered,
without a word: whoever types it in full is told what is wrong.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psycopg
import typer

from dbsync.config.discover import discover
from dbsync.config.load import load
from dbsync.config.models import Config
from dbsync.errors import DbsyncError
from dbsync.model.names import TableName
from dbsync.statements import statement

Offered = list[tuple[str, str]]
"""Words, each with what it means."""

CONNECT = 2
"""Seconds; libpq waits no less."""
ANSWER = "1s"
"""The longest that a statement may take."""
_ONE_WORD = re.compile(r"[\w.$+-]+")
"""What a shell takes as it stands."""
_LOUD = re.compile(r"[^\w .,()/+-]")
"""What a shell might take for more than it is: keys hold what people somewhere have typed."""


Words = Iterable[tuple[str, str]]


def _offering(words: Callable[[Config, bool], Words]) -> Callable[[typer.Context], Offered]:
    """Make what typer calls: of a function that is given the configuration, and whether ``--here`` was typed."""

    def offer(context: typer.Context) -> Offered:
        with suppress(DbsyncError, psycopg.Error, OSError):
            named = context.params.get("config") or context.find_root().params.get("config")
            config = load(discover(Path(named) if named else None, os.environ), os.environ)
            found = dict(words(config, bool(context.params.get("here"))))
            return [(word, _LOUD.sub("?", meaning)) for word, meaning in found.items() if _ONE_WORD.fullmatch(word)]
        return []

    return offer


def _registered(config: Config, _here: bool) -> Words:
    yield from ((str(entry.table), entry.mode.value) for entry in config.tables if entry.table and not entry.skip)
    with suppress(psycopg.Error):  # what the file says is offered all the same
        for relation, mode in _ask(config.node.source, "registered"):
            schema, _, name = relation.partition(".")
            yield str(TableName(schema, name)), mode


def _unregistered(config: Config, _here: bool) -> Words:
    present = (TableName(schema, name) for schema, name in _ask(config.node.source, "present"))
    return ((str(name), "") for name in present if config.entry_for(name) is None)


def _arrived(name: str) -> Callable[[Config, bool], Words]:
    """Ask the database in which changes arrived: the upstream's, or with ``--here`` this node's own."""
    return lambda config, here: _ask(config.node.source if here else config.upstream.database, name)


def _own(name: str) -> Callable[[Config, bool], Words]:
    return lambda config, _: _ask(config.node.source, name)


def _ask(dsn: str, name: str) -> list[tuple[str, str]]:
    with psycopg.connect(dsn, autocommit=True, connect_timeout=CONNECT, application_name="dbsync") as connection:
        connection.execute("SELECT pg_catalog.set_config('statement_timeout', %s, false)", [ANSWER])
        return connection.execute(statement("complete", name)).fetchall()


registered = _offering(_registered)
"""Tables that are shipped or looked up: those that dbsync.toml names, and those that its patterns have selected."""
unregistered = _offering(_unregistered)
"""The source's tables that no entry of dbsync.toml is about."""
cases = _offering(_arrived("cases"))
"""Numbers of the cases in quarantine."""
conflicts = _offering(_arrived("conflicts"))
"""Numbers of the ledger's entries."""
peers = _offering(_own("peers"))
"""Nodes and relays that may speak to this one."""
lists = _offering(_own("lists"))
"""Boxes that were checked."""
