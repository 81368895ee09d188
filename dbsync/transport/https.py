"""The HTTPS route: batches to an upstream that runs ``dbsync serve``, receipts back. See docs/reference/http.md."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from dbsync.batch.codec import encode
from dbsync.batch.header import HASH_BYTES
from dbsync.errors import Interrupted, Unreachable
from dbsync.identity.keys import Signed
from dbsync.identity.lists import seal_list
from dbsync.model.batch import Batch, Header, Receipt
from dbsync.model.greeting import Greeting
from dbsync.transport.exchange import Exchange, moment
from dbsync.transport.parts import Parts

KIND = "application/vnd.dbsync.batch"
PART = 1 << 20
"""Bytes of a part at most; a batch of no more goes in one."""
FIRST_PART = 1 << 17
"""Bytes of the first part over a line of which nothing is known: what breaks it is lost and sent again."""
APPLYING = 3
"""Times the usual silence that an answer may take for which a batch is applied. One that takes longer is brought again: it waits
over there for the first, and is found applied."""


class Https:
    """Brings batches over signed HTTP.

    A batch that a broken line left half there goes on where it stopped: the upstream is asked what it kept, unless the
    batch before it arrived over this very transport and nothing can be there.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._part = FIRST_PART
        self._sure = False

    def last_receipt(self, node: str, incarnation: UUID, link: str) -> Receipt | None:
        """Ask for it; the upstream knows by the key which node asks."""
        said = self._exchange.ask("GET", "/v1/receipts/last", query={"incarnation": str(incarnation), "link": link})
        if said.get("receipt") is None:
            return None
        receipt = self._read(said)
        if (receipt.node, receipt.incarnation) != (node, incarnation):
            raise self._nonsense("the receipt is another node's")
        return receipt

    def deliver(self, batch: Batch) -> Receipt:
        """Bring it in parts; the last one's answer is the receipt."""
        parts = Parts(encode(batch))
        path = f"/v1/batches/{parts.head[-HASH_BYTES:].hex()}"
        sure, self._sure = self._sure, False
        if not sure:
            self._go_on(parts, path)
        said = self._send(parts, path)
        while not parts.ended:
            said = self._send(parts, path)
        receipt = self._read(said)
        if not _answers(receipt, batch.header, parts.tail):
            raise self._nonsense("the receipt is for another batch")
        self._sure = True
        return receipt

    def meet(self, now: Callable[[], datetime]) -> float:
        """Ask the time there between two looks at our own clock: in the middle of them, as NTP assumes (RFC 5905)."""
        before = now()
        there = moment(self._exchange.ask("GET", "/v1/time").get("now"))
        if there is None:
            raise self._nonsense("it does not tell the time")
        off = (before + (now() - before) / 2 - there).total_seconds()
        self._exchange.ask("POST", "/v1/clock", orjson.dumps({"off": off}))
        return off

    def greet(self, node: str, greeting: Greeting) -> None:  # noqa: ARG002 - told by the key
        """Tell it; the upstream knows by the key of which node."""
        carried = [
            {"relay": one.relay, "changes": one.changes, "since": one.since.isoformat()} for one in greeting.carried
        ]
        said = {
            "program": greeting.program,
            "schema": greeting.schema,
            "clock_off": greeting.clock_off,
            "pending": greeting.pending,
            "exact": greeting.exact,
            "oldest": None if greeting.oldest is None else greeting.oldest.isoformat(),
            "carried": carried,
        }
        self._exchange.ask("POST", "/v1/greeting", orjson.dumps(said))

    def above(self, node: str, incarnation: UUID, link: str) -> Mapping[str, int | None]:  # noqa: ARG002 - told by the key
        """Ask the upstream what the tiers above it have; it knows by the key which node asks."""
        asked = {"incarnation": str(incarnation), "link": link}
        found = self._exchange.ask("GET", "/v1/receipts/above", query=asked).get("above")
        if not isinstance(found, dict) or not all(number is None or type(number) is int for number in found.values()):
            raise self._nonsense("it does not tell what is above")
        return found

    def tend(self, lineage: UUID) -> Mapping[str, int]:
        """Ask the upstream to tend its quarantine."""
        said = self._exchange.ask("POST", "/v1/tend", orjson.dumps({"lineage": str(lineage)}), patience=self._patience)
        waiting = said.get("waiting")
        if not isinstance(waiting, dict) or not all(type(count) is int for count in waiting.values()):
            raise self._nonsense("it does not tell what waits")
        return waiting

    def certificate(self, incarnation: UUID, link: str) -> Signed | None:
        """Ask for a certificate of what is there of one life of this node; None before its first batch."""
        asked = {"incarnation": str(incarnation), "link": link}
        return self._exchange.signed(self._exchange.ask("GET", "/v1/certificate", query=asked))

    def bring_list(self, signed: Signed) -> None:
        """Bring it sealed, as a relay does."""
        bring_list(self._exchange, seal_list(signed, self._exchange.theirs))

    @property
    def _patience(self) -> float:
        return APPLYING * self._exchange.line.silence

    def _send(self, parts: Parts, path: str) -> Mapping[str, Any]:
        """Send the next part, an empty one where all are there already; after each that went the next may be larger."""
        place = parts.place
        part = parts.take(self._part)
        said = self._exchange.ask(
            "PATCH",
            path,
            part,
            query={"offset": str(place), "complete": "true" if parts.ended else "false"},
            kind=KIND,
            patience=self._patience if parts.ended else None,
        )
        self._part = min(self._part * 2, PART)
        return said

    def _go_on(self, parts: Parts, path: str) -> None:
        """Skip what the upstream has kept of this batch; where that is something else, have it thrown away."""
        said = self._exchange.ask("GET", path)
        kept, its_hash = said.get("offset"), said.get("hash")
        if type(kept) is not int or kept < 0:
            raise self._nonsense("it does not tell how much is there")
        if not kept:
            return
        ours = parts.skip(kept, PART)
        if parts.place != kept or ours.hex() != its_hash:
            self._exchange.ask("DELETE", path)
            raise Interrupted(
                "what the upstream kept of a batch is of no use",
                where=self._exchange.line.url,
                why="it was written in another way, or damaged; it is sent anew",
            )

    def _read(self, said: Mapping[str, Any]) -> Receipt:
        try:
            found = said["receipt"]
            return Receipt(
                node=found["node"],
                incarnation=UUID(found["incarnation"]),
                number=int(found["number"]),
                hash=bytes.fromhex(found["hash"]),
                applied_at=datetime.fromisoformat(found["applied_at"]),
                held=int(found["held"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._nonsense("the receipt cannot be read") from None

    def _nonsense(self, why: str) -> Unreachable:
        return Unreachable(
            "the upstream's answer makes no sense",
            where=self._exchange.line.url,
            why=why,
            hint="dbsync of both ends may have to be of one version",
        )


def bring_list(exchange: Exchange, sealed: bytes) -> None:
    """Bring a sealed list to the upstream that it was sealed for."""
    exchange.ask("POST", "/v1/lists", orjson.dumps({"sealed": base64.b64encode(sealed).decode("ascii")}))


def _answers(receipt: Receipt, header: Header, digest: bytes) -> bool:
    """Say whether a receipt is for this batch; one for another would let the source forget what is nowhere."""
    wanted = (header.node, header.incarnation, header.number, digest)
    return (receipt.node, receipt.incarnation, receipt.number, receipt.hash) == wanted
