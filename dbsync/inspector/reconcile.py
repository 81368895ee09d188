"""What is in the box against what is in the data. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """Identifiers, each in the order in which it was scanned, or sorted where it was not."""

    both: tuple[str, ...]
    missing_from_data: tuple[str, ...]
    missing_from_box: tuple[str, ...]
    twice: tuple[str, ...]
    """Scanned more than once: a slip, or two specimens with one identifier."""


def reconcile(box: Iterable[str], data: Iterable[str]) -> Reconciled:
    """Compare what was scanned with what is known. White space around an identifier is the reader's, not the identifier's.

    >>> reconcile(["R-1 ", "R-3", "R-1"], ["R-1", "R-2"])
    Reconciled(both=('R-1',), missing_from_data=('R-3',), missing_from_box=('R-2',), twice=('R-1',))
    """
    scanned = Counter(found for one in box if (found := one.strip()))
    known = {one.strip() for one in data}
    return Reconciled(
        both=tuple(one for one in scanned if one in known),
        missing_from_data=tuple(one for one in scanned if one not in known),
        missing_from_box=tuple(sorted(known - scanned.keys())),
        twice=tuple(one for one, times in scanned.items() if times > 1),
    )
