"""The way of a batch, told step by step, where somebody wants to see it: then :func:`begin` was called, and else it costs nothing.

What is told of a batch is which one it is and how long each step took: its node, number and counts, no key and no row.
:mod:`dbsync.spans` does the telling; the library behind it takes long to import.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from time import time_ns
from types import TracebackType
from typing import Protocol, Self

from dbsync.model.batch import Header

now = time_ns
"""The moment, as :func:`of` and :func:`past` take it: nanoseconds since the epoch."""


class Step(Protocol):
    """One step while it is under way."""

    def note(self, **facts: int) -> None:
        """Note how much of something there was."""
        ...


class Recorder(Protocol):
    """Who is told."""

    def of(self, name: str, header: Header, since: int | None) -> AbstractContextManager[Step]:
        """Tell of a step that is about a batch, from ``since`` or from now on."""
        ...

    def step(self, name: str) -> AbstractContextManager[Step]:
        """Tell of a part of the step that is under way in this thread."""
        ...

    def past(self, name: str, since: int) -> None:
        """Tell of a part that ends now."""
        ...


class _Nothing:
    """What is told where nobody listens."""

    def note(self, **facts: int) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


_NOTHING = _Nothing()
_recorder: Recorder | None = None


def begin(recorder: Recorder | None) -> None:
    """Tell from here on; None: nobody any more."""
    global _recorder  # noqa: PLW0603 - a process tells or does not
    _recorder = recorder


def of(name: str, header: Header, *, since: int | None = None) -> AbstractContextManager[Step]:
    """While inside, a step that is about a batch is under way; one that began earlier says ``since`` when."""
    return _NOTHING if _recorder is None else _recorder.of(name, header, since)


def step(name: str) -> AbstractContextManager[Step]:
    """While inside, a part of it is."""
    return _NOTHING if _recorder is None else _recorder.step(name)


def past(name: str, since: int) -> None:
    """Tell of a part that began before it was known of which batch it would be."""
    if _recorder is not None:
        _recorder.past(name, since)
