"""All that commands import, for processes that are forked from one that has it."""

from __future__ import annotations

import importlib
import pkgutil

import dbsync.cli

for _module in pkgutil.iter_modules(dbsync.cli.__path__, "dbsync.cli."):
    importlib.import_module(_module.name)
