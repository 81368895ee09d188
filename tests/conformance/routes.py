"""A node's batches and a way to bring them, over each route."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dbsync.apply.applier import Applier
from dbsync.identity.keys import Keys
from dbsync.model.batch import Batch, Cut, Receipt
from dbsync.postgres import connect
from dbsync.transport.base import Transport
from dbsync.transport.direct import Direct
from dbsync.transport.exchange import Exchange
from dbsync.transport.https import Https
from dbsync.transport.line import Line
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.support.databases import Databases, Pair
from tests.support.pipeline import Pipeline, prepared
from tests.support.proxy import Proxy
from tests.support.served import admit, serving

ROUTES = ("direct", "https")
SERVER, NODE = Keys.generate(), Keys.generate()
SILENCE = 1.5


@dataclass(kw_only=True)
class Road:
    """A node whose change log is at hand, a line that can be broken, and transports that go over it."""

    pipeline: Pipeline
    line: Proxy
    connect: Callable[[], Any]
    """Opens a transport, as a service that starts does."""

    @contextmanager
    def transport(self) -> Iterator[Transport]:
        """Give a transport."""
        with self.connect() as opened:
            yield opened

    def sites(self) -> list[str]:
        """List the sites that are upstream."""
        return [code for (code,) in self.pipeline.upstream.sql("SELECT code FROM site ORDER BY id")]

    def insert(self, *codes: str) -> None:
        """Make sites, a transaction each."""
        with self.pipeline.source.connect() as session:
            for code in codes:
                session.execute("INSERT INTO site (code) VALUES (%s)", (code,))

    def deliver(self, transport: Transport) -> tuple[Cut, Receipt]:
        """Deliver the next batch, of one transaction, or the one that has no receipt."""
        with self.next_batch() as (cut, batch):
            return cut, transport.deliver(batch)

    @contextmanager
    def next_batch(self) -> Iterator[tuple[Cut, Batch]]:
        """Give that batch."""
        reader = self.pipeline.reader
        cut = reader.unfinished() or reader.next_cut(1)
        assert cut is not None
        with reader.sending(cut) as batch:
            yield cut, batch


@pytest.fixture(params=ROUTES)
def road(request: pytest.FixtureRequest, pair: Pair, databases: Databases, tmp_path: Path) -> Iterator[Road]:
    """Give a road over each route."""
    both = prepared(databases, pair, SCHEMA)
    with Pipeline(both.source, both.upstream, TABLES) as pipeline, ExitStack() as stack:
        if request.param == "direct":
            line = stack.enter_context(Proxy(both.upstream))
            yield Road(pipeline=pipeline, line=line, connect=lambda: _direct(pipeline, line.dsn))
            return
        admit(both.upstream, "field-01", NODE)
        _, url = stack.enter_context(serving(tmp_path / "server", both.upstream, keys=SERVER))
        line = stack.enter_context(Proxy(int(url.rpartition(":")[2])))
        yield Road(pipeline=pipeline, line=line, connect=lambda: _https(f"http://127.0.0.1:{line.port}"))


@contextmanager
def _direct(pipeline: Pipeline, dsn: str) -> Iterator[Transport]:
    with connect(dsn, name="upstream", silence=SILENCE) as connection:
        yield Direct(Applier(connection, pipeline.policies))


@contextmanager
def _https(url: str) -> Iterator[Transport]:
    with Line(url, silence=SILENCE) as line:
        yield Https(Exchange(line=line, keys=NODE, theirs=SERVER.public))
