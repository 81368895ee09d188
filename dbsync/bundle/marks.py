"""For whom something that goes by stick or relay was sealed, told by whoever wrote it: a seal names nobody.

It stands in the untrusted comment of the signature, which no reader looks at and nobody signs. Whoever changes it lets its node write
anew what is there, or keep what is of no use: he who has the stick can take it away as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import minisign

_LEAD = "dbsync sealed for "


def mark(recipients: Iterable[str]) -> str:
    """Stand for some age recipients, in whatever order they are.

    >>> mark(["age1b", "age1a"]) == mark(["age1a", "age1b"]) != mark(["age1a"])
    True
    """
    return _LEAD + hashlib.sha256("\n".join(sorted(set(recipients))).encode()).hexdigest()[:16]


def marked(signature: bytes) -> str | None:
    """Give the mark of a signature; None where it has none, as those of versions before. Raises ValueError for no signature."""
    try:
        comment = minisign.Signature.from_bytes(signature).untrusted_comment
    except (minisign.Error, minisign.ParseError) as error:
        raise ValueError(str(error)) from None
    return str(comment) if comment.startswith(_LEAD) else None
