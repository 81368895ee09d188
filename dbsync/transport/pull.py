"""Bundles and papers fetched from a laptop that serves its outbox, and what was signed for it brought there. See docs/reference/http.md."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from dbsync.errors import OtherVersion, Unreachable
from dbsync.identity.keys import Signed
from dbsync.transport.exchange import Exchange

PATH = "/v1/outbox"
MAKING = 10
"""Times the usual silence that it may take over there to make a bundle ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A bundle or a paper that lies ready over there."""

    file: str
    size: int
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """What a laptop says to whoever comes."""

    offered: tuple[Offered, ...]
    unnoted: tuple[str, ...]
    """Bundles that he has, and it no note for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """Takes bundles out of a laptop's outbox. Nothing of what it says is believed before its signature was checked."""

    exchange: Exchange

    def laid_out(self, held: Sequence[Mapping[str, object]]) -> Laid:
        """Ask what there is beside the batches that are held; it is made ready meanwhile, which may take long."""
        patience = MAKING * self.exchange.line.silence
        said = self.exchange.ask("POST", PATH, orjson.dumps({"held": held}), patience=patience)
        try:
            offered = tuple(_offered(one) for one in said["bundles"])
            unnoted = tuple(_text(one) for one in said["unnoted"])
        except (KeyError, TypeError, ValueError):
            raise self.nonsense("it does not tell what lies ready") from None
        return Laid(offered=offered, unnoted=unnoted)

    def papers(self, held: Sequence[str]) -> tuple[Offered, ...] | None:
        """Ask which papers there are beside those that are held; None of a laptop that is too old to give any."""
        patience = MAKING * self.exchange.line.silence
        try:
            said = self.exchange.ask("POST", "/v1/papers", orjson.dumps({"held": held}), patience=patience)
        except OtherVersion:
            return None
        try:
            return tuple(_offered(one) for one in said["papers"])
        except (KeyError, TypeError, ValueError):
            raise self.nonsense("it does not tell which papers lie ready") from None

    def answer(self, file: str, signed: Signed) -> None:
        """Bring the answer to a question."""
        self.exchange.ask("PUT", f"/v1/papers/{file}", _written(signed))

    def arrived(self, signed: Signed) -> None:
        """Bring the upstream's word for which of the laptop's lists are there."""
        self.exchange.ask("PUT", "/v1/lists", _written(signed))

    def part(self, offered: Offered, place: int) -> bytes:
        """Fetch the bytes of it that follow so many; raises Unreachable where there are none, or too many."""
        found = self.exchange.fetch(f"{PATH}/{offered.file}", query={"offset": str(place)})
        if not 0 < len(found) <= offered.size - place:
            raise self.nonsense("it gives other bytes than it has told of")
        return found

    def taken(self, file: str, note: Signed) -> None:
        """Bring the note for a bundle."""
        self.exchange.ask("PUT", f"{PATH}/{file}", _written(note))

    def receipts(self, signed: Signed) -> int:
        """Bring the laptop's receipts; give how many batches it let go of."""
        found = self.exchange.ask("PUT", "/v1/receipts", _written(signed)).get("acknowledged")
        if type(found) is not int:
            raise self.nonsense("it does not tell what it took")
        return found

    def certificate(self, signed: Signed) -> None:
        """Bring the laptop's certificate."""
        self.exchange.ask("PUT", "/v1/certificate", _written(signed))

    def nonsense(self, why: str) -> Unreachable:
        """Make the error for an answer that no honest laptop gives."""
        return Unreachable("the answer makes no sense", where=self.exchange.line.url, why=why)


def _offered(said: Mapping[str, Any]) -> Offered:
    size = said["bytes"]
    if type(size) is not int or size <= 0:
        raise ValueError("no size of a bundle")
    signature = base64.b64decode(said["signature"], validate=True)
    return Offered(file=_text(said["file"]), size=size, signature=signature)


def _text(said: object) -> str:
    if not isinstance(said, str):
        raise TypeError("no file's name")
    return said


def _written(signed: Signed) -> bytes:
    both = {"data": signed.data, "signature": signed.signature}
    return orjson.dumps({name: base64.b64encode(value).decode("ascii") for name, value in both.items()})
