"""``dbsync run``, ``pause``, ``resume`` and ``capture``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dbsync import schema
from dbsync.cli import output
from dbsync.cli.options import ConfigOption
from dbsync.cli.settings import settings
from dbsync.config.fields import Route
from dbsync.config.models import Config
from dbsync.model.program import Program
from dbsync.postgres import connect, translated
from dbsync.service import node
from dbsync.verify.words import counted

if TYPE_CHECKING:
    from dbsync.service.relays import Met
    from dbsync.service.run import Service
    from dbsync.service.way import Seen

_LEFT = {Route.FILE: "written to the stick", Route.NATS: "left at the broker"}
"""Routes on which a change is under way for a while, and what became of it now."""


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
    the receipts they bring; with an address in [outbox], relays that come by fetch it. With --once, exits 0 when everything
    is upstream or with a relay, 69 when there is no route, 1 when a change cannot be applied (dbsync status says which and
    why).
    Where the upstream is a folder on a stick, its receipts are taken and what has none is written onto it whenever the
    stick is in; with --once now, and without a stick it exits 69. Where it is behind a broker (tls://), what has no receipt is left
    there, sealed, and stays here too until its receipt is found there.
    """
    # Other commands need neither, and they take long to import.
    from dbsync.service import logs  # noqa: PLC0415
    from dbsync.service.run import Service  # noqa: PLC0415
    from dbsync.service.watch import beat_once, traced, watched  # noqa: PLC0415

    chosen = settings(config)
    label = chosen.upstream.label
    logs.configure(quiet=once)
    service = Service(config=chosen, reload=lambda: _reload(config))
    with service.signals():
        if not once:
            with watched(chosen, Program.RUN, service.has_no_room), _outbox(service):
                service.run()
            return
        with traced(chosen, Program.RUN):
            shipped = service.run_once()
        beat_once(chosen.alerts)
    if service.done is not None and chosen.upstream.route in _LEFT:
        _show_left(service.done, _LEFT[chosen.upstream.route])
        return
    for met in service.met:
        output.line(_handed_over(met))
    if service.met:
        output.talk(f"{label} is not in reach; every change is kept here until its receipt is back")
        return
    output.line(f"{counted(shipped, 'change')} shipped to {label}" if shipped else "nothing was pending")


@contextmanager
def _outbox(service: Service) -> Iterator[None]:
    """Serve the outbox beside, where the configuration has an address for it."""
    if service.config.outbox is None:
        yield
        return
    from dbsync.web.outbox import served_beside  # noqa: PLC0415 - takes long to import, and most nodes serve none

    with served_beside(lambda: service.config, service.stop):
        yield


def _show_left(seen: Seen, where: str) -> None:
    if seen.acknowledged:
        output.line(f"{counted(seen.acknowledged, 'batch', 'batches')} acknowledged: the upstream has them for good")
    if seen.changes:
        output.line(f"{counted(seen.changes, 'change')} {where}")
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
    from dbsync.service.install import install_source  # noqa: PLC0415 - see run

    chosen = settings(config)
    install_source(chosen)
    return chosen
