"""``dbsync config``: what dbsync.toml comes to, what may stand in it, and a table more."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from dbsync.cli import complete, output
from dbsync.cli.adding import Wish, planned, refuse_what_would_not_do
from dbsync.cli.init import catalogs
from dbsync.cli.options import ConfigOption, JsonOption
from dbsync.config.discover import discover
from dbsync.config.effective import Setting, effective
from dbsync.config.fields import ROW_ID
from dbsync.config.load import as_read, read_text
from dbsync.config.proposal import ProposedTable
from dbsync.errors import UsageError
from dbsync.model.names import TableName
from dbsync.model.registration import Mode

_COLUMN = 50
"""Behind which the places stand, as far as settings are shorter."""

app = typer.Typer(
    help="dbsync.toml: what it comes to, what may stand in it, and a table more.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
edit = typer.Typer(
    help="Change dbsync.toml; comments, order and everything else stay as they are.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(edit, name="edit")


@app.command("show")
def show(
    *,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="Also what the entries of tables and relays do not say.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show every setting that holds, and where it was said: in a line of the file, or nowhere (a default).

    It is TOML that dbsync reads. What is filled in from the environment or a file (${NAME}) stays as it is written,
    passwords are masked, relative paths are whole. No database is asked.

    JSON: file, and settings: each with name (tables[0].key), value, and line (null for a default).
    """
    path = discover(config, os.environ)
    text = read_text(path)
    settings = list(effective(as_read(text, path, os.environ), text, defaults=defaults))
    if json:
        found = [{"name": setting.name, "value": setting.value, "line": setting.line} for setting in settings]
        output.as_json({"file": str(path.absolute()), "settings": found})
        return
    output.line(f"# {path.absolute()}")
    for line in _as_toml(settings):
        output.line(line)


@app.command("schema")
def schema() -> None:
    """Print what may stand in dbsync.toml as JSON Schema, for editors that complete and check what is typed.

    Taplo and the editors that use it take it from a first line: #:schema ./dbsync.schema.json
    """
    from dbsync.config.schema import json_schema  # noqa: PLC0415 - only this needs it

    output.as_json(json_schema())


@edit.command("add-table")
def add_table(  # noqa: PLR0913 - each is an option
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="TABLE", help="Names, or patterns such as 'lab_*'.", autocompletion=complete.unregistered
        ),
    ],
    *,
    key: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Of the natural key; else it is found. Repeatable.")
    ] = None,
    row_id: Annotated[bool, typer.Option("--row-id", help="No natural key: each row gets a UUID of its own.")] = False,
    mode: Annotated[Mode | None, typer.Option(help="lookup: it only resolves references, and is not shipped.")] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="It never leaves the source. Repeatable.")
    ] = None,
    reference: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN=TABLE", help="A reference without a constraint. Repeatable.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no database: write the name, and what is given here.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the entries, and write nothing.")] = False,
    config: ConfigOption = None,
) -> None:
    """Add tables to dbsync.toml, as dbsync init would have written them: with key, reason, and what they refer to.

    The file is read as it would be, and the keys are looked at: what would not do is not written. Nothing else in it
    changes. A running service takes the tables in with SIGHUP.
    """
    from dbsync.config.edit import write  # noqa: PLC0415 - tomlkit takes long to import, and only this needs it
    from dbsync.config.insert import with_entries  # noqa: PLC0415
    from dbsync.config.write import entry  # noqa: PLC0415

    if key and row_id:
        raise UsageError("--key and --row-id say different things", hint="give one of them")
    wish = Wish(
        names=tuple(names),
        mode=mode,
        key=ROW_ID if row_id else tuple(key or ()),
        exclude=tuple(exclude or ()),
        references=dict(_reference(one) for one in reference or ()),
    )
    path = discover(config, os.environ)
    text = read_text(path)
    before = as_read(text, path, os.environ)
    seen = None if offline else catalogs(before)
    entries = planned(before, wish, seen)
    rendered = [entry(one) for one in entries]
    after = with_entries(text, rendered)
    refuse_what_would_not_do(as_read(after, path, os.environ), entries, seen)
    if dry_run:
        output.line("\n\n".join(rendered))
        return
    write(path, after)
    _say(path, entries)


def _reference(text: str) -> tuple[str, TableName]:
    column, _, table = text.partition("=")
    try:
        return column.strip(), TableName.parse(table)
    except ValueError:
        raise UsageError(f"not a reference: {text!r}", hint="--reference site_id=sites_site") from None


def _say(path: Path, entries: Sequence[ProposedTable]) -> None:
    for one in entries:
        output.line(
            f"{one.name}  {'lookup, ' if one.mode is Mode.LOOKUP else ''}key: {one.why or 'found by dbsync check'}"
        )
    shipped = " ".join(str(one.name) for one in entries if one.mode is Mode.SHIP)
    output.talk(
        f"Written to {path}. Read the keys through, then: dbsync check; dbsync install-upstream; dbsync install-triggers"
    )
    if shipped:
        output.talk(f"The rows that are there already: dbsync backfill {shipped}")


def _as_toml(settings: Sequence[Setting]) -> Iterator[str]:
    """Write settings as the file has them, section by section, each with where it was said."""
    for section, members in groupby(settings, lambda setting: setting.loc[:-1]):
        lines = [(f"{one.loc[-1]} = {_value(one.value)}", one.line) for one in members]
        width = min(max(len(written) for written, _ in lines), _COLUMN)
        yield ""
        yield f"[[{section[0]}]]" if len(section) > 1 else f"[{section[0]}]"
        yield from (
            f"{written:<{width}}   # {'default' if line is None else f'line {line}'}" for written, line in lines
        )


def _value(value: object) -> str:
    """Write a value as TOML, on one line."""
    import tomlkit  # noqa: PLC0415 - takes long to import, and only this needs it

    if isinstance(value, dict):
        inside = ", ".join(f"{tomlkit.key(name).as_string()} = {_value(found)}" for name, found in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list):
        return f"[{', '.join(_value(found) for found in value)}]"
    return tomlkit.item(value).as_string()
