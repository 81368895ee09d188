"""Asking a Django project for the natural keys that its models know, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from dbsync.config.proposal import Stated
from dbsync.errors import Refusal
from dbsync.model.names import TableName

_ASKED = "dbsync.contrib.django.naturals"
_PATIENCE = 120.0
"""Seconds in which a project's settings and models are read."""


def naturals(settings: str) -> Mapping[TableName, Stated]:
    """Give what each model says by its table. Raises Refusal where the project cannot be set up in this environment."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", _ASKED, settings], capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise _refusal(settings, f"it was not ready after {_PATIENCE:.0f} s") from None
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["it says nothing"]
        raise _refusal(settings, last[0])
    return {TableName(*one["table"]): _stated(one) for one in json.loads(done.stdout)}


def _stated(said: Mapping[str, Any]) -> Stated:
    where = f"{said['source']} of {said['model']}"
    return Stated(columns=tuple(said["columns"]), where=where, problem=said["problem"])


def _refusal(settings: str, why: str) -> Refusal:
    return Refusal(
        "the models of the project cannot be read",
        where=f"--django {settings}",
        why=why,
        hint="type it where manage.py is, in the project's own environment: python manage.py dbsync init ...",
    )
