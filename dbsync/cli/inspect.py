"""``dbsync inspect``: a page about what is pending."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dbsync.cli import output
from dbsync.cli.options import ConfigOption
from dbsync.cli.settings import settings

if TYPE_CHECKING:
    from dbsync.inspector.changes import Pending

PORT = 8484
PortOption = Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="Where; 0 takes a free one.")]


def inspect(*, port: PortOption = PORT, config: ConfigOption = None) -> None:
    """Look through what is pending, and check a box of specimens against it, in a browser on this computer.

    Prints an address that lets one browser in, once; Ctrl-C ends it. It needs no internet, and nobody else is answered. The pages show row
    values, and keep none.
    """
    from dbsync.inspector.here import Here  # noqa: PLC0415 - takes long to import, and only this needs it

    look(Here(config=settings(config)), port)


def look(pending: Pending, port: int) -> None:
    """Serve the pages and say where."""
    from dbsync.inspector.run import run  # noqa: PLC0415

    def tell(address: str) -> None:
        output.line(address)
        output.talk("open it in a browser on this computer; Ctrl-C ends it")

    run(pending, port, tell)
