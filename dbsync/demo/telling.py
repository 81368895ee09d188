"""How the demo speaks: chapters, sentences, commands with what they printed, small tables. All on stdout."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.text import Text

_WIDTH = 100
_MARGIN = " " * 3
_GAP = " " * 3


class Teller:
    """Tells the story on a terminal, or as plain text of the same width elsewhere."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._width = min(self._console.width, _WIDTH) if sys.stdout.isatty() else _WIDTH
        self._chapter = 0

    def title(self, text: str) -> None:
        """Say what this is."""
        self._line(text, "bold")

    def chapter(self, title: str) -> None:
        """Begin a chapter."""
        self._chapter += 1
        self._line()
        self._line(f"{self._chapter}. {title}", "bold")

    def say(self, text: str, style: str = "") -> None:
        """Say something in words."""
        for line in textwrap.wrap(text, self._width, initial_indent=_MARGIN, subsequent_indent=_MARGIN):
            self._line(line, style)

    def good(self, text: str) -> None:
        """Say that something came out as it should."""
        self.say(text, "green")

    def bad(self, text: str) -> None:
        """Say that something did not come out as it should."""
        self.say(text, "bold red")

    def command(self, line: str, printed: Iterable[str] = ()) -> None:
        """Show a command and what it printed; neither is wrapped, so that it can be copied."""
        self._line(f"{_MARGIN}$ {line}", "cyan")
        for row in printed:
            self._line(f"{_MARGIN}  {row}", "dim")

    def table(self, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Show rows under headings, with air around them."""
        self._line()
        head, *body = aligned([headings, *([str(cell) for cell in row] for row in rows)])
        self._line(f"{_MARGIN}  {head}", "dim")
        self.plain(f"{_MARGIN}  {line}" for line in body)
        self._line()

    def plain(self, lines: Iterable[str]) -> None:
        """Print lines as they are, however long."""
        for line in lines:
            self._line(line)

    def _line(self, text: str = "", style: str = "") -> None:
        self._console.print(Text(text.rstrip(), style=style), soft_wrap=True)


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Put cells below each other.

    >>> list(aligned([["WHO", "ID"], ["Neema", "1"]]))
    ['WHO     ID', 'Neema   1']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def seconds(duration: float) -> str:
    """Say a duration.

    >>> seconds(0.04), seconds(2.345)
    ('0.1 s', '2.3 s')
    """
    return f"{max(duration, 0.1):.1f} s"
