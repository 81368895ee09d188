"""What a node finds at a broker from its upstream: signed papers as they are, and a word on what is missing there."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import orjson

from dbsync.errors import FormatError
from dbsync.identity.keys import Signed


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """Everything that there is to know for a node, each time anew: only the latest is kept."""

    receipts: Signed | None
    certificate: Signed | None
    missing: tuple[str, int] | None = None
    """The batch that has to come next and is not at the broker, by life (eight digits) and number. A word that nobody signs, and
    that costs a batch sent twice where it is a lie."""


def write_news(news: News) -> bytes:
    """Write it."""
    missing = None if news.missing is None else {"life": news.missing[0], "number": news.missing[1]}
    return orjson.dumps({"receipts": _dump(news.receipts), "certificate": _dump(news.certificate), "missing": missing})


def read_news(data: bytes) -> News:
    """Read it. Raises FormatError for anything else; what is signed in it is still to be checked."""
    try:
        found = orjson.loads(data)
        missing = found["missing"]
        return News(
            receipts=_load(found["receipts"]),
            certificate=_load(found["certificate"]),
            missing=None if missing is None else (str(missing["life"]), int(missing["number"])),
        )
    except (ValueError, KeyError, TypeError):
        raise FormatError(
            "what lies at the broker for us cannot be read", where="broker", why="it is no news"
        ) from None


def _dump(signed: Signed | None) -> dict[str, str] | None:
    if signed is None:
        return None
    both = {"data": signed.data, "signature": signed.signature}
    return {name: base64.b64encode(value).decode("ascii") for name, value in both.items()}


def _load(found: dict[str, str] | None) -> Signed | None:
    if found is None:
        return None
    return Signed(
        data=base64.b64decode(found["data"], validate=True),
        signature=base64.b64decode(found["signature"], validate=True),
    )
