"""The configuration that a command works with."""

from __future__ import annotations

import os
from pathlib import Path

from dbsync.config.discover import discover
from dbsync.config.load import load
from dbsync.config.models import Config


def settings(option: Path | None) -> Config:
    """Find and read dbsync.toml."""
    return load(discover(option, os.environ), os.environ)
