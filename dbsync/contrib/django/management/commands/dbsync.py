"""``manage.py dbsync ...``: the command line, with the project's dbsync.toml and its natural keys."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from dbsync.cli.main import run
from dbsync.contrib.django import configured

_OWN = ("--settings", "--pythonpath")
"""Options that Django reads before the command does."""


class Command(BaseCommand):
    """Passes its words through; whatever Django would say of the models is for ``manage.py check``."""

    help = "Runs dbsync with the words that follow: manage.py dbsync status, manage.py dbsync check ..."
    requires_system_checks: Sequence[str] = []
    requires_migrations_checks = False

    def run_from_argv(self, argv: list[str]) -> None:
        """Take the words as they stand, options included: they are dbsync's and not Django's."""
        self._run(argv[2:])

    def print_help(self, _program: str, _command: str) -> None:
        """Answer ``manage.py help dbsync``."""
        self._run(["--help"])

    def add_arguments(self, parser: CommandParser) -> None:
        """Take any words, for ``call_command``."""
        parser.add_argument("words", nargs=argparse.REMAINDER)

    def handle(self, *_arguments: Any, **options: Any) -> None:
        """Answer ``call_command("dbsync", "status")``."""
        self._run(options["words"])

    def _run(self, words: Sequence[str]) -> None:
        found = configured.path()
        if found is not None:
            os.environ.setdefault(configured.SETTING, str(found))
        before, sys.argv = sys.argv, ["dbsync", *_without_own(words)]
        try:
            run()
        finally:
            sys.argv = before


def _without_own(words: Sequence[str]) -> list[str]:
    """Leave out what Django has read; ``init`` is told whose models' natural keys to read.

    >>> _without_own(["status", "--settings", "clinic.settings", "--json"])
    ['status', '--json']
    """
    kept: list[str] = []
    given = iter(words)
    for word in given:
        if word in _OWN:
            next(given, None)
        elif not word.startswith(tuple(f"{own}=" for own in _OWN)):
            kept.append(word)
    module = os.environ.get("DJANGO_SETTINGS_MODULE")
    if kept[:1] == ["init"] and module and not any(word.startswith("--django") for word in kept):
        kept += ["--django", module]
    return kept
