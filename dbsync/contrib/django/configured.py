"""The dbsync.toml that goes with a Django project."""

from __future__ import annotations

import os
from pathlib import Path

from django import conf

from dbsync.config.discover import discover
from dbsync.config.load import load
from dbsync.config.models import Config
from dbsync.errors import ConfigError

SETTING = "DBSYNC_CONFIG"
"""In Django's settings: the path of dbsync.toml, where it is not among the usual places."""


def path() -> Path | None:
    """Give the file: as the environment says, else as Django's settings do, else from the usual places; None where there is none."""
    named = os.environ.get(SETTING) or getattr(conf.settings, SETTING, None)
    if named:
        return Path(named)
    try:
        return discover(None, os.environ)
    except ConfigError:
        return None


def config() -> Config | None:
    """Read it; None where there is none. Raises ConfigError or InvalidConfig for one that cannot be used."""
    found = path()
    return None if found is None else load(found, os.environ)
