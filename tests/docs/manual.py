"""The page of all commands, made from the program's own help: ``python -m tests.docs.manual`` writes it anew."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "commands.md"
_WIDTH = 100
_PROGRAM = (
    f"import os; os.environ |= {{'COLUMNS': '{_WIDTH}', 'TERMINAL_WIDTH': '{_WIDTH}'}}\n"
    "from typer.testing import CliRunner; from dbsync.cli.main import app; import sys\n"
    "for words in [[], *(word.split() for word in sys.argv[1:])]:\n"
    "    print(CliRunner().invoke(app, [*words, '--help'], prog_name='dbsync').stdout.rstrip(), end='\\0')\n"
)
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


def helps(*commands: str) -> list[str]:
    """Give the help of the program and of some of its commands (``quarantine``, ``quarantine show``), all at one width."""
    asked = [sys.executable, "-c", _PROGRAM, *commands]
    shown = subprocess.run(asked, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return [re.sub(r" +$", "", text, flags=re.MULTILINE) for text in shown.split("\0")[:-1]]


def names(help_text: str) -> list[str]:
    """Give the commands that a help lists.

    >>> names("Options:\\n  --help  Show.\\n\\nCommands:\\n  demo  Tell.\\n  init  Write\\n        it.")
    ['demo', 'init']
    """
    _, _, listed = help_text.partition("Commands:\n")
    return re.findall(r"^  ([a-z-]+)  ", listed, re.MULTILINE)


def page() -> str:
    """Make the page."""
    (overview,) = helps()
    commands = [name for command in _with_subcommands(names(overview)) for name in command]
    return "\n".join([_LEAD, *_block("dbsync", overview), *_blocks(commands, helps(*commands)[1:])])


def _with_subcommands(commands: list[str]) -> Iterator[list[str]]:
    for command, text in zip(commands, helps(*commands)[1:], strict=True):
        yield [command, *(f"{command} {name}" for name in names(text))]


def _blocks(commands: list[str], texts: list[str]) -> Iterator[str]:
    for command, text in zip(commands, texts, strict=True):
        yield from _block(f"dbsync {command}", text)


def _block(title: str, text: str) -> Iterator[str]:
    yield from (f"## {title}", "", "```text", text, "```", "")


if __name__ == "__main__":
    PAGE.write_text(page())
