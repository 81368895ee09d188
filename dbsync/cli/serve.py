"""``dbsync serve``."""

from __future__ import annotations

from typing import Annotated

import typer

from dbsync.cli.options import ConfigOption
from dbsync.cli.settings import settings


def serve(
    *,
    outbox: Annotated[
        bool, typer.Option("--outbox", help="On a laptop: let relays fetch what waits, and take nothing from nodes.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Take batches from nodes over HTTPS, in the foreground, until told to stop.

    They go into the database that [node] names; [serve] says where to listen, with which certificate. Several may run
    beside one database. What appears in the folders of [sticks] is imported, and its receipts are written beside it: see
    dbsync bundle import. SIGTERM finishes the batches under way and exits 0.

    With --outbox it is a laptop that serves: relays which it was enrolled with come to the address of [outbox], take sealed
    bundles along and bring receipts. dbsync run does so too where [outbox] has an address, beside its own work; this is for a
    laptop on which it does not run.
    """
    # Other commands need neither, and they take long to import.
    from dbsync.service import logs  # noqa: PLC0415

    logs.configure()
    chosen = settings(config)
    if outbox:
        from dbsync.web.outbox import serve_alone  # noqa: PLC0415

        serve_alone(chosen)
        return
    from dbsync.web.serve import serve as run  # noqa: PLC0415

    run(chosen)
