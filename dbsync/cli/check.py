"""``dbsync check``: everything that can be told before anything is started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import psycopg
import typer

from dbsync import schema
from dbsync.capture import install
from dbsync.check.elsewhere import of_elsewhere, of_stick
from dbsync.check.finding import warning
from dbsync.check.https import of_https
from dbsync.check.preflight import is_fine, of_topmost, preflight
from dbsync.cli import output
from dbsync.cli.options import ConfigOption, JsonOption
from dbsync.cli.reach import reach
from dbsync.config.advice import advise
from dbsync.config.discover import discover
from dbsync.config.fields import Route
from dbsync.config.load import load, read_text
from dbsync.config.models import Config
from dbsync.errors import DbsyncError
from dbsync.model.catalog import Catalog
from dbsync.model.findings import Finding
from dbsync.model.names import TableName
from dbsync.model.registration import Registry


def check(*, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Check everything that can be told before anything is started.

    Configuration, connections, privileges, keys, columns and triggers, on both sides. Changes nothing: it reads, in
    READ ONLY transactions. Each finding comes with a remedy, SQL to paste or a command. An upstream over https is asked
    whether it is there; what is in its database is for a check over there to say.
    Exits 0 when nothing stands in the way (warnings do not), 1 when something does, 78 when the file cannot be read.

    JSON: ok (bool) and findings, each with code (stable, for scripts), severity (ok, warning, error), where, what,
    remedy.
    """
    path = discover(config, os.environ)
    settings = load(path, os.environ)
    found = [*_advice(path), *(_topmost(settings) if settings.above is None else _both(settings))]
    fine = is_fine(found)
    if json:
        output.findings_json(found, fine=fine)
    else:
        output.findings(found)
        output.talk(f"{output.summary(found)}{'' if fine else ': mend the errors before anything is started'}")
    if not fine:
        raise typer.Exit(1)


def _both(settings: Config) -> list[Finding]:
    with reach(settings.node.source, "source") as source, _upstream(settings) as upstream:
        found = preflight(settings, source, upstream, revision=schema.head(), trigger_states=_trigger_states)
        if settings.upstream.route is not Route.DIRECT:
            way = of_stick if settings.upstream.route is Route.FILE else of_https
            found += of_elsewhere(settings, source, way(settings))
    return found


def _topmost(settings: Config) -> list[Finding]:
    with reach(settings.node.source, "upstream") as own:
        return of_topmost(settings, own, revision=schema.head())


def _upstream(settings: Config) -> AbstractContextManager[psycopg.Connection | DbsyncError | None]:
    if settings.upstream.route is Route.DIRECT:
        return reach(settings.upstream.database, "upstream")
    return nullcontext()


def _advice(path: Path) -> list[Finding]:
    return [warning("unwise", problem.at(path), problem.message, problem.hint) for problem in advise(read_text(path))]


def _trigger_states(connection: psycopg.Connection, registry: Registry, catalog: Catalog) -> Mapping[TableName, str]:
    return install.states(connection, install.captures(connection, registry, catalog))
