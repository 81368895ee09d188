"""``dbsync check``: everything that can be told before anything is started."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from dbsync.check.explained import explain as explain_finding
from dbsync.check.finding import warning
from dbsync.cli import output
from dbsync.cli.options import ConfigOption, JsonOption
from dbsync.config.advice import advise
from dbsync.config.discover import discover
from dbsync.config.load import load, read_text
from dbsync.config.models import Config
from dbsync.model.findings import Finding
from dbsync.service.doctor import drift, examine


def check(
    *,
    here: Annotated[
        bool, typer.Option("--here", help="Check this node's own database, into which others bring their changes.")
    ] = False,
    explain: Annotated[
        str | None,
        typer.Option(metavar="CODE", help="Say what a finding of this code means and what to do, and check nothing."),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Look for everything that is wrong, or will be: before anything is started, and whenever something seems odd.

    Configuration, connections, privileges, keys, columns and triggers on both sides; what waits, how far the links are, clocks;
    and the servers: disks, vacuum, transactions that stay open. Changes nothing: it reads, in READ ONLY transactions, and
    counts no large table. Each finding comes with a remedy, SQL to paste or a command; what could not be looked at is said.
    Of an upstream over https only what it tells of itself is seen: type dbsync check --here on its server for the rest.
    Exits 0 when nothing stands in the way (warnings do not), 1 when something does, 78 when the file cannot be read.

    JSON: ok (bool) and findings, each with code (stable, for scripts), severity (ok, warning, error), where, what,
    remedy.
    """
    if explain is not None:
        output.explained(explain_finding(explain))
        return
    path = discover(config, os.environ)
    settings = load(path, os.environ)
    output.checked([*_advice(path), *examine(settings, here=here)], json=json)


def drifted(settings: Config, identity: str) -> list[Finding]:
    """Say what a migration of the application left to be done, if it was one of the source; ``identity`` names the database."""
    return drift(settings, identity)


def _advice(path: Path) -> list[Finding]:
    return [warning("unwise", problem.at(path), problem.message, problem.hint) for problem in advise(read_text(path))]
