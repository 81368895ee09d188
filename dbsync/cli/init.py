"""``dbsync init``: a dbsync.toml from what the databases say."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from contextlib import closing
from difflib import get_close_matches
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from dbsync.catalog.former import Former
from dbsync.catalog.inspect import inspect
from dbsync.check.circles import of_circles
from dbsync.check.compare import compare
from dbsync.cli import output
from dbsync.config.fields import ROW_ID, Route
from dbsync.config.load import parse
from dbsync.config.models import Config
from dbsync.config.proposal import Proposal
from dbsync.errors import DbsyncError, Refusal, UsageError
from dbsync.keys.propose import propose
from dbsync.keys.register import register
from dbsync.model.catalog import Catalog
from dbsync.model.findings import Severity
from dbsync.model.registration import Mode
from dbsync.postgres import connect, translated
from dbsync.service.naturals import naturals
from dbsync.service.nodes import make_keys
from dbsync.service.reach import reach

_STDOUT = Path("-")
KEYS = "keys"
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def init(  # noqa: PLR0913 - the options of a command
    patterns: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATTERN]...", help="More patterns, as for --tables.", show_default=False),
    ] = None,
    *,
    source: Annotated[
        str, typer.Option(metavar="DSN", help="The database to read: service=..., key=value pairs or postgresql://...")
    ],
    upstream: Annotated[
        str,
        typer.Option(
            metavar="DSN",
            help="The database to ship to, written the same way; or https://host, or file:///folder/on/a/stick.",
        ),
    ],
    node: Annotated[str | None, typer.Option(metavar="NAME", help="This node's name; else the host's.")] = None,
    tables: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Only tables such as 'clinic_*', and what they refer to. Repeatable."),
    ] = None,
    to: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to; - prints it.")] = Path(
        "dbsync.toml"
    ),
    django: Annotated[
        str | None,
        typer.Option(
            metavar="SETTINGS",
            help="A Django settings module: natural keys that its models know (natural_key(), natural_key_fields) go first.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a dbsync.toml, with a key and reasons for every table found.

    Each table gets its natural key and the reason for it; where several would do, the others stand in a comment;
    where there is none, each row gets a UUID of its own (row_id). Historical tables get the references that they
    keep without a constraint, generic references are found, Django's bookkeeping is left out. --django asks the project's models too,
    in its own environment; the models need no change, and python manage.py dbsync init does it by itself.

    Asks nothing, changes nothing in either database, overwrites nothing without --force. The upstream may be out of
    reach. A password given in a DSN ends up in the file: prefer PGPASSFILE, a service file, or '${NAME}' in its place.
    """
    from dbsync.config.write import render  # noqa: PLC0415 - tomlkit takes long to import, and only this needs it

    if to != _STDOUT and to.exists() and not force:
        raise Refusal(
            f"{to} exists already", why="init overwrites nothing", hint="--force, or --output with another name"
        )
    node = node or _host()
    empty = parse(render(Proposal(database="", tables=()), node, source, upstream), path=to, environ=os.environ)
    catalog, there = catalogs(empty)
    wanted = (*(tables or ()), *(patterns or ()))
    _refuse_idle(wanted, catalog)
    proposal = propose(catalog, there, wanted, naturals(django) if django else {})
    text = render(proposal, node, source, upstream)
    _write(to, text, force=force)
    if to != _STDOUT:
        _make_keys(to.parent / KEYS)
    _report(proposal, parse(text, path=to, environ=os.environ), (catalog, there), to)


def catalogs(settings: Config) -> tuple[Catalog, Catalog | None]:
    """Look at the source's tables, and at the upstream's where it is in reach; say where it is not."""
    with closing(connect(settings.node.source, name="source")) as connection, translated("source"):
        catalog = inspect(connection)
    if settings.upstream.route is not Route.DIRECT:
        output.talk("The upstream's tables are not seen from here: dbsync check over there looks at them.")
        return catalog, None
    with reach(settings.upstream.database, "upstream") as session:
        if isinstance(session, DbsyncError):
            output.talk(f"The upstream was not asked ({session.what}): dbsync check compares both sides later.")
            return catalog, None
        with translated("upstream"):
            there = inspect(session)
    if not there.tables:
        output.talk("The upstream has no tables yet: it needs the application's schema before anything can be shipped.")
        return catalog, None
    return catalog, there


def _refuse_idle(patterns: Sequence[str], catalog: Catalog) -> None:
    """Refuse a pattern that selects nothing: what it was to select would be in no file, and nobody would miss it."""
    idle = [pattern for pattern in patterns if not any(name.matches(pattern) for name in catalog.tables)]
    if idle:
        close = get_close_matches(idle[0], [str(name) for name in catalog.tables], n=1)
        raise UsageError(
            f"no table of {catalog.database} is called {', '.join(idle)}",
            where="--tables",
            why="nothing was written: a slip would leave tables out",
            hint=f"did you mean {close[0]}?" if close else "without --tables every table is taken",
        )


def _host() -> str:
    """Name the node after the machine, in the letters a name may have."""
    return _NOT_IN_A_NAME.sub("-", socket.gethostname().partition(".")[0])[:63].strip("-") or "node"


def _write(to: Path, text: str, *, force: bool) -> None:
    """Write the file for its owner only: it may hold a password."""
    if to == _STDOUT:
        output.line(text.rstrip("\n"))
        return
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with os.fdopen(os.open(to, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise Refusal(f"cannot write {to}", why=error.strerror or str(error), hint="--output FILE") from None


def _make_keys(folder: Path) -> None:
    """Make the node's keys beside its configuration; those that are there stay."""
    public = make_keys(folder)
    if public is not None:
        output.talk(f"This node's keys are in {folder}: keep them to yourself, and a copy of them safe.")


def _report(proposal: Proposal, settings: Config, seen: tuple[Catalog, Catalog | None], to: Path) -> None:
    """Say what was found, what dbsync check will refuse of it, and what to type next."""
    catalog, there = seen
    by_uuid = sum(entry.key == ROW_ID for entry in proposal.tables)
    lookups = sum(entry.mode is Mode.LOOKUP for entry in proposal.tables)
    output.talk(
        f"{len(catalog.tables):,} tables in {catalog.database}: {len(proposal.tables) - lookups:,} to ship"
        f" ({by_uuid:,} of them by row_id), {lookups:,} lookups, {len(proposal.left_out):,} left out."
    )
    registry, findings = register(settings, catalog)
    if there is not None:
        findings = (*findings, *compare(registry, there, settings.policies, Former()), *of_circles(registry, there))
    _say_wrong([f"{finding.where}: {finding.what}" for finding in findings if finding.severity is Severity.ERROR])
    if to != _STDOUT:
        output.talk(f"Written to {to}. Read the keys through, then: dbsync check{_option(to)}")


def _say_wrong(wrong: Sequence[str]) -> None:
    for line in wrong:
        output.talk(f"To be decided by you: {line}")


def _option(to: Path) -> str:
    return "" if to == Path("dbsync.toml") else f" --config {quote(str(to))}"
