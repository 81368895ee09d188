"""``dbsync nats``: the broker between nodes and this upstream."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from dbsync.cli import output
from dbsync.cli.broker import address
from dbsync.cli.options import ConfigOption, JsonOption
from dbsync.cli.settings import settings
from dbsync.errors import UsageError
from dbsync.service import brokerage
from dbsync.verify.words import counted

app = typer.Typer(
    no_args_is_help=True,
    help="The NATS broker between nodes and this upstream: who may do what there, and what waits.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_ACCOUNT = re.compile(r"[A-Za-z0-9_-]{1,63}")


@app.command("config")
def print_account(
    *,
    account: Annotated[str, typer.Option(help="The account's name at the broker.")] = "DBSYNC",
    config: ConfigOption = None,
) -> None:
    """Print what the broker has to know of the nodes that are enrolled here.

    An account in the form of a NATS server's configuration, to be included into it: each node is known by its key, may leave its own
    bundles and find its own receipts, and nothing else. Write it anew after nodes come, go or change their keys, and let the broker
    reread it: nats-server --signal reload. It holds no secret.
    """
    if not _ACCOUNT.fullmatch(account):
        raise UsageError("that is no account's name", where="--account", why="1 to 63 letters, digits, '_' or '-'")
    output.line(brokerage.account_of_nodes(settings(config), account).rstrip())


@app.command()
def backlog(
    *,
    from_: Annotated[str | None, typer.Option("--from", metavar="URL", help="The broker; else [broker] url.")] = None,
    json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show what waits at the broker for this upstream, node by node.

    With --json: node, messages.
    """
    chosen = settings(config)
    found = brokerage.backlog(chosen, address(chosen, from_))
    if json:
        output.as_json([{"node": node, "messages": number} for node, number in found])
        return
    for node, number in found:
        output.line(f"{node}: {counted(number, 'message')}")
    if not found:
        output.line("nothing waits at the broker")
