"""Where each key and value of a TOML document stands.

``tomllib`` and ``tomlkit`` give no positions, so this reads the document a second time, only for them. It relies on
``tomllib`` having accepted the text: it decides nothing about validity, and stops quietly where it gets lost.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

Loc = tuple[str | int, ...]
"""A path in a document, as pydantic writes it: ``("tables", 0, "key", 1)``."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_KEY = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|[A-Za-z0-9_-]+')
_SCALAR = re.compile(
    r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}'
    r"|'''(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|[^\s,\]}#\"'](?:[^,\]}#\n]*[^\s,\]}#])?",
    re.DOTALL,
)
_Range = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Characters on one line; line and column count from 1, the length is at least 1."""

    line: int
    column: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """The places of a document's keys and values.

    The value of a section is its header, so that ``[upstream]`` can be pointed at when it lacks a key.
    """

    keys: Mapping[Loc, Span]
    values: Mapping[Loc, Span]

    def key(self, loc: Loc) -> Span | None:
        """Find the key at a path, or else whatever encloses it; None when nothing does."""
        return self.keys.get(loc) or self.value(loc)

    def value(self, loc: Loc) -> Span | None:
        """Find the value at a path, or else whatever encloses it; None when nothing does."""
        while loc:
            span = self.values.get(loc) or self.keys.get(loc)
            if span is not None:
                return span
            loc = loc[:-1]
        return None


def locate(text: str) -> Positions:
    """Find every key and value of a document with unix line ends.

    Never raises: what comes after a place that is no TOML is missing from the result.
    """
    scanner = _Scanner(text)
    with suppress(_LostError, RecursionError):
        scanner.document()
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    return Positions(
        keys={loc: _span(text, starts, place) for loc, place in scanner.keys.items()},
        values={loc: _span(text, starts, place) for loc, place in scanner.values.items()},
    )


def _span(text: str, starts: list[int], place: _Range) -> Span:
    start, end = place
    line = bisect_right(starts, start)
    line_end = text.find("\n", start)
    end = min(end, line_end) if line_end >= 0 else end
    return Span(line=line, column=start - starts[line - 1] + 1, length=max(1, end - start))


class _LostError(Exception):
    """The text is no TOML here."""


class _Scanner:
    """One pass over a document; ``keys`` and ``values`` fill with character ranges."""

    def __init__(self, text: str) -> None:
        self.keys: dict[Loc, _Range] = {}
        self.values: dict[Loc, _Range] = {}
        self._text = text
        self._at = 0
        self._arrays: dict[Loc, int] = {}
        """How many elements each ``[[array]]`` has so far."""

    def document(self) -> None:
        section: Loc = ()
        while self._next(_BLANK):
            if self._next(_BLANK) == "[":
                section = self._header()
            else:
                self._pair(section)

    def _header(self) -> Loc:
        start = self._at
        brackets = "]]" if self._text.startswith("[[", start) else "]"
        self._at += len(brackets)
        names = self._dotted_key()
        for bracket in brackets:
            self._take(bracket)
        loc: Loc = ()
        for depth, (name, place) in enumerate(names, start=1):
            loc = (*loc, name)
            self.keys.setdefault(loc, place)
            if depth == len(names) and brackets == "]]":
                self._arrays[loc] = self._arrays.get(loc, 0) + 1
            if loc in self._arrays:
                loc = (*loc, self._arrays[loc] - 1)
                self.keys.setdefault(loc, place)
        self.values[loc] = (start, self._at)
        return loc

    def _pair(self, section: Loc) -> None:
        loc = section
        for name, place in self._dotted_key():
            loc = (*loc, name)
            self.keys.setdefault(loc, place)
        self._take("=")
        self._value(loc)

    def _value(self, loc: Loc) -> None:
        first = self._next(_SPACE)
        start = self._at
        if first == "[":
            self._array(loc)
        elif first == "{":
            self._inline_table(loc)
        else:
            self._match(_SCALAR)
        self.values[loc] = (start, self._at)

    def _array(self, loc: Loc) -> None:
        self._take("[")
        index = 0
        while self._next(_BLANK) != "]":
            self._value((*loc, index))
            index += 1
            if self._next(_BLANK) != "]":
                self._take(",")
        self._take("]")

    def _inline_table(self, loc: Loc) -> None:
        self._take("{")
        while self._next(_BLANK) != "}":
            self._pair(loc)
            if self._next(_BLANK) != "}":
                self._take(",")
        self._take("}")

    def _dotted_key(self) -> list[tuple[str, _Range]]:
        names: list[tuple[str, _Range]] = []
        while True:
            self._next(_SPACE)
            start = self._at
            names.append((_name(self._match(_KEY)), (start, self._at)))
            if self._next(_SPACE) != ".":
                return names
            self._take(".")

    def _next(self, skip: re.Pattern[str]) -> str:
        """Skip what does not matter and show the character that comes then; empty at the end."""
        self._match(skip)
        return self._text[self._at : self._at + 1]

    def _take(self, character: str) -> None:
        if self._next(_SPACE) != character:
            raise _LostError
        self._at += 1

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise _LostError
        self._at = match.end()
        return match[0]


def _name(written: str) -> str:
    if written[0] == '"':
        try:
            return str(tomllib.loads(f"name = {written}")["name"])
        except tomllib.TOMLDecodeError:
            raise _LostError from None
    return written[1:-1] if written[0] == "'" else written
