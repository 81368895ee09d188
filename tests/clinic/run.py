"""Run scenarios against a database: ``python -m tests.clinic.run DSN PREFIX SCENARIO...`` (``all`` for every one)."""

from __future__ import annotations

import os
import sys


def main(dsn: str, prefix: str, *names: str) -> None:
    """Set Django up for the database, and run the scenarios in the order they are named."""
    os.environ |= {"CLINIC_DSN": dsn, "DJANGO_SETTINGS_MODULE": "tests.clinic.settings"}
    import django  # noqa: PLC0415 - its settings come from the arguments

    django.setup()
    from tests.clinic.scenarios import SCENARIOS  # noqa: PLC0415 - models need Django set up

    for name in list(SCENARIOS) if names == ("all",) else names:
        SCENARIOS[name](prefix)


if __name__ == "__main__":
    main(*sys.argv[1:])
