"""A page's consoles, typed as they stand: what is printed is compared with what the page shows."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

VARIES = [
    (r"\b[A-Z2-7]{4}(?:-[A-Z2-7]{4}){7}\b", "CODE"),
    (r"\b[0-9A-F]{16}\b", "KEY"),
    (r"\bRW[\w+/]{54}(?!\w)|\bage1[0-9a-z]{58}\b|\b[0-9a-f]{40}\b", "KEY"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "MOMENT"),
    (r"\b[\d,.]+ (?:ms|s|min|h)\b", "TIME"),
    (r"\b[\d,.]+ (?:bytes|kB|MB)(?!\w)", "SIZE"),
    (r"\.[0-9a-f]{8}\.", ".INCARNATION."),
    (r"PostgreSQL \d+\.\d+(?: \([^)]*\))?, as role \w+", "PostgreSQL"),
    (r"file:///\S*/trial/", "file:///"),
    (r"[ \t]+", " "),
]
"""What is another thing for each reader, at each time, and what stands for it."""
CODE = VARIES[0][0]
_BLOCK = re.compile(r"(?P<lead>[^\n]*)\n\n```(?P<kind>\w+)\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"(?P<added>the end of )?`(?P<path>[\w./-]+)`:$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A block that goes into a file: the line before it names that, and may say "At the end of"."""

    path: str
    added: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """A command, with what the page shows of its output."""

    command: str
    shown: str


def steps(text: str) -> Iterator[Written | Typed]:
    """Give what a page lets somebody do, in its order; other blocks are there to be read."""
    for block in _BLOCK.finditer(text):
        named = _FILE.search(block["lead"])
        if block["kind"] == "console":
            yield from typed(block["text"])
        elif named:
            yield Written(path=named["path"], added=named["added"] is not None, text=block["text"])


def typed(console: str) -> Iterator[Typed]:
    r"""Give the commands of a console, ``> `` going on with the line before.

    >>> list(typed("$ echo 'a\n> b'\na\nb\n$ true\n"))
    [Typed(command="echo 'a\nb'", shown='a\nb'), Typed(command='true', shown='')]
    """
    for piece in re.split(r"^\$ ", console, flags=re.MULTILINE)[1:]:
        first, *rest = piece.splitlines()
        more = [line.removeprefix("> ") for line in rest if line.startswith("> ")]
        yield Typed(command="\n".join([first, *more]), shown="\n".join(rest[len(more) :]))


def alike(shown: str, printed: str) -> bool:
    """Tell whether a command printed what is shown; a line ``...`` stands for any lines.

    >>> alike("1 row, 2 s ago\\n...\\nend", "1 row, 0.3 s ago\\nand\\nmore\\nend")
    True
    >>> alike("1 row", "2 rows")
    False
    """
    lines = [".*" if line == "..." else re.escape(line) for line in _same(shown).splitlines()]
    return re.fullmatch("\n".join(lines), _same(printed), re.DOTALL) is not None


def _same(text: str) -> str:
    for pattern, stands in VARIES:
        text = re.sub(pattern, stands, text)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip()


class Console:
    """A shell that remembers where it is: ``with Console(folder, environ) as console:``."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._shell = subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._codes: dict[str, str] = {}

    def do(self, step: Written | Typed) -> None:
        """Do what a page says, and see what it shows."""
        if isinstance(step, Written):
            redirected = ">>" if step.added else ">"
            self.run(f"cat {redirected} {step.path} <<'THE END'\n{step.text}THE END")
            return
        command = step.command
        for shown, given in self._codes.items():
            command = command.replace(shown, given)
        printed = self.run(command)
        assert alike(step.shown, printed), f"$ {command}\n{printed}\n--- but the page shows:\n{step.shown}"
        self._codes |= dict(zip(re.findall(CODE, step.shown), re.findall(CODE, printed), strict=False))

    def run(self, command: str) -> str:
        """Type a command, which must end well; give what it prints."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{{ {command}\n}} < /dev/null\nprintf '\\0%s\\n' $?\n")
        self._shell.stdin.flush()
        printed = ""
        for line in self._shell.stdout:
            text, ended, code = line.partition("\0")
            printed += text
            if ended:
                assert code == "0\n", f"$ {command}\n{printed}"
                return printed
        raise AssertionError(f"the shell is gone after: {command}\n{printed}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shell.kill()
        self._shell.communicate()
