"""JSON read without mercy: what is of another type, or has a member too many or too few, is a ValueError or a TypeError. Pure.

A member that a reader passes over is one about which two versions can disagree without noticing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Any, TypeVar

T = TypeVar("T")


def exactly(value: object, wanted: Set[str]) -> Mapping[str, Any]:
    """Read an object of exactly these members."""
    members = members_of(value)
    found = frozenset(members)
    if found != wanted:
        unknown, missing = sorted(found - wanted), sorted(wanted - found)
        raise ValueError(f"unknown members {unknown}, missing members {missing}")
    return members


def members_of(value: object) -> Mapping[str, Any]:
    """Read an object."""
    return _typed(value, dict, "an object")


def items(value: object, length: int | None = None) -> list[Any]:
    """Read a list, of so many items where that is fixed."""
    found: list[Any] = _typed(value, list, "a list")
    if length not in (None, len(found)):
        raise ValueError(f"{len(found)} items where {length} belong")
    return found


def text(value: object) -> str:
    """Read a text that a database can hold."""
    found = _typed(value, str, "text")
    if "\x00" in found:
        raise ValueError("a text holds what no database holds")
    return found


def filled(value: object) -> str:
    """Read a text that is not empty."""
    found = text(value)
    if not found:
        raise ValueError("a name is empty")
    return found


def whole(value: object, *, least: int = 0, most: int) -> int:
    """Read a whole number within bounds."""
    found = _typed(value, int, "a number")
    if not least <= found <= most:
        raise ValueError("a number is out of range")
    return found


def flag(value: object) -> bool:
    """Read a yes or a no."""
    return _typed(value, bool, "true or false")


def _typed(value: object, wanted: Callable[..., T], word: str) -> T:
    if type(value) is not wanted:
        raise TypeError(f"a {type(value).__name__} where {word} belongs")
    return value  # type: ignore[return-value]  # wanted is its type
