"""The routes that are lines: a batch goes over, and its receipt is the answer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from dbsync.batch.codec import decode, encode
from dbsync.changelog.outbox import Outbox
from dbsync.changelog.reader import Reader
from dbsync.errors import DbsyncError, IdentityConflict, Unreachable
from dbsync.identity.messages import Request
from dbsync.model.batch import Batch
from dbsync.postgres import connect
from dbsync.service import node as nodes
from dbsync.service import routes
from dbsync.service.node import Node
from dbsync.service.run import Service
from dbsync.transport.base import Transport
from dbsync.transport.exchange import Exchange
from dbsync.transport.https import Https
from dbsync.transport.line import Came, Line
from tests.conformance.route import MIDDLE, SERVER, SILENCE, Driver, Spoiled
from tests.support.databases import Pair
from tests.support.proxy import Fault, Proxy, Way
from tests.support.served import answering, free_port


class OnLine(Driver):
    """A line, slow enough that we see what is under way: batches as bytes, between the laptop's log and the line.

    A parcel is a batch, by its number. Receipts are kept nowhere on the way: the upstream tells the last one whenever it is asked.
    """

    def __init__(self, folder: Path, pair: Pair, stack: ExitStack) -> None:
        super().__init__(folder, pair, stack)
        self.line = stack.enter_context(self._proxy())
        self._write("dbsync.toml", self._url())
        self._parcels: dict[str, bytes] = {}
        self._spoiled: dict[str, Spoiled] = {}

    @abstractmethod
    def _proxy(self) -> Proxy:
        """Make the line that can be broken."""

    @abstractmethod
    def _url(self) -> str:
        """Give the upstream's address over this line."""

    @abstractmethod
    def spoiled(self, batch: Batch, how: Spoiled) -> None:
        """Bring a batch that is changed on its way."""

    def leave(self) -> None:
        """Read it from the log."""
        with self.reading() as (_, reader):
            there = [int(parcel) for parcel in self._parcels]
            with Outbox(reader).batches(1, beside=there) as batches:
                for batch in batches:
                    self._parcels[str(batch.header.number)] = b"".join(encode(batch))

    def arrive(self) -> None:
        """Bring batch after batch, each over a line of its own: one that is refused does not keep those behind it."""
        for parcel in self.parcels():
            if self._is_taken(parcel):
                self.lose(parcel)

    def home(self) -> None:
        """Ask for the last receipt."""
        with self.reading() as (node, reader), self.transport() as transport:
            receipt = transport.last_receipt(node.name, node.incarnation, SERVER)
            assert receipt is not None
            Outbox(reader).take_out(receipt)

    def round(self) -> None:
        """Ship as ``dbsync run --once`` does."""
        Service(config=self.config).run_once()

    def away(self) -> None:
        """Answer nothing."""
        self.line.deafen()

    def back(self) -> None:
        """Answer again."""
        self.line.mend()

    def cut(self, way: Way) -> None:
        """Cut the line while the first batch goes over it, or while it is answered."""
        with self.transport() as transport:
            transport.meet(lambda: datetime.now(UTC))  # all that comes before a batch is behind us
            self.line.arm(Fault.CUT, way, MIDDLE[way])
            with pytest.raises(Unreachable):
                transport.deliver(decode([self._parcels[self.parcels()[0]]]))
        assert self.line.broken == 1

    def lose_receipts(self) -> None:
        """Nothing keeps them."""

    def parcels(self) -> list[str]:
        """Name the batches."""
        return sorted(self._parcels, key=int)

    def lose(self, parcel: str) -> None:
        """Forget a batch."""
        del self._parcels[parcel]
        self._spoiled.pop(parcel, None)

    def copies(self) -> Mapping[str, object]:
        """Copy the bytes."""
        return dict(self._parcels)

    def put(self, copies: Mapping[str, object]) -> None:
        """Have the bytes again."""
        self._parcels |= cast(Mapping[str, bytes], copies)

    def spoil(self, parcel: str, how: Spoiled) -> None:
        """Have it changed once it goes over the line."""
        self._spoiled[parcel] = how

    @contextmanager
    def reading(self) -> Iterator[tuple[Node, Reader]]:
        """Give the laptop's node and the reader of its log, as a service that starts."""
        with closing(connect(self.source.dsn, name="source")) as source:
            node = nodes.read(source)
            reader = Reader(source, node=node.name, lineage=node.lineage, incarnation=node.incarnation, link=SERVER)
            reader.claim(SILENCE)
            yield node, reader

    @contextmanager
    def transport(self) -> Iterator[Transport]:
        """Open the line, as a service that starts."""
        with (
            closing(connect(self.source.dsn, name="source")) as source,
            routes.transport(self.config, nodes.read(source), source) as found,
        ):
            yield found

    def _is_taken(self, parcel: str) -> bool:
        """Bring a batch; say whether the upstream took it."""
        batch, how = decode([self._parcels[parcel]]), self._spoiled.get(parcel)
        if how is not None:
            with pytest.raises(DbsyncError):
                self.spoiled(batch, how)
            return False
        try:
            with self.transport() as transport:
                transport.deliver(batch)
        except IdentityConflict:  # it does not follow on what is there
            return False
        return True


class ByDirect(OnLine):
    """PostgreSQL to PostgreSQL.

    What goes over libpq is guarded by libpq. A batch that was changed is one that was changed before that, and its form tells.
    """

    def _proxy(self) -> Proxy:
        return Proxy(self.upstream)

    def _url(self) -> str:
        return self.line.dsn

    def spoiled(self, batch: Batch, how: Spoiled) -> None:
        """Bring another payload."""
        with self.transport() as transport:
            transport.deliver(replace(batch, payload=[how.of(b"".join(batch.payload))]))


class ByHttps(OnLine):
    """To ``dbsync serve``."""

    def _proxy(self) -> Proxy:
        port = free_port()
        self._stack.enter_context(answering(self.upstream, keys=self.server_keys, port=port))
        return Proxy(port)

    def _url(self) -> str:
        return f"http://127.0.0.1:{self.line.port}"

    def spoiled(self, batch: Batch, how: Spoiled) -> None:
        """Send every body otherwise than it was signed."""
        with _Meddled(self._url(), how) as line:
            Https(Exchange(line=line, keys=self.keys, theirs=self.server_keys.public)).deliver(batch)


class _Meddled(Line):
    """A line in the hands of somebody who changes what goes over it."""

    def __init__(self, url: str, how: Spoiled) -> None:
        super().__init__(url, silence=SILENCE)
        self._how = how

    def send(self, request: Request, body: bytes, *, patience: float | None = None) -> Came:
        return super().send(request, self._how.of(body) if body else body, patience=patience)
