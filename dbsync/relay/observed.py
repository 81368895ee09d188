"""What a relay tells when somebody asks for metrics: what it holds, and who came when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.registry import Collector

from dbsync import meters
from dbsync.meters import Reading, families
from dbsync.model.program import Program
from dbsync.relay.records import Records, now
from dbsync.service.observed import of_process


@dataclass(frozen=True, kw_only=True)
class Observed(Collector):
    """Reads a relay's records for whoever asks it for its metrics."""

    name: str
    records: Records

    def describe(self) -> Iterable[Metric]:
        """Name nothing in advance."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Read them."""
        yield from families([*of_process(self.name, Program.RELAY), *self._held(), *self._nodes()])

    def _held(self) -> Iterator[Reading]:
        held = self.records.held()
        by_node = Counter({node.name: 0 for node in self.records.nodes()})
        by_node.update(one.name.node for one in held)
        for node, bundles in by_node.items():
            yield meters.RELAY_BUNDLES, (node,), bundles
        for node in by_node:
            troubled = sum(one.trouble is not None for one in held if one.name.node == node)
            yield meters.RELAY_TROUBLED, (node,), troubled
        yield meters.RELAY_AGE, (), max([0.0, *((now() - one.received_at).total_seconds() for one in held)])

    def _nodes(self) -> Iterator[Reading]:
        for node in self.records.nodes():
            if node.seen_at is not None:
                yield meters.PEER_CONTACT, (node.name, node.role.value), node.seen_at.timestamp()
