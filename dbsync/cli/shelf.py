"""The program's commands: each is imported when somebody types it, and the others cost nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

PLACES = {
    "demo": "demo:demo",
    "init": "init:init",
    "config": "config:app",
    "check": "check:check",
    "tables": "tables:tables",
    "install-upstream": "install:install_upstream",
    "install-triggers": "install:install_triggers",
    "uninstall-triggers": "install:uninstall_triggers",
    "enrol": "enrol:enrol",
    "backfill": "backfill:backfill",
    "run": "run:run",
    "serve": "serve:serve",
    "apply": "apply:apply",
    "nats": "nats:app",
    "web": "web:app",
    "nodes": "nodes:app",
    "bundle": "bundle:app",
    "relay": "relay:app",
    "status": "status:status",
    "alerts": "alerts:app",
    "inspect": "inspect:inspect",
    "lists": "lists:lists",
    "pause": "run:pause",
    "resume": "run:resume",
    "capture": "run:capture",
    "compact": "compact:compact",
    "verify": "verify:verify",
    "certificate": "certificate:certificate",
    "resend": "resend:resend",
    "quarantine": "quarantine:app",
    "conflicts": "conflicts:app",
    "erase": "erase:erase",
}
"""Where each is: a module of this package, and the function or the group in it."""


class Shelf(Mapping[str, Any]):
    """Commands by their names, made when they are taken."""

    def __getitem__(self, name: str) -> Any:
        """Import a command."""
        module, _, what = PLACES[name].partition(":")
        found = getattr(import_module(f"dbsync.cli.{module}"), what)
        command = get_group(found) if isinstance(found, typer.Typer) else get_command(_alone(name, found))
        command.name = name
        return command

    def __iter__(self) -> Iterator[str]:
        """Give the names in the order in which a person would need them."""
        return iter(PLACES)

    def __len__(self) -> int:
        """Count them."""
        return len(PLACES)


class Commands(TyperGroup):
    """A group whose commands come from the shelf."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": Shelf()})

    def list_commands(self, _context: object) -> list[str]:
        """Name them, and import none."""
        return list(PLACES)


def _alone(name: str, function: Any) -> typer.Typer:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(name)(function)
    return app
