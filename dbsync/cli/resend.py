"""``dbsync resend``: rows of the source go upstream once more."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from dbsync.cli import complete, output
from dbsync.cli.options import ConfigOption
from dbsync.cli.settings import settings
from dbsync.errors import UsageError
from dbsync.model.names import TableName
from dbsync.service.resend import Resent, width
from dbsync.service.resend import resend as send_again
from dbsync.verify.words import counted, shown_key

Key = tuple[str | None, ...]


def resend(
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="One table that is shipped.", autocompletion=complete.registered)
    ],
    values: Annotated[
        list[str] | None,
        typer.Argument(metavar="VALUE...", help="The values of a natural key; of several keys one after the other."),
    ] = None,
    *,
    key: Annotated[  # noqa: ARG001 - the values behind it are arguments, for their number differs by table
        bool, typer.Option("--key", help="Stands before the values of a key, in the order that dbsync tables shows.")
    ] = False,
    keys_from: Annotated[
        str | None,
        typer.Option("--keys-from", metavar="FILE", help="Read keys from a file, or - for stdin: a JSON array a line."),
    ] = None,
    with_parents: Annotated[
        bool, typer.Option("--with-parents", help="Also the rows that these refer to, to any depth.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Put rows into the change log once more, as they are now: dbsync run ships them like any change.

    To be typed at the source: dbsync resend clinic_visit --key SUBJ-0012 1000. What the upstream has already is brought
    up to date, and nothing is doubled. A row that the source does not have any more cannot be resent. Exits 1 when the
    source lacks one of the keys.
    """
    chosen = settings(config)
    name = _table(table)
    keys = [*_typed(values or (), width(chosen, name), name), *_read(keys_from)]
    if not keys:
        raise UsageError(
            "no key was given", hint=f"dbsync resend {table} --key VALUE...   (dbsync tables --match {table})"
        )
    done = send_again(chosen, name, keys, with_parents=with_parents)
    _show(name, done)
    if done.absent:
        raise typer.Exit(1)


def _show(name: TableName, done: Resent) -> None:
    for table, rows in done.rows:
        output.line(f"{table}: {counted(rows, 'row')} in the change log once more")
    for key in done.absent:
        output.talk(f"{name} {shown_key(key)} is not in the source")
    if done.rows:
        output.talk("dbsync run --once   ships them; a running service does so by itself")


def _table(text: str) -> TableName:
    try:
        return TableName.parse(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no table name", hint="dbsync tables --registered") from error


def _typed(values: Sequence[str], leaves: Sequence[str], name: TableName) -> list[Key]:
    """Part the values of the command line into keys."""
    if len(values) % len(leaves):
        raise UsageError(
            f"a key of {name} has {counted(len(leaves), 'value')}; {counted(len(values), 'value')} are no whole keys",
            why=f"they are, in this order: {', '.join(leaves)}",
            hint="put a value with spaces into quotes, and -- before the first that begins with -",
        )
    return [tuple(values[start : start + len(leaves)]) for start in range(0, len(values), len(leaves))]


def _read(source: str | None) -> list[Key]:
    if source is None:
        return []
    if source == "-":
        return _keys(sys.stdin, "stdin")
    try:
        with Path(source).open(encoding="utf-8") as file:
            return _keys(file, source)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{source} cannot be read", why=str(getattr(error, "strerror", error))) from error


def _keys(lines: Iterable[str], where: str) -> list[Key]:
    """Read a JSON array a line; numbers keep their digits."""
    found: list[Key] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
        except ValueError:
            values = None
        if not isinstance(values, list) or not all(value is None or isinstance(value, str) for value in values):
            raise UsageError(f'{where}:{number} is no JSON array of a key\'s values, such as ["SUBJ-0012", "1000"]')
        found.append(tuple(values))
    return found
