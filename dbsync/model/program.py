"""The programs that run on and on, each of which can be asked how it is."""

from __future__ import annotations

from enum import StrEnum


class Program(StrEnum):
    """One of them, by its command."""

    RUN = "run"
    SERVE = "serve"
    APPLY = "apply"
    RELAY = "relay run"
