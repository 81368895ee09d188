"""The manual page and the shells' completions, made from the program's own commands; written by :mod:`tests.docs.manual`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from dbsync.cli.main import app

FOLDER = Path(__file__).parents[2] / "packaging" / "share"
PAGE = FOLDER / "man" / "man1" / "dbsync.1"
COMPLETIONS = {
    "bash": FOLDER / "bash-completion" / "completions" / "dbsync",
    "zsh": FOLDER / "zsh" / "site-functions" / "_dbsync",
    "fish": FOLDER / "fish" / "vendor_completions.d" / "dbsync.fish",
}
"""Where each shell looks, below share/."""
_HEAD = r"""
.\" Made from the program's commands: python -m tests.docs.manual
.TH DBSYNC 1 "" dbsync "User Commands"
.ad l
.nh
.SH NAME
dbsync \- one-way replication of PostgreSQL databases by natural keys
.SH SYNOPSIS
.B dbsync
.RI [ OPTIONS ]
.I COMMAND
.RI [ ARGS ]...
.SH DESCRIPTION
dbsync copies what an unmodified application writes on an offline laptop to the server it belongs on, one way, from PostgreSQL to
PostgreSQL. Triggers capture every change in the application's own transaction, and a service ships the changes when there is a
way, each exactly once. Ids never travel: a row is recognised everywhere by its natural key.
.PP
Data goes to stdout, talk to stderr. What reads has
.BR \-\-json .
Every command explains itself with
.BR \-\-help .
"""
_TAIL = r"""
.SH EXIT STATUS
.TP
.B 0
fine
.TP
.B 1
the answer is no: a check failed, databases differ, a guard held
.TP
.B 2
the command's words are off
.TP
.B 69
a database cannot be reached now
.TP
.B 70
a bug in dbsync
.TP
.B 75
the work was cut; repeat it
.TP
.B 78
the configuration, a right or the dbsync schema has to be mended first
.SH ENVIRONMENT
.TP
.B DBSYNC_CONFIG
the configuration, as
.B \-\-config
.TP
.B DBSYNC_TRACEBACK
set to 1: an error shows where in the program it came from
.TP
.BR PGSERVICEFILE ", " PGPASSFILE " and the others of libpq"
how the databases are reached, as far as dbsync.toml does not say it
.SH FILES
.TP
.IR ./dbsync.toml ", " \(ti/.config/dbsync/dbsync.toml ", " /etc/dbsync/dbsync.toml
the configuration: the first of them that is there.
.B dbsync config schema
says what may stand in it
.TP
.I keys/
this node's secret keys, beside the configuration
.SH SEE ALSO
.BR psql (1),
.BR age (1),
.BR minisign (1)
"""


def page() -> str:
    """Make the manual page."""
    program: Any = get_command(app)
    options = _options(program, typer.Context(program, info_name="dbsync"))
    return "\n".join(
        [_HEAD.strip("\n"), ".SH OPTIONS", *options, ".SH COMMANDS", *_commands(program, "dbsync"), _TAIL.lstrip("\n")]
    )


def _commands(group: Any, path: str) -> Iterator[str]:
    for name in group.list_commands(None):
        command = group.commands[name]
        context = typer.Context(command, info_name=f"{path} {name}")
        usage = " ".join(command.collect_usage_pieces(context)).removeprefix("[OPTIONS]").strip()
        yield f".SS {_text(f'{path} {name} {usage}'.strip())}"
        yield from _paragraphs(command.help or "")
        yield from _options(command, context, without=("--config",))
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")


def _options(command: Any, context: Any, without: tuple[str, ...] = ()) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or {"--help", *without} & {*parameter.opts}:
            continue
        yield from (".TP", f".B {_text(record[0])}", _text(record[1]) or r"\&")


def _paragraphs(text: str) -> Iterator[str]:
    for place, paragraph in enumerate(re.split(r"\n\s*\n", cleandoc(text))):
        if place:
            yield ".PP"
        yield _text(" ".join(paragraph.split()))


def _text(text: str) -> str:
    r"""Write text so that troff takes it as it is, and may break a list of choices.

    >>> print(_text("'a|b' or -o C:"))
    \&\(aqa|\:b\(aq or \-o C:
    """
    text = " ".join(text.split()).replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("~", r"\(ti")
    text = text.replace("|", r"|\:")
    return rf"\&{text}" if text.startswith((".", r"\(aq")) else text


def completions() -> dict[Path, str]:
    """Ask the program for what each shell is to load."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DBSYNC")}
    asked = [sys.executable, "-c", "from dbsync.cli.main import app; app(prog_name='dbsync')"]
    return {
        path: subprocess.run(
            asked, env={**kept, "_DBSYNC_COMPLETE": f"source_{shell}"}, capture_output=True, text=True, check=True
        ).stdout.strip("\n")
        + "\n"
        for shell, path in COMPLETIONS.items()
    }


def files() -> dict[Path, str]:
    """Give every file with what is to stand in it."""
    return {PAGE: page(), **completions()}
