"""Papers and bundles that somebody changed on the way."""

from __future__ import annotations

from pathlib import Path


def tampered(data: bytes) -> bytes:
    """Give other bytes than these, whatever they are: the last one has a bit changed.

    >>> tampered(b"box")
    b'boy'
    """
    return data[:-1] + bytes([data[-1] ^ 1])


def tamper(path: Path) -> None:
    """Change a file so."""
    path.write_bytes(tampered(path.read_bytes()))
