"""Sealed bundles and papers over HTTP: handed to a relay, or brought by one. See docs/reference/http.md."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dbsync.errors import OtherVersion, Unreachable
from dbsync.identity.keys import Signed
from dbsync.transport.exchange import Exchange
from dbsync.transport.parts import Parts

KIND = "application/vnd.dbsync.bundle"
PART = 1 << 20
CHUNK = 1 << 18
APPLYING = 30
"""Times the usual silence that the upstream may take for a whole bundle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carry:
    """Brings bundles to whoever takes them, and fetches what was signed for their senders."""

    exchange: Exchange

    def held(self) -> list[str]:
        """Ask a relay which of our bundles it has: their files' names."""
        return self._names("/v1/bundles", "held")

    def papers(self) -> list[str] | None:
        """Ask a relay which of our sealed papers it has, and which answers; None of one that is too old to carry any."""
        try:
            return self._names("/v1/papers", "papers")
        except OtherVersion:
            return None

    def answer(self, file: str) -> Signed | None:
        """Ask a relay for an answer that it has."""
        return self.exchange.signed(self.exchange.ask("GET", f"/v1/papers/{file}"))

    def answer_taken(self, file: str) -> None:
        """Let a relay let go of an answer."""
        self.exchange.ask("DELETE", f"/v1/papers/{file}")

    def arrived(self) -> Signed | None:
        """Ask a relay for the upstream's word for which of our lists are there; None before the first."""
        return self.exchange.signed(self.exchange.ask("GET", "/v1/lists"))

    def bring(self, path: Path, signature: bytes) -> Signed | None:
        """Bring a bundle or a paper, going on where a broken line stopped; give what was signed for it."""
        address = f"/v1/bundles/{path.name}"
        with path.open("rb") as file:
            parts = self._rest(file, address)
            while not parts.ended:
                place = parts.place
                self.exchange.ask("PATCH", address, parts.take(PART), query={"offset": str(place)}, kind=KIND)
        patience = APPLYING * self.exchange.line.silence
        return self.exchange.signed(self.exchange.ask("PUT", address, signature, kind="text/plain", patience=patience))

    def receipts(self, node: str) -> Signed | None:
        """Ask for a node's receipts as its upstream signed them; None before the first."""
        return self.exchange.signed(self.exchange.ask("GET", f"/v1/bundles/{node}/receipts"))

    def certificate(self, node: str) -> Signed | None:
        """Ask for a node's certificate as its upstream signed it; None before its first batch there."""
        return self.exchange.signed(self.exchange.ask("GET", f"/v1/bundles/{node}/certificate"))

    def _rest(self, file: BinaryIO, address: str) -> Parts:
        """Give what is missing over there; of what is there and is no beginning of this file nothing is kept."""
        said = self.exchange.ask("GET", address)
        kept, its_hash = said.get("offset"), said.get("hash")
        if type(kept) is not int or kept < 0:
            raise self._nonsense("it does not tell how much is there")
        parts = _parts(file)
        if kept and (parts.skip(kept, PART).hex() != its_hash or parts.place != kept):
            self.exchange.ask("DELETE", address)
            file.seek(0)
            return _parts(file)
        return parts

    def _names(self, address: str, member: str) -> list[str]:
        found = self.exchange.ask("GET", address).get(member)
        if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
            raise self._nonsense("it does not tell what it holds")
        return found

    def _nonsense(self, why: str) -> Unreachable:
        return Unreachable("the answer makes no sense", where=self.exchange.line.url, why=why)


def _parts(file: BinaryIO) -> Parts:
    return Parts(iter(lambda: file.read(CHUNK), b""))
