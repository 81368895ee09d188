"""The program ``dbsync``: its commands, and what an error looks like on a terminal."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from typing import Annotated, NoReturn

import typer

from dbsync import __version__
from dbsync.cli import output, streams
from dbsync.cli.options import CONFIG_VARIABLE, ConfigOption
from dbsync.cli.shelf import Commands
from dbsync.config.explain import explain
from dbsync.config.problems import InvalidConfig
from dbsync.errors import DbsyncError, place_of

VERSION = __version__
TRACEBACK = "DBSYNC_TRACEBACK"
"""Set to 1, this environment variable shows where in the program an error came from."""

app = typer.Typer(
    name="dbsync",
    cls=Commands,
    help="One-way replication of PostgreSQL databases by natural keys: from the field towards the centre.",
    epilog="Start with: dbsync init --source DSN --upstream DSN",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        output.line(f"dbsync {VERSION}")
        raise typer.Exit


@app.callback()
def dbsync(
    *,
    config: ConfigOption = None,
    version: Annotated[  # noqa: ARG001 - acts when it is read
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """One-way replication of PostgreSQL databases by natural keys: from the field towards the centre."""
    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config)  # for the command behind it


def run() -> None:
    """Run the program: end with the command's exit code, and turn an error into words on stderr."""
    streams.make_ready()
    try:
        _type()
    except InvalidConfig as error:
        _trace()
        output.talk(explain(error.problems, error.path))
        _end(error.exit_code)
    except DbsyncError as error:
        _trace()
        output.failure(error)
        _end(error.exit_code)
    except BrokenPipeError:
        _end(1)  # as of any other program whose reader has gone: nobody is told
    except Exception as error:  # the last edge: a bug is reported, not dumped
        _trace()
        failed = (streams.in_words(error) if isinstance(error, OSError) else None) or _bug(error)
        output.failure(failed)
        _end(failed.exit_code)


def _type() -> None:
    """Run the command, and see that all it printed arrived."""
    try:
        app(prog_name="dbsync")  # whatever started it
    except SystemExit:
        streams.finish()
        raise


def _end(code: int) -> NoReturn:
    """End, whether or not what was printed before the error can be written."""
    with suppress(OSError, DbsyncError):
        streams.finish()
    sys.exit(code)


def _bug(error: Exception) -> DbsyncError:
    """Say an exception that nobody expected; its own message may hold row values and stays out."""
    return DbsyncError(
        f"a bug in dbsync {VERSION}: {type(error).__name__}",
        where=place_of(error),
        hint=f"{TRACEBACK}=1 {' '.join(['dbsync', *sys.argv[1:2]])} ...   shows the traceback; please report it",
    )


def _trace() -> None:
    """Show where in the program an error came from: the frames only, for a database's message may hold a row's values."""
    error = sys.exception()
    if error is None or os.environ.get(TRACEBACK, "") in {"", "0"}:
        return
    while error is not None:
        traceback.print_tb(error.__traceback__)
        print(type(error).__name__, file=sys.stderr)
        error = error.__cause__
