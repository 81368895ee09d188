"""Something that goes on in a thread of its own beside the rest of a program, and does not end unnoticed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def nothing() -> None:
    """Do nothing."""


@contextmanager
def beside(
    work: Callable[[], None], *, name: str, end: Callable[[], None], broken: Callable[[], None] = nothing
) -> Iterator[threading.Thread]:
    """Let ``work`` go on while inside; ``end`` tells it to end, and it is waited for.

    What breaks it is raised at the end. ``broken`` is called at once, by that thread: a program without this part of it
    should rather end as a whole.
    """
    met: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            met.append(error)
            broken()

    thread = threading.Thread(target=run, name=name)
    thread.start()
    try:
        yield thread
    finally:
        end()
        thread.join()
    if met:
        raise met[0]
