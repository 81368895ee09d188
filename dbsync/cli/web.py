"""``dbsync web``: pages for people, and who may log in to them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dbsync.cli import output
from dbsync.cli.options import CONFIG_VARIABLE, ConfigOption, JsonOption
from dbsync.cli.settings import settings
from dbsync.dashboard import users
from dbsync.dashboard.users import Role, User
from dbsync.errors import UsageError

USERS = ("USER", "ROLE", "VALUES", "LOGGED IN", "BROWSERS", "WRONG PASSWORDS", "MADE BY")
DEEDS = ("WHEN", "WHO", "FROM", "WHAT", "COMMAND", "RESULT")

app = typer.Typer(
    help="""Pages for people: how everything is, what waits for somebody, and what may be done about it.

    Without a command behind it, serve them in the foreground until told to stop: at 127.0.0.1 unless [web] says otherwise.
    They are about the database that [node] names. Let somebody in first: dbsync web users add NAME --role viewer.""",
    invoke_without_command=True,
    rich_markup_mode=None,
)
people = typer.Typer(
    help="Who may log in. Typed by whoever owns dbsync's schema; the pages themselves can make nobody.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(people, name="users")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The user's name.")]
PasswordOption = Annotated[
    Path | None,
    typer.Option(
        "--password-file", metavar="FILE", help="Read the password from a file, - for stdin; else it is asked."
    ),
]
LONGEST_NAME = 63


@app.callback()
def web(context: typer.Context, *, config: ConfigOption = None) -> None:
    """Serve the pages."""
    if context.invoked_subcommand is not None:
        if config is not None:
            os.environ[CONFIG_VARIABLE] = str(config)  # for the command behind it
        return
    # Other commands need neither, and they take long to import.
    from dbsync.service import logs  # noqa: PLC0415
    from dbsync.web.dashboard import serve_pages  # noqa: PLC0415

    logs.configure()
    serve_pages(settings(config))


@people.command("add")
def add(
    name: NameArgument,
    *,
    role: Annotated[Role, typer.Option(help="A viewer looks; an operator also does what the pages offer.")],
    values: Annotated[
        bool, typer.Option("--values", help="May see the values of rows, where [web] show_values.")
    ] = False,
    password_file: PasswordOption = None,
    config: ConfigOption = None,
) -> None:
    """Let somebody log in. The password is asked, twice, and is never on the command line."""
    if not name.isprintable() or name != name.strip() or not 0 < len(name) <= LONGEST_NAME:
        raise UsageError(f"{name!r} is no name of a user", why=f"a name has 1 to {LONGEST_NAME} printable characters")
    users.add(settings(config), name, _password(password_file), role=role, sees_values=values)
    output.line(f"{name} may log in, as {role.value}")


@people.command("list")
def list_(*, config: ConfigOption = None, json: JsonOption = False) -> None:
    """List who may log in.

    JSON: users, each with name, role (viewer, operator), sees_values, made_at, made_by, seen_at, failures (wrong passwords since
    the last right one), browsers (in which he is logged in).
    """
    found = users.users(settings(config))
    if json:
        output.as_json({"users": [_json(user) for user in found]})
        return
    if not found:
        output.talk("nobody may log in yet: dbsync web users add NAME --role viewer")
        return
    output.table(USERS, [_row(user) for user in found], right=("BROWSERS", "WRONG PASSWORDS"))


@people.command("change")
def change(
    name: NameArgument,
    *,
    role: Annotated[Role | None, typer.Option(help="Another role.")] = None,
    values: Annotated[
        bool | None, typer.Option("--values/--no-values", help="May see the values of rows, or not.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Change what somebody may do; it counts from his next page on."""
    if role is None and values is None:
        raise UsageError("say what is to change", hint=f"dbsync web users change {name} --role viewer")
    users.change(settings(config), name, role=role, sees_values=values)
    output.line(f"{name} is changed")


@people.command("password")
def password(name: NameArgument, *, password_file: PasswordOption = None, config: ConfigOption = None) -> None:
    """Give somebody a new password; he is logged out everywhere, and need not wait for wrong ones any more."""
    users.change_password(settings(config), name, _password(password_file))
    output.line(f"{name} has a new password")


@people.command("remove")
def remove(name: NameArgument, *, config: ConfigOption = None) -> None:
    """Let somebody log in no more; he is out at once. What he did stays in the log."""
    users.remove(settings(config), name)
    output.line(f"{name} may log in no more")


@app.command("log")
def log(
    *,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show what people did on the pages, newest last: who, when, what, the command that does the same, what came of it.

    JSON: deeds, each with id, at, who, address, what, command, result (null: under way, or its process ended).
    """
    found = users.deeds(settings(config), limit)[::-1]
    if json:
        names = ("id", "at", "who", "address", "what", "command", "result")
        output.as_json({"deeds": [{name: getattr(deed, name) for name in names} for deed in found]})
        return
    if not found:
        output.talk("nothing was done on the pages yet")
        return
    output.table(
        DEEDS,
        [
            (f"{deed.at:%Y-%m-%d %H:%M:%S}", deed.who, deed.address, deed.what, deed.command, deed.result or "?")
            for deed in found
        ],
    )


def _password(file: Path | None) -> str:
    """Read a password from a file, its first line; else ask for it."""
    if file is None:
        asked: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return asked
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UsageError("the password cannot be read", where=str(file), why=reason.lower()) from None
    return text.partition("\n")[0].removesuffix("\r")


def _json(user: User) -> dict[str, Any]:
    names = ("name", "role", "sees_values", "made_at", "made_by", "seen_at", "failures", "browsers")
    return {name: getattr(user, name) for name in names}


def _row(user: User) -> tuple[str, ...]:
    return (
        user.name,
        user.role.value,
        "yes" if user.sees_values else "",
        f"{user.seen_at:%Y-%m-%d %H:%M}" if user.seen_at else "never",
        str(user.browsers),
        str(user.failures),
        user.made_by,
    )
