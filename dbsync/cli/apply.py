"""``dbsync apply``."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Annotated

import typer

from dbsync.cli import output
from dbsync.cli.broker import address
from dbsync.cli.options import ConfigOption
from dbsync.cli.settings import settings
from dbsync.config.models import Config
from dbsync.model.program import Program

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

    from dbsync.service.applying import Applying


def apply(
    *,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="URL", help="The broker: tls://HOST, or all members of a cluster. Else [broker] url."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Nodes that are served at the same time. Else [broker] workers.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Take in what is there now, then exit.")] = False,
    config: ConfigOption = None,
) -> None:
    """Take in what nodes left at a NATS broker, in the foreground, until told to stop.

    It goes into the database that [node] names, each node's batches in their order, many nodes at the same time; receipts go
    back over the broker. Several may run, on several machines: a node is with one of them at a time, and none of what another one
    had is held longer than a minute after that one is gone. The streams at the broker are made and kept as [broker] says. SIGTERM finishes
    the batches under way and exits 0. What the broker has to know of the nodes: dbsync nats config.
    """
    from dbsync.service import logs  # noqa: PLC0415 - takes long to import, as what follows

    chosen = settings(config)
    url = address(chosen, from_)
    logs.configure(quiet=once)
    applying = _applying(chosen, url, workers)
    if once:
        applying.run_once()
        _show(applying)
        return
    _stay(chosen, applying)


def _stay(chosen: Config, applying: Applying) -> None:
    from dbsync.service.flags import raised_by  # noqa: PLC0415
    from dbsync.service.notify import notify  # noqa: PLC0415
    from dbsync.service.watch import ready, traced, watching  # noqa: PLC0415

    def observed() -> Collector:
        from dbsync.service.observed import Observed  # noqa: PLC0415

        return Observed(config=chosen, program=Program.APPLY)

    with (
        raised_by({signal.SIGTERM: applying.stop, signal.SIGINT: applying.stop}),
        traced(chosen, Program.APPLY),
        watching(chosen.metrics.apply_listen, Program.APPLY, observed, lambda: ready(chosen)),
    ):
        notify("READY=1")
        applying.run()
        notify("STOPPING=1")


def _applying(chosen: Config, url: str, workers: int | None) -> Applying:
    from dbsync.service.extras import require_nats  # noqa: PLC0415

    require_nats()
    from dbsync.service.applying import Applying  # noqa: PLC0415

    return Applying(config=chosen, url=url, workers=workers or chosen.broker.workers)


def _show(applying: Applying) -> None:
    count = applying.count
    if not count.batches:
        output.line("nothing was there")
    else:
        output.line(f"{count.changes:,} changes in {count.batches:,} batches taken in")
    if count.held:
        output.line(f"{count.held:,} of them need you: dbsync quarantine list")
    for node, letters in sorted(applying.rota.waiting.items()):
        if letters:
            output.talk(f"{node}: {letters:,} messages wait at the broker for what came before them, or for you")
