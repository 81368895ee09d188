"""Many nodes and one upstream: each node has a database of its own, made from one that has its triggers already."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, LiteralString, Self

import psycopg
import structlog

from dbsync.apply.applier import Applier
from dbsync.changelog.reader import Reader
from dbsync.errors import Interrupted
from dbsync.model.policy import Policies
from dbsync.postgres import connect
from dbsync.service import node as nodes
from dbsync.service.node import Node
from dbsync.transport.direct import Direct
from tests.support.databases import Database, Databases, Pair
from tests.support.pipeline import LINK, Pipeline, prepared

Session = psycopg.Connection[tuple[Any, ...]]


@dataclass(kw_only=True)
class Fleet:
    """So many nodes, and the upstream they all ship to."""

    upstream: Database
    sources: dict[str, Database]
    policies: Policies


def fleet(databases: Databases, pair: Pair, schema: LiteralString, tables: str, nodes: int) -> Fleet:
    """Make nodes from one database that was installed once; every life of its own begins here."""
    first = prepared(databases, pair, schema)
    with Pipeline(first.source, first.upstream, tables) as installed:
        policies = installed.policies
    names = [f"n{number:02}" for number in range(nodes)]
    sources = {name: _born(databases, first.source, name) for name in names}
    return Fleet(upstream=first.upstream, sources=sources, policies=policies)


def _born(databases: Databases, template: Database, name: str) -> Database:
    made = databases.create(template.version, name=name, template=template.name)
    made.sql(
        "UPDATE dbsync.node SET name = %s, incarnation = born.id, lineage = born.id FROM (SELECT gen_random_uuid() AS id) born",
        [name],
    )
    return made


@dataclass(kw_only=True)
class Ship:
    """What ships one node's changes: its own sessions at both ends; open it before use."""

    name: str
    source: Database
    upstream: Database
    policies: Policies
    max_changes: int = 20
    happened: Counter[str] = field(default_factory=Counter)
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        source = self._stack.enter_context(closing(connect(self.source.dsn, name="source")))
        upstream = self._stack.enter_context(closing(connect(self.upstream.dsn, name="upstream")))
        self.node: Node = nodes.read(source)
        self._reader = Reader(
            source, node=self.node.name, lineage=self.node.lineage, incarnation=self.node.incarnation, link=LINK
        )
        self.applier = Applier(upstream, self.policies)
        self.applier.clock_off = 0.0
        self._transport = Direct(self.applier)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def ship(self) -> None:
        """Ship all that is pending; what was cut is sent again as the service does it."""
        while (cut := self._reader.unfinished() or self._reader.next_cut(self.max_changes)) is not None:
            try:
                receipt = self._transport.deliver(self._reader.batch(cut))
            except Interrupted:
                self.happened["cut"] += 1
                time.sleep(0.05)
                continue
            self._reader.acknowledge(cut, receipt)
            self.happened["batches"] += 1
            self.happened["held"] += receipt.held

    def tend(self) -> None:
        """Let what waits be tried again."""
        self._transport.tend(self.node.lineage)


@contextmanager
def events() -> Iterator[Counter[str]]:
    """Count what the program says meanwhile, by event."""
    counted: Counter[str] = Counter()

    def count(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        counted[str(event.get("event"))] += 1
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[count], cache_logger_on_first_use=False)
    try:
        yield counted
    finally:
        structlog.configure(**before)
