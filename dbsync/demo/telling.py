"""How the demo speaks: chapters, sentences, commands with what they printed, small tables. All on stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_WIDTH = 100
_INDENT = 3


class Teller:
    """Tells the story on a terminal, or as plain text of the same width elsewhere."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
        self._chapter = 0

    def title(self, text: str) -> None:
        """Say what this is."""
        self._print(Text(text, style="bold"), indent=0)

    def chapter(self, title: str) -> None:
        """Begin a chapter."""
        self._chapter += 1
        self._console.print()
        self._print(Text(f"{self._chapter}. {title}", style="bold"), indent=0)

    def say(self, text: str) -> None:
        """Say something in words."""
        self._print(Text(text), indent=_INDENT)

    def good(self, text: str) -> None:
        """Say that something came out as it should."""
        self._print(Text(text, style="green"), indent=_INDENT)

    def bad(self, text: str) -> None:
        """Say that something did not come out as it should."""
        self._print(Text(text, style="bold red"), indent=_INDENT)

    def command(self, line: str, printed: Iterable[str] = ()) -> None:
        """Show a command and what it printed."""
        self._print(Text(f"$ {line}", style="cyan"), indent=_INDENT)
        for row in printed:
            self._print(Text(row, style="dim"), indent=_INDENT + 2)

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Show rows under headings, with air around them."""
        grid = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
        for heading in headings:
            grid.add_column(heading)
        for row in rows:
            grid.add_row(*(Text(str(cell)) for cell in row))
        self._console.print()
        self._print(grid, indent=_INDENT + 2)
        self._console.print()

    def plain(self, lines: Iterable[str]) -> None:
        """Print lines as they are, however long: paths and commands to copy."""
        for line in lines:
            self._console.print(Text(line), soft_wrap=True)

    def _print(self, what: Text | Table, *, indent: int) -> None:
        self._console.print(Padding(what, (0, 0, 0, indent), expand=False))


def seconds(duration: float) -> str:
    """Say a duration.

    >>> seconds(0.04), seconds(2.345)
    ('0.1 s', '2.3 s')
    """
    return f"{max(duration, 0.1):.1f} s"
