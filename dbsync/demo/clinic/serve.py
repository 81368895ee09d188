"""The clinic's application on one machine: migrates its database, then does what it is told, one line of JSON an act.

Run as ``python -m dbsync.demo.clinic.serve`` with CLINIC_DSN in the environment. A process for each database, because
Django knows one set of databases a process. It ends with its standard input.
"""

import json
import os
import sys


def main() -> None:
    """Set Django up, migrate, answer ``"ready"``, then answer each line."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "dbsync.demo.clinic.settings"
    import django  # noqa: PLC0415 - Django reads its settings when it is set up
    from django.core.management import call_command  # noqa: PLC0415

    django.setup()
    call_command("migrate", verbosity=0)
    from dbsync.demo.clinic.acts import ACTS  # noqa: PLC0415 - models need Django set up

    _answer("ready")
    for line in sys.stdin:
        act, words = json.loads(line)
        _answer(ACTS[act](**words))


def _answer(value: object) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
