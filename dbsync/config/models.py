"""What dbsync.toml holds, as frozen values.

Models check one value at a time; entries that contradict each other are the business of
:mod:`dbsync.config.consistency`. No message of a validator repeats a value: it may hold a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from pydantic import Field

from dbsync.config import dsn, folders, patterns, web
from dbsync.config.broker import BrokerConfig
from dbsync.config.fields import (
    AgeRecipient,
    Column,
    ConnectionString,
    Count,
    Duration,
    FilePath,
    Flag,
    Key,
    NodeName,
    References,
    Route,
    Seconds,
    Size,
    TableOrPattern,
    Targets,
    UpstreamUrl,
    WebAddress,
    in_bytes,
    in_seconds,
    no_mapping,
    route_of,
)
from dbsync.config.limits import CheckConfig
from dbsync.config.listening import OutboxConfig, ServeConfig, WebConfig
from dbsync.config.section import Section
from dbsync.config.watching import AlertsConfig, MetricsConfig, TracesConfig
from dbsync.errors import ConfigError, UsageError
from dbsync.model.names import TableName
from dbsync.model.policy import OnConflict, OnDelete, OnError, OnSkew, Policies, Policy
from dbsync.model.registration import Mode, Truncate


class NodeConfig(Section):
    """``[node]``: this installation and the database it reads."""

    name: NodeName
    source: ConnectionString = Field(repr=False)
    """Any libpq connection string."""
    keys: FilePath = "keys"
    """The folder of this node's secret keys."""


class UpstreamConfig(Section):
    """``[upstream]``: where the changes go."""

    url: UpstreamUrl = Field(repr=False)
    name: NodeName | None = None
    ca: FilePath | None = None
    """A file of certificate authorities (PEM) to believe instead of the system's, for the https and the nats route."""
    recovery: tuple[AgeRecipient, ...] = ()
    """Who else can open bundles: keys in a safe, for a destination that has lost its own."""

    @property
    def label(self) -> str:
        """Name the upstream for people: as configured, else after its database, service or host; a stick tells no name."""
        if self.name is not None:
            return self.name
        return dsn.short_name(self.url) if self.route is Route.DIRECT else web.short_name(self.url)

    @property
    def route(self) -> Route:
        """Give the route."""
        return route_of(self.url) or Route.DIRECT

    def from_folder(self, folder: Path) -> UpstreamConfig:
        """Give the same with every path as it is meant."""
        return self if self.ca is None else self.model_copy(update={"ca": str(folder / self.ca)})

    @property
    def folder(self) -> Path:
        """Give the folder of the stick route."""
        return Path(folders.path_of(self.url))

    @property
    def database(self) -> str:
        """Give the upstream's connection string. Raises UsageError over another route: only its server reaches that."""
        if self.route is Route.DIRECT:
            return self.url
        raise UsageError(
            "this asks the upstream's database, which cannot be reached from here",
            where=f"upstream {self.label}",
            why=f"it is reached by {self.route.value}; its database only on the upstream's own server",
            hint="on that server, type the same with --here",
        )


class GenericConfig(Section):
    """A generic reference: one column says which model, another the row's id."""

    type: Column
    id: Column
    targets: Targets = Field(default_factory=no_mapping)
    """``app_label.model`` -> table, where the table is not called ``app_label_model``."""


class TableConfig(Section):
    """An entry of ``[[tables]]``: one table, or all tables that a pattern selects."""

    name: TableOrPattern
    mode: Mode = Mode.SHIP
    key: Key | None = None
    """None: found in the catalog."""
    exclude: tuple[Column, ...] = ()
    references: References = Field(default_factory=no_mapping)
    """Column -> table, for foreign keys that the database has no constraint for."""
    generic: tuple[GenericConfig, ...] = ()
    truncate: Truncate = Truncate.REJECT
    on_conflict: OnConflict = OnConflict.SOURCE
    on_delete: OnDelete = OnDelete.APPLY
    on_error: OnError = OnError.ROW
    on_skew: OnSkew = OnSkew.PARK
    newest_by: Column | None = None
    """The column that says when a row was last changed, for ``on_conflict = "newest"``."""
    skip: Flag = False
    excepted: tuple[TableOrPattern, ...] = Field(default=(), alias="except")
    """Names and patterns that this pattern does not select."""

    @property
    def is_pattern(self) -> bool:
        """Say whether the entry may select several tables."""
        return patterns.is_pattern(self.name)

    @cached_property
    def table(self) -> TableName | None:
        """Give the one table that the entry names; None for a pattern."""
        return None if self.is_pattern else TableName.parse(self.name)

    @property
    def reference_tables(self) -> Mapping[str, TableName]:
        """Give the references with their tables as names: column -> table."""
        return MappingProxyType({column: TableName.parse(table) for column, table in self.references.items()})

    def selects(self, name: TableName) -> bool:
        """Say whether this entry is about a table; what ``except`` names it is not about."""
        if self.table is not None:
            return self.table == name
        return patterns.selects(self.name, name) and not any(patterns.selects(out, name) for out in self.excepted)


