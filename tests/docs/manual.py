"""The pages that the program itself writes, its commands and its HTTP: ``python -m tests.docs.manual`` writes them anew."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

from dbsync.meters import ALL, METERS, Meter
from dbsync.web.local import OUTBOX, RELAY
from dbsync.web.openapi import document
from dbsync.web.operations import UPSTREAM
from tests.docs import catalogue, findings, manpage

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "commands.md"
SERVERS = {
    "openapi.json": ("dbsync serve", UPSTREAM),
    "openapi-relay.json": ("dbsync relay run", RELAY),
    "openapi-outbox.json": ("dbsync serve --outbox", OUTBOX),
}
"""What is served by whom, as OpenAPI documents beside that page."""
_WIDTH = 100
_PROGRAM = f"""
import os; os.environ |= {{"COLUMNS": "{_WIDTH}", "TERMINAL_WIDTH": "{_WIDTH}"}}
from typer.testing import CliRunner; from dbsync.cli.main import app; from tests.docs.manual import names
def tell(*words):
    text = CliRunner().invoke(app, [*words, "--help"], prog_name="dbsync").stdout.rstrip()
    print(" ".join(words), text, sep="\\n", end="\\0")
    for name in names(text):
        tell(*words, name)
tell()
"""
_METRICS = """\
# Metrics

What `/metrics` tells where [dbsync.toml](config.md) has a section `[metrics]`. These names, labels and meanings stay; what is
added is added. `python -m tests.docs.manual` makes this page from the program, and tests compare it with what four programs at
work tell.

- `node` is the node whose changes they are, `link` the name of its upstream, `relay` a driver. No label ever holds a row's
  value or key. The number of series is bounded by the nodes that were let in.
- Whatever a database knows is read from it when somebody asks, at most every five seconds, and cheaply: pending changes above
  5,000 are estimated from a sample of the change log's pages. What a process counts itself begins at 0 when it starts.
- `run`, `serve` and `apply` tell the same of the same database; of several servers beside one database each tells all of it: take the
  `max`, not the `sum`. What a program tells of itself as a process (`process_resident_memory_bytes` and its siblings) has the
  names that it has everywhere.

| name | kind | labels | told by | what |
|---|---|---|---|---|"""
_LEAD = """\
# Commands

What each command says of itself with `--help`. `python -m tests.docs.manual` makes this page, and a test compares it.

Every command ends with one of these exit codes:

| code | means |
|---|---|
| 0 | fine |
| 1 | the answer is no: a check failed, databases differ, a guard held |
| 2 | the command's words are off |
| 69 | a database cannot be reached now |
| 70 | a bug in dbsync |
| 75 | the work was cut; repeat it |
| 78 | the configuration, a right or the dbsync schema has to be mended first |
"""


@cache
def helps() -> dict[str, str]:
    """Give the help of every command by its name (``quarantine show``), that of the program under ``""``, all at one width.

    A command is followed by those in it, however deep.
    """
    asked = [sys.executable, "-c", _PROGRAM]
    shown = subprocess.run(asked, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    told = (text.partition("\n") for text in shown.split("\0")[:-1])
    return {command: re.sub(r" +$", "", text, flags=re.MULTILINE) for command, _, text in told}


def names(help_text: str) -> list[str]:
    """Give the commands that a help lists.

    >>> names("Options:\\n  --help  Show.\\n\\nCommands:\\n  demo  Tell.\\n  init  Write\\n        it.")
    ['demo', 'init']
    """
    _, _, listed = help_text.partition("Commands:\n")
    return re.findall(r"^  ([a-z-]+)  ", listed, re.MULTILINE)


def named_by(words: list[str]) -> str:
    """Give the command that words name, the innermost one; nothing where there is no such command."""
    command = ""
    for word in words:
        inner = f"{command} {word}".lstrip()
        if inner not in helps():
            break
        command = inner
    return command


def expect_command(words: list[str]) -> None:
    """Fail unless words (behind ``dbsync``) are a command, and their options are its own."""
    command = named_by(words)
    assert command, words
    assert not names(helps()[command]) or words == command.split(), f"{words}: which of {command}?"
    for option in (word.partition("=")[0] for word in words if word.startswith("--") and word != "--"):
        assert option in helps()[command], words


def page() -> str:
    """Make the page."""
    blocks = (_block(f"dbsync {command}".rstrip(), text) for command, text in helps().items())
    return "\n".join([_LEAD, *chain.from_iterable(blocks)])


def documents() -> dict[Path, str]:
    """Make the OpenAPI documents, the page of metrics, the manual page, and what shells complete by."""
    made = {name: document(title, operations) for name, (title, operations) in SERVERS.items()}
    written = {PAGE.with_name(name): json.dumps(found, indent=1) + "\n" for name, found in made.items()}
    return written | {PAGE.with_name("metrics.md"): metrics()} | manpage.files()


def metrics() -> str:
    """Make the page of metrics."""
    return "\n".join([_METRICS, *(_measured(meter) for meter in METERS), ""])


def _measured(meter: Meter) -> str:
    labels = ", ".join(f"`{label}`" for label in meter.labels) or "-"
    programs = "all" if meter.told == ALL else ", ".join(f"`{program.value}`" for program in meter.told)
    return f"| `{meter.name}` | {meter.kind.value} | {labels} | {programs} | {meter.what} |"


def _block(title: str, text: str) -> Iterator[str]:
    yield from (f"## {title}", "", "```text", text, "```", "")


if __name__ == "__main__":
    PAGE.write_text(page())
    catalogue.PAGE.write_text(catalogue.page())
    findings.PAGE.write_text(findings.page())
    for path, text in documents().items():
        path.write_text(text)
