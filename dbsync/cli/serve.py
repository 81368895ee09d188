"""``dbsync serve``."""

from __future__ import annotations

from dbsync.cli.options import ConfigOption
from dbsync.cli.settings import settings


def serve(*, config: ConfigOption = None) -> None:
    """Take batches from nodes over HTTPS, in the foreground, until told to stop.

    They go into the database that [node] names; [serve] says where to listen, with which certificate. Several may run
    beside one database. What appears in the folders of [sticks] is imported, and its receipts are written beside it: see
    dbsync bundle import. SIGTERM finishes the batches under way and exits 0.
    """
    # Other commands need neither, and they take long to import.
    from dbsync.service import logs  # noqa: PLC0415
    from dbsync.web.serve import serve as run  # noqa: PLC0415

    logs.configure()
    run(settings(config))