class BatchConfig(Section):
    """``[batch]``: how changes are cut into batches."""

    max_changes: Count = 20_000
    """A batch is closed by the transaction that reaches this many; one transaction is never split."""


class ServiceConfig(Section):
    """``[service]``: the pace of the service, in seconds."""

    poll_interval: Seconds = 0.2
    """The pause between two looks at an idle change log."""
    retry_max: Seconds = 60.0
    """The longest pause between two attempts to reach the upstream."""
    lock_timeout: Seconds = 2.0
    """How long installing a trigger waits for its table before it steps back and tries again."""
    clock_limit: Seconds = 60.0
    """How far this node's clock may be off the upstream's before ``on_conflict = "newest"`` does not believe it."""
    silence: Seconds = 60.0
    """How long no answer is waited for before the server is asked whether it is at work on one; and how long a server
    keeps the service's transaction open without hearing of it."""


class RetentionConfig(Section):
    """``[retention]``: how long changes stay in the source, and how much room they may take."""

    keep: Duration = "7d"
    """How long a change stays after its receipt; a restored upstream asks for it again."""
    max_size: Size | None = None
    """Over this, acknowledged changes go though they are younger."""
    compact_over: Size | None = None
    """A backlog over this is reduced to the last state of each row before it is shipped."""

    @property
    def keep_seconds(self) -> float:
        """Give ``keep`` in seconds."""
        return in_seconds(self.keep)

    @property
    def max_bytes(self) -> int | None:
        """Give ``max_size`` in bytes."""
        return None if self.max_size is None else in_bytes(self.max_size)

    @property
    def compact_bytes(self) -> int | None:
        """Give ``compact_over`` in bytes."""
        return None if self.compact_over is None else in_bytes(self.compact_over)


class SticksConfig(Section):
    """``[sticks]``: what nodes bring on sticks, taken in by ``dbsync serve``."""

    folders: tuple[FilePath, ...] = ()
    """Where a stick appears: bundles in it are imported, and receipts written beside them."""

    def from_folder(self, folder: Path) -> SticksConfig:
        """Give the same with every path as it is meant."""
        return self.model_copy(update={"folders": tuple(str(folder / path) for path in self.folders)})


class RelaySection(Section):
    """``[relay]``: a middleman's laptop."""

    name: NodeName
    keys: FilePath = "keys"
    """The folder of its secret keys."""
    spool: FilePath = "spool"
    """The folder of the bundles in custody, and of what it knows."""


class RelayConfig(Section):
    """A whole relay.toml."""

    relay: RelaySection
    serve: ServeConfig = ServeConfig()
    check: CheckConfig = CheckConfig()
    metrics: MetricsConfig = MetricsConfig()
    alerts: AlertsConfig = AlertsConfig()
    upstream: UpstreamConfig | None = None

    def from_folder(self, folder: Path) -> RelayConfig:
        """Give the same with every path as it is meant: from the folder of the configuration."""
        relay = self.relay.model_copy(
            update={"keys": str(folder / self.relay.keys), "spool": str(folder / self.relay.spool)}
        )
        upstream = None if self.upstream is None else self.upstream.from_folder(folder)
        return self.model_copy(update={"relay": relay, "serve": self.serve.from_folder(folder), "upstream": upstream})


