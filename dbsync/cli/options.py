"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CONFIG_VARIABLE = "DBSYNC_CONFIG"

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        envvar=CONFIG_VARIABLE,
        help="The configuration; else ./dbsync.toml, ~/.config/dbsync/dbsync.toml, /etc/dbsync/dbsync.toml.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, as described above.")]
