"""``dbsync demo``: what dbsync does, told on PostgreSQL servers of its own."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from dbsync.cli import output

_SIGNALLED = 128


class Route(StrEnum):
    """By which way the changes go."""

    LINE = "line"
    FIELD = "field"


def demo(
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave servers and services running, and say how to reach and remove them.")
    ] = False,
    route: Annotated[
        Route, typer.Option("--route", help="line: over a network that comes and goes. field: by a driver and a stick.")
    ] = Route.LINE,
) -> None:
    """Tell the story of two laptops and a server; with --route field its second act, where there is no network.

    It takes less than a minute and needs nothing: each of the three gets a PostgreSQL server of its own and a small
    clinic's Django project, and the commands are the real ones. Nothing is left running or lying about, unless --keep.

    Exits 0 when the databases agree at the end, 1 when they do not.
    """
    # Every other command would wait for these imports, and none needs them.
    from dbsync.demo.play import play  # noqa: PLC0415
    from dbsync.demo.processes import Stopped, ended_by_signals  # noqa: PLC0415

    try:
        with ended_by_signals():
            agree = play(keep=keep, field=route is Route.FIELD)
    except Stopped as stopped:
        output.talk("\nstopped; nothing is left behind")
        raise typer.Exit(_SIGNALLED + stopped.number) from None
    if not agree:
        raise typer.Exit(1)