class RelayRoute(Section):
    """``[[relays]]``: a middleman who takes bundles while there is no route to the upstream."""

    url: WebAddress
    name: NodeName | None = None
    ca: FilePath | None = None
    trusted: Flag = False
    """He may read what he carries; else bundles are sealed for the upstream alone."""

    @property
    def label(self) -> str:
        """Name it for people: as configured, else after its host."""
        return self.name or web.short_name(self.url)

    def from_folder(self, folder: Path) -> RelayRoute:
        """Give the same with every path as it is meant."""
        return self if self.ca is None else self.model_copy(update={"ca": str(folder / self.ca)})


class Config(Section):
    """A whole dbsync.toml."""

    node: NodeConfig
    above: UpstreamConfig | None = Field(default=None, alias="upstream")
    relays: tuple[RelayRoute, ...] = ()
    tables: tuple[TableConfig, ...] = ()
    batch: BatchConfig = BatchConfig()
    service: ServiceConfig = ServiceConfig()
    retention: RetentionConfig = RetentionConfig()
    serve: ServeConfig = ServeConfig()
    sticks: SticksConfig = SticksConfig()
    broker: BrokerConfig = BrokerConfig()
    outbox: OutboxConfig | None = None
    check: CheckConfig = CheckConfig()
    metrics: MetricsConfig = MetricsConfig()
    traces: TracesConfig = TracesConfig()
    web: WebConfig = WebConfig()
    alerts: AlertsConfig = AlertsConfig()

    @property
    def upstream(self) -> UpstreamConfig:
        """Give the upstream. Raises ConfigError for the topmost node, which has none."""
        if self.above is None:
            raise ConfigError(
                "this node has no upstream",
                where="dbsync.toml",
                why="it has no section [upstream]: others bring their changes here, and it passes on none",
                hint='to ship to one, write [upstream] with url = "..."   (dbsync init proposes it);'
                " what others brought here: dbsync status, dbsync quarantine list --here",
            )
        return self.above

    def from_folder(self, folder: Path) -> Config:
        """Give the same with every path as it is meant: from the folder of the configuration."""
        node = self.node.model_copy(update={"keys": str(folder / self.node.keys)})
        return self.model_copy(
            update={
                "node": node,
                "above": None if self.above is None else self.above.from_folder(folder),
                "relays": tuple(relay.from_folder(folder) for relay in self.relays),
                "serve": self.serve.from_folder(folder),
                "sticks": self.sticks.from_folder(folder),
                "broker": self.broker.from_folder(folder),
                "web": self.web.from_folder(folder),
                "outbox": None if self.outbox is None else self.outbox.from_folder(folder),
            }
        )

    def trusts(self, relay: str) -> bool:
        """Say whether a relay may read what it carries."""
        by_outbox = self.outbox is not None and relay in self.outbox.trusted
        return by_outbox or any(one.trusted for one in self.relays if one.label == relay)

    def entry_for(self, name: TableName) -> TableConfig | None:
        """Find the entry that is about a table, also one that says ``skip``.

        An entry that names the table wins over patterns; of several patterns the last in the file wins. Entries
        are never merged.
        """
        named = self._by_name.get(name)
        return named or next((entry for entry in self._patterns_last_first if entry.selects(name)), None)

    def table_for(self, name: TableName) -> TableConfig | None:
        """Find the configuration of a table; None when no entry selects it or the one that does says ``skip``."""
        entry = self.entry_for(name)
        return None if entry is None or entry.skip else entry

    @property
    def policies(self) -> Policies:
        """Give the rules for changes that do not fit, table by table."""
        return Policies(find=self._policy, clock_limit=self.service.clock_limit)

    def _policy(self, name: TableName) -> Policy | None:
        entry = self.table_for(name)
        if entry is None:
            return None
        return Policy(
            on_conflict=entry.on_conflict,
            on_delete=entry.on_delete,
            on_error=entry.on_error,
            on_skew=entry.on_skew,
            newest_by=entry.newest_by,
        )

    def literal_tables(self) -> tuple[TableName, ...]:
        """Give the tables that the file names one by one and does not skip, in the order of the file."""
        return tuple(name for name, entry in self._by_name.items() if not entry.skip)

    @cached_property
    def _by_name(self) -> Mapping[TableName, TableConfig]:
        return {entry.table: entry for entry in self.tables if entry.table is not None}

    @cached_property
    def _patterns_last_first(self) -> tuple[TableConfig, ...]:
        return tuple(entry for entry in reversed(self.tables) if entry.is_pattern)
