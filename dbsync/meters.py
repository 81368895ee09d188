"""What dbsync measures, by names that stay: docs/reference/metrics.md is made of this list.

Counters and histograms are counted where the work is done, by whichever process does it. What a database knows is read from it
when somebody asks (:mod:`dbsync.service.observed`, :mod:`dbsync.relay.observed`), under the names that stand here as well.
No label ever holds a row's value or key: nodes are those that a server let in, all else is a word of this program.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from dbsync.model.program import Program

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
"""Upper ends of the histograms' buckets: from a single change to a batch over a line that is hardly one."""


class Kind(StrEnum):
    """What kind of a number it is, as Prometheus names it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


ALL = tuple(Program)
DATABASE = (Program.RUN, Program.SERVE, Program.APPLY)
"""What a node's database knows, whichever of its programs is asked."""
RUN = (Program.RUN,)
SERVE = (Program.SERVE,)
APPLY = (Program.APPLY,)
RELAY = (Program.RELAY,)
SERVERS = (Program.SERVE, Program.RELAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """One thing that is measured."""

    name: str
    kind: Kind
    what: str
    told: tuple[Program, ...]
    labels: tuple[str, ...] = ()


METERS: list[Meter] = []
"""All of them, in the order of the page."""
COUNTED: dict[Meter, Collector] = {}
"""Those that a process counts itself."""
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's, without types


def registry(program: Program) -> CollectorRegistry:
    """Give what a program tells of its own work, and of itself as a process."""
    made = CollectorRegistry()
    ProcessCollector(registry=made)
    for meter, counted in COUNTED.items():
        if program in meter.told:
            made.register(counted)
    return made


def _meter(kind: Kind, name: str, what: str, told: tuple[Program, ...], labels: str) -> Meter:
    found = Meter(name=f"dbsync_{name}", kind=kind, what=what, told=told, labels=tuple(labels.split()))
    METERS.append(found)
    return found


def _counter(name: str, what: str, told: tuple[Program, ...], labels: str = "") -> Counter:
    meter = _meter(Kind.COUNTER, name, what, told, labels)
    made = Counter(meter.name, what, meter.labels, registry=None)
    COUNTED[meter] = made
    return made


def _gauge(name: str, what: str, told: tuple[Program, ...], labels: str = "") -> Gauge:
    meter = _meter(Kind.GAUGE, name, what, told, labels)
    made = Gauge(meter.name, what, meter.labels, registry=None)
    COUNTED[meter] = made
    return made


def _histogram(name: str, what: str, told: tuple[Program, ...], labels: str = "") -> Histogram:
    meter = _meter(Kind.HISTOGRAM, name, what, told, labels)
    made = Histogram(meter.name, what, meter.labels, registry=None, buckets=SECONDS)
    COUNTED[meter] = made
    return made


def _read(name: str, what: str, told: tuple[Program, ...], labels: str = "") -> Meter:
    return _meter(Kind.GAUGE, name, what, told, labels)


Family = GaugeMetricFamily | CounterMetricFamily
Reading = tuple[Meter, Iterable[str], float]
"""A number that was read just now, with the values of its labels."""


def families(readings: Iterable[Reading]) -> Iterator[Family]:
    """Put what was read into the library's form, each name once."""
    found: dict[str, Family] = {}
    for meter, values, number in readings:
        family = CounterMetricFamily if meter.kind is Kind.COUNTER else GaugeMetricFamily
        if meter.name not in found:
            found[meter.name] = family(meter.name, meter.what, labels=meter.labels)
        found[meter.name].add_metric(list(values), number)
    yield from found.values()


BUILD = _read("build_info", "1, with the version, the node's name and the program", ALL, "version python node program")
DATABASE_UP = _read("database_up", "1 if the node's own database answered just now, else 0", DATABASE)
LINK_STATE = _read("link_state", "1 for the state that the link is in, 0 for all others", DATABASE, "node link state")
LINK_SINCE = _read("link_state_since_timestamp_seconds", "Since when it is in that state", DATABASE, "node link")
LINK_LAG = _read(
    "link_lag_seconds", "Age of the oldest change without a receipt; 0 when nothing is pending", DATABASE, "node link"
)
LINK_PENDING = _read("link_pending_changes", "Changes without a receipt; many are estimated", DATABASE, "node link")
LINK_BATCH = _read("link_acknowledged_batch", "Number of the last batch that has its receipt", DATABASE, "node link")
LINK_RECEIPT = _read("link_last_receipt_timestamp_seconds", "When that receipt came", DATABASE, "node link")
LINK_CONTACT = _read(
    "link_last_contact_timestamp_seconds",
    "When the upstream answered last over a line; to the minute while nothing is shipped",
    DATABASE,
    "node link",
)
LINK_CLOCK = _read(
    "link_clock_skew_seconds",
    "Seconds by which this node's clock was ahead of the upstream's when the line was opened",
    DATABASE,
    "node link",
)
LINK_QUARANTINED = _read(
    "link_quarantined_changes",
    "Changes of this node that waited in quarantine upstream at the last contact",
    DATABASE,
    "node link",
)
CUSTODY_CHANGES = _read(
    "custody_changes", "Changes without a receipt that a driver has, by relay", DATABASE, "node link relay"
)
CUSTODY_AGE = _read("custody_age_seconds", "How long he has the first of them", DATABASE, "node link relay")
LOG_BYTES = _read("change_log_bytes", "What the change log takes on disk", DATABASE, "node")
CAPTURE = _read("capture_enabled", "1; 0 while capture is switched off: changes made then are lost", DATABASE, "node")
PAUSED = _read("shipping_paused", "1 from dbsync pause until dbsync resume, else 0", DATABASE, "node")
QUARANTINE = _read(
    "quarantine_changes",
    "Changes of nodes that wait in this database's quarantine, by what is wrong",
    DATABASE,
    "node conflict",
)
QUARANTINE_AGE = _read("quarantine_oldest_age_seconds", "How long the first of them waits; 0 where none does", DATABASE)
CONFLICTS = _meter(
    Kind.COUNTER,
    "conflicts_total",
    "Rows that two sides had changed: entries of this database's ledger",
    DATABASE,
    "node conflict",
)
PEER_CONTACT = _read(
    "node_last_contact_timestamp_seconds",
    "When a node or relay that was let in spoke last, to the minute",
    ALL,
    "node role",
)
PEER_BATCH = _read(
    "node_last_batch_timestamp_seconds", "When the newest batch of a node was applied here", DATABASE, "node"
)
CERTIFICATE = _read(
    "certificate_expiry_timestamp_seconds",
    "When a TLS certificate ends: that of a host which was spoken to, or the program's own (own)",
    ALL,
    "of",
)
RELAY_BUNDLES = _read("relay_bundles", "Bundles in custody, by the node that handed them over", RELAY, "node")
RELAY_TROUBLED = _read("relay_troubled_bundles", "Bundles in custody that the upstream did not take", RELAY, "node")
RELAY_AGE = _read("relay_oldest_bundle_age_seconds", "How long the first is in custody; 0 where none is", RELAY)


class Counted:
    """What a process counts itself; :mod:`dbsync.tally` does it."""

    SHIPPED_BATCHES = _counter(
        "shipped_batches_total", "Batches that went over a line and have their receipt", RUN, "node link"
    )
    SHIPPED_CHANGES = _counter("shipped_changes_total", "Changes in shipped batches", RUN, "node link")
    SHIPPED_BYTES = _counter("shipped_bytes_total", "Bytes of shipped batches before compression", RUN, "node link")
    SHIPPED_HELD = _counter(
        "shipped_held_changes_total", "Changes of shipped batches that went into quarantine upstream", RUN, "node link"
    )
    SHIPPED_SECONDS = _histogram(
        "shipped_batch_seconds", "Seconds from a shipped batch's first byte to its receipt", RUN, "node link"
    )
    CARRIED = _counter(
        "carried_changes_total",
        "Changes that left by stick or relay, and may leave so more than once",
        RUN,
        "node link by",
    )
    RETRIES = _counter("link_retries_total", "Pauses before another try, whatever was in the way", RUN, "node link")
    DRIFTED = _gauge(
        "drifted_triggers", "Tables whose triggers are missing or outdated and could not be renewed", RUN, "node"
    )
    APPLIED_BATCHES = _counter(
        "applied_batches_total",
        "Batches that this process applied: serve, apply, or run over the direct route",
        DATABASE,
        "node",
    )
    APPLIED_CHANGES = _counter("applied_changes_total", "Changes in applied batches", DATABASE, "node")
    APPLIED_BYTES = _counter("applied_bytes_total", "Bytes of applied batches before compression", DATABASE, "node")
    APPLIED_HELD = _counter(
        "applied_held_changes_total", "Changes of applied batches that went into quarantine", DATABASE, "node"
    )
    APPLIED_SECONDS = _histogram(
        "applied_batch_seconds", "Seconds from an applied batch's first byte to its commit", DATABASE
    )
    APPLIED_RETRIES = _counter(
        "applied_retries_total", "Times that a batch was written again because of a deadlock", DATABASE
    )
    REQUESTS = _counter("requests_total", "Requests that were answered, by HTTP status", SERVERS, "operation code")
    PEER_CLOCK = _gauge(
        "node_clock_skew_seconds",
        "Seconds by which a node's clock was ahead of this server's, as it told since the process began",
        SERVE,
        "node",
    )
    BROKER_LETTERS = _gauge(
        "broker_messages",
        "Messages that lie at the broker for this upstream, by the node that left them",
        APPLY,
        "node",
    )
    RELAY_DELIVERED = _counter("relay_delivered_bundles_total", "Bundles that were brought to the upstream", RELAY)
    RELAY_VISIT = _gauge(
        "relay_last_visit_timestamp_seconds", "When the upstream was visited last, without trouble", RELAY, "upstream"
    )
