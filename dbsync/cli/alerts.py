"""``dbsync alerts``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from dbsync.cli import output
from dbsync.cli.options import ConfigOption
from dbsync.cli.settings import settings
from dbsync.config.watching import AlertsConfig
from dbsync.errors import ConfigError, Refusal

app = typer.Typer(
    name="alerts",
    help="Who is told when a node is not as it should be: see [alerts] in dbsync.toml.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


RelayOption = Annotated[
    Path | None, typer.Option("--relay", metavar="DIR", help="A relay's folder: those of [alerts] in its relay.toml.")
]


@app.callback()
def alerts() -> None:
    """Who is told when a node is not as it should be: see [alerts] in dbsync.toml."""


@app.command()
def test(*, config: ConfigOption = None, relay: RelayOption = None) -> None:
    """Tell everybody of [alerts] that this is a test, and say who heard it.

    Exits 0 when all did, 1 when one did not, 78 when [alerts] names nobody. What stands is shown by dbsync status.
    """
    from dbsync.alerts.hooks import HookFailed, tell, trial  # noqa: PLC0415 - other commands do not need it

    named, alerts = _chosen(config, relay)
    if not alerts.is_wanted:
        raise ConfigError(
            "nobody is to be told",
            where="[alerts]",
            why="neither command nor webhook nor heartbeat is written there",
            hint='write [alerts] with command = ["..."] or webhook = "https://..."',
        )
    message = trial(named)
    failed: dict[str, str] = {}
    for hook in alerts.everybody:
        try:
            tell(alerts, hook, message)
            output.line(f"{hook}: told")
        except HookFailed as error:
            output.line(f"{hook}: NOT told: {error}")
            failed[hook] = str(error)
    if failed:
        raise Refusal(
            f"{' and '.join(failed)} did not hear it",
            where="[alerts]",
            why="; ".join(failed.values()),
            hint="mend it, and type this again",
        )


def _chosen(config: Path | None, relay: Path | None) -> tuple[str, AlertsConfig]:
    """Give who tells, and whom."""
    if relay is not None:
        from dbsync.config.load import load_relay  # noqa: PLC0415 - see above
        from dbsync.relay.middleman import FILE  # noqa: PLC0415

        of_relay = load_relay(relay / FILE, os.environ)
        return of_relay.relay.name, of_relay.alerts
    of_node = settings(config)
    return of_node.node.name, of_node.alerts
