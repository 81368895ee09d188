"""``dbsync run``, ``pause``, ``resume`` and ``capture``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dbsync import schema
from dbsync.cli import output
from dbsync.cli.options import ConfigOption
from dbsync.cli.settings import settings
from dbsync.config.models import Config
from dbsync.postgres import connect, translated
from dbsync.service import install, node
from dbsync.verify.words import counted

if TYPE_CHECKING:
    from dbsync.service.relays import Met
    from dbsync.service.sticks import Seen


class Switch(StrEnum):
    """A switch's positions."""

    ON = "on"
    OFF = "off"


def run(
    *,
    once: Annotated[bool, typer.Option("--once", help="Ship everything pending, then exit.")] = False,
    config: ConfigOption = None,
) -> None:
    """Ship changes to the upstream, in the foreground, until told to stop.

    SIGTERM finishes the batch and exits 0; SIGHUP rereads the configuration and installs what it adds. An unreachable
    upstream is waited for; meanwhile the relays of [[relays]] that are in reach are handed what has no receipt, and give
    the receipts they bring. With --once, exits 0 when everything is upstream or with a relay, 69 when there is no route, 1
    when a change cannot be applied (dbsync status says which and why).
    Where the upstream is a folder on a stick, its receipts are taken and what has none is written onto it whenever the
    stick is in; with --once now, and without a stick it exits 69.
    """
    # Other commands need neither, and they take long to import.
    from dbsync.service import logs  # noqa: PLC0415
    from dbsync.service.run import Service  # noqa: PLC0415

    chosen = settings(config)
    label = chosen.upstream.label
    logs.configure(quiet=once)
    service = Service(config=chosen, reload=lambda: _reload(config))
    with service.signals():
        if not once:
            service.run()
            return
        shipped = service.run_once()
    if service.filled is not None:
        _show_filled(service.filled)
        return
    for met in service.met:
        output.line(_handed_over(met))
    if service.met:
        output.talk(f"{label} is not in reach; every change is kept here until its receipt is back")
        return
    output.line(f"{shipped:,} changes shipped to {label}" if shipped else "nothing was pending")


def _show_filled(seen: Seen) -> None:
    if seen.acknowledged:
        output.line(f"{counted(seen.acknowledged, 'batch', 'batches')} acknowledged: the upstream has them for good")
    if seen.changes:
        output.line(f"{counted(seen.changes, 'change')} written to the stick")
    elif not seen.reason:
        output.line("nothing was pending")
    if seen.reason:
        output.talk(seen.reason)


def _handed_over(met: Met) -> str:
    taken = (
        f"{counted(met.batches, 'batch', 'batches')}, {counted(met.changes, 'change')}"
        if met.batches
        else "nothing new"
    )
    back = f"; receipts of {counted(met.acknowledged, 'batch', 'batches')} came back" if met.acknowledged else ""
    return f"handed to {met.relay}: {taken}{back}"


def pause(*, config: ConfigOption = None) -> None:
    """Stop shipping; changes are captured and wait safely in the source until dbsync resume."""
    since = _switch_shipping(settings(config), on=False)
    output.line(
        f"shipping is paused since {since:%Y-%m-%d %H:%M:%S %Z}; changes are captured and wait" if since else ""
    )


def resume(*, config: ConfigOption = None) -> None:
    """Ship again after dbsync pause."""
    _switch_shipping(settings(config), on=True)
    output.line("shipping goes on")


def capture(
    position: Annotated[Switch, typer.Argument(help="off for maintenance that must not travel; on afterwards.")],
    *,
    config: ConfigOption = None,
) -> None:
    """Switch capture off or on for the whole database. While it is off, changes are LOST to the upstream."""
    chosen = settings(config)
    with connect(chosen.node.source, name="source") as connection:
        schema.require(connection, "source")
        with translated("source"):
            since = node.switch_capture(connection, on=position is Switch.ON)
    if since is None:
        output.line("capture is on")
    else:
        output.line(f"capture is OFF since {since:%Y-%m-%d %H:%M:%S %Z}: changes made now never reach the upstream")
        output.talk("afterwards: dbsync capture on; dbsync verify shows what is missing")


def _switch_shipping(chosen: Config, *, on: bool) -> object:
    with connect(chosen.node.source, name="source") as connection:
        schema.require(connection, "source")
        with translated("source"):
            return node.switch_shipping(connection, on=on)


def _reload(config: Path | None) -> Config:
    chosen = settings(config)
    install.install_source(chosen)
    return chosen
