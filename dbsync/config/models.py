"""What dbsync.toml holds, as frozen values.

Models check one value at a time; entries that contradict each other are the business of
:mod:`dbsync.config.consistency`. No message of a validator repeats a value: it may hold a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Strict, Tag
from pydantic_core import PydanticCustomError

from dbsync.config import dsn, folders, patterns, web
from dbsync.errors import ConfigError, UsageError
from dbsync.model.names import TableName
from dbsync.model.policy import OnConflict, OnDelete, OnError, OnSkew, Policies, Policy
from dbsync.model.registration import Mode, Truncate

ROW_ID: Literal["row_id"] = "row_id"
"""The key of tables without a natural key: a UUID that dbsync keeps for each row."""

_NODE_NAME = re.compile(r"[A-Za-z0-9._-]{1,63}")
_MODEL_NAME = re.compile(r"\w+\.\w+")
_MEASURE = re.compile(r"(\d{1,9}(?:\.\d{1,3})?) ?([A-Za-z]+)")
_ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})")
_AGE = re.compile(r"age1[02-9ac-hj-np-z]{58}")
_LARGEST_PORT = 65_535
_TIMES = {"s": 1, "min": 60, "h": 3_600, "d": 86_400}
_SIZES = {"kB": 1_000, "MB": 1_000**2, "GB": 1_000**3, "TB": 1_000**4}


class Route(StrEnum):
    """How an upstream is reached, as its address says."""

    DIRECT = "direct"
    HTTPS = "https"
    FILE = "file"
    NATS = "nats"


_SCHEMES = {"postgresql": Route.DIRECT, "postgres": Route.DIRECT, "": Route.DIRECT, "http": Route.HTTPS} | {
    route.value: route for route in (Route.HTTPS, Route.FILE, Route.NATS)
}


def route_of(url: str) -> Route | None:
    """Tell the route from an address; None for one that dbsync does not know."""
    return _SCHEMES.get(dsn.scheme(url))


def _node_name(text: str) -> str:
    if not _NODE_NAME.fullmatch(text):
        raise PydanticCustomError("node_name", "a name has 1 to 63 letters, digits, '.', '_' or '-'")
    return text


def _connection_string(text: str) -> str:
    try:
        dsn.parameters(text)
    except ValueError:
        raise PydanticCustomError(
            "connection_string", "not a connection string: write service=..., key=value pairs or postgresql://..."
        ) from None
    return text


def _upstream_url(text: str) -> str:
    route = route_of(text)
    if route is None:
        raise PydanticCustomError(
            "route",
            "not an address dbsync knows: write https://..., file:///..., postgresql://... or host=... dbname=...",
        )
    if route is Route.DIRECT:
        return _connection_string(text)
    if route is Route.HTTPS:
        return _web_address(text)
    if route is Route.FILE:
        return _folder_address(text)
    raise PydanticCustomError(
        "later_route",
        "the {route} route comes in a later version; this one ships to https://..., file:///..., postgresql://... or host=... dbname=...",
        {"route": route.value},
    )


def _web_address(text: str) -> str:
    problem = web.problem(text)
    if problem is not None:
        raise PydanticCustomError("web_address", "{problem}", {"problem": problem})
    return text


def _folder_address(text: str) -> str:
    problem = folders.problem(text)
    if problem is not None:
        raise PydanticCustomError("folder_address", "{problem}", {"problem": problem})
    return text


def _column(text: str) -> str:
    if not text or "\0" in text:
        raise PydanticCustomError("column_name", "not a column name")
    return text


def _table(text: str) -> str:
    try:
        patterns.check_name(text)
    except ValueError:
        raise PydanticCustomError("table_name", "not a table name: write table or schema.table") from None
    return text


def _one_table(text: str) -> str:
    if patterns.is_pattern(text):
        raise PydanticCustomError("one_table", "must name one table; a pattern does not do here")
    return _table(text)


def _table_or_pattern(text: str) -> str:
    if not patterns.is_pattern(text):
        return _table(text)
    try:
        patterns.check_pattern(text)
    except ValueError:
        raise PydanticCustomError("table_pattern", "not a pattern for table names such as clinic_* or lab.*") from None
    return text


def _model_name(text: str) -> str:
    if not _MODEL_NAME.fullmatch(text):
        raise PydanticCustomError("model_name", "a target is named app_label.model, as in the content type table")
    return text


def _measured(text: str, units: Mapping[str, int]) -> float | None:
    found = _MEASURE.fullmatch(text)
    unit = units.get(found[2]) if found else None
    return None if found is None or unit is None else float(found[1]) * unit


def _duration(text: str) -> str:
    if text != "0" and _measured(text, _TIMES) is None:
        raise PydanticCustomError("duration", 'not a duration: write "7d", "12h", "30min" or "0"')
    return text


def _size(text: str) -> str:
    if not _measured(text, _SIZES):
        raise PydanticCustomError("size", 'not a size: write "500MB" or "2GB"')
    return text


def _file_path(text: str) -> str:
    if not text or "\0" in text:
        raise PydanticCustomError("file_path", "not a path of a file or folder")
    return text


def _age_recipient(text: str) -> str:
    if not _AGE.fullmatch(text):
        raise PydanticCustomError("age_recipient", "not a public key of age: it begins with age1")
    return text


def _listen(text: str) -> str:
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found["port"]) > _LARGEST_PORT:
        raise PydanticCustomError("listen", 'not an address to listen at: write "0.0.0.0:8443" or "[::]:8443"')
    return text


def _key_form(value: object) -> str | None:
    if isinstance(value, list | tuple):
        return "columns"
    return "word" if value == ROW_ID else None


def _not_empty(columns: tuple[str, ...]) -> tuple[str, ...]:
    if not columns:
        raise PydanticCustomError("empty_key", "'key' must not be empty")
    return columns


def _frozen(mapping: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(mapping))


def _no_mapping() -> Mapping[str, str]:
    return MappingProxyType({})


NodeName = Annotated[str, AfterValidator(_node_name)]
Column = Annotated[str, AfterValidator(_column)]
ModelName = Annotated[str, AfterValidator(_model_name)]
OneTable = Annotated[str, AfterValidator(_one_table)]
TableOrPattern = Annotated[str, AfterValidator(_table_or_pattern)]
References = Annotated[Mapping[Column, OneTable], AfterValidator(_frozen)]
Targets = Annotated[Mapping[ModelName, OneTable], AfterValidator(_frozen)]
Flag = Annotated[bool, Strict()]
Count = Annotated[int, Strict(), Field(ge=1, le=10_000_000)]
Seconds = Annotated[float, Strict(), Field(gt=0, le=86_400, allow_inf_nan=False)]
Duration = Annotated[str, AfterValidator(_duration)]
Size = Annotated[str, AfterValidator(_size)]
FilePath = Annotated[str, AfterValidator(_file_path)]
"""A file or folder; where it is relative, from the folder of the configuration."""
AgeRecipient = Annotated[str, AfterValidator(_age_recipient)]
Listen = Annotated[str, AfterValidator(_listen)]
Key = Annotated[
    Annotated[tuple[Column, ...], AfterValidator(_not_empty), Tag("columns")]
    | Annotated[Literal["row_id"], Tag("word")],
    Discriminator(
        _key_form, custom_error_type="key_form", custom_error_message="'key' must be a list of columns, or \"row_id\""
    ),
]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class NodeConfig(_Section):
    """``[node]``: this installation and the database it reads."""

    name: NodeName
    source: Annotated[str, AfterValidator(_connection_string)] = Field(repr=False)
    """Any libpq connection string."""
    keys: FilePath = "keys"
    """The folder of this node's secret keys."""


class UpstreamConfig(_Section):
    """``[upstream]``: where the changes go."""

    url: Annotated[str, AfterValidator(_upstream_url)] = Field(repr=False)
    name: NodeName | None = None
    ca: FilePath | None = None
    """A file of certificate authorities (PEM) to believe instead of the system's, for the https route."""
    recovery: tuple[AgeRecipient, ...] = ()
    """Who else can open bundles: keys in a safe, for a destination that has lost its own."""

    @property
    def label(self) -> str:
        """Name the upstream for people: as configured, else after its database, service or host; a stick tells no name."""
        if self.name is not None:
            return self.name
        return web.short_name(self.url) if self.route is Route.HTTPS else dsn.short_name(self.url)

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
            hint="there, with a dbsync.toml whose upstream.url is a connection string, type the same",
        )


class GenericConfig(_Section):
    """A generic reference: one column says which model, another the row's id."""

    type: Column
    id: Column
    targets: Targets = Field(default_factory=_no_mapping)
    """``app_label.model`` -> table, where the table is not called ``app_label_model``."""


class TableConfig(_Section):
    """An entry of ``[[tables]]``: one table, or all tables that a pattern selects."""

    name: TableOrPattern
    mode: Mode = Mode.SHIP
    key: Key | None = None
    """None: found in the catalog."""
    exclude: tuple[Column, ...] = ()
    references: References = Field(default_factory=_no_mapping)
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


class BatchConfig(_Section):
    """``[batch]``: how changes are cut into batches."""

    max_changes: Count = 20_000
    """A batch is closed by the transaction that reaches this many; one transaction is never split."""


class ServiceConfig(_Section):
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


class RetentionConfig(_Section):
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
        return _measured(self.keep, _TIMES) or 0.0

    @property
    def max_bytes(self) -> int | None:
        """Give ``max_size`` in bytes."""
        return None if self.max_size is None else int(_measured(self.max_size, _SIZES) or 0)

    @property
    def compact_bytes(self) -> int | None:
        """Give ``compact_over`` in bytes."""
        return None if self.compact_over is None else int(_measured(self.compact_over, _SIZES) or 0)


class ServeConfig(_Section):
    """``[serve]``: how nodes reach this one over HTTPS."""

    listen: Listen = "127.0.0.1:8443"
    """Host and port."""
    certificate: FilePath | None = None
    """The certificate chain, in PEM."""
    key: FilePath | None = None
    """The certificate's secret key."""
    behind_proxy: Flag = False
    """TLS ends at a proxy in front of this server: it may speak plain HTTP, though not to this computer alone."""
    appliers: Annotated[int, Strict(), Field(ge=1, le=64)] = 4
    """Batches that are applied at the same time; each takes a connection."""
    max_batch: Size = "4GB"
    """The largest batch that is taken, in bytes as they come."""
    max_payload: Size = "64GB"
    """The largest batch that is taken, in bytes as they come out of the compression."""

    @property
    def host(self) -> str:
        """Give the host of ``listen``, without the brackets of IPv6."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Give the port of ``listen``."""
        return int(self.listen.rpartition(":")[2])

    def from_folder(self, folder: Path) -> ServeConfig:
        """Give the same with every path as it is meant."""
        tls = {name: str(folder / path) for name in ("certificate", "key") if (path := getattr(self, name))}
        return self.model_copy(update=tls)

    @property
    def batch_bytes(self) -> int:
        """Give ``max_batch`` in bytes."""
        return int(_measured(self.max_batch, _SIZES) or 0)

    @property
    def payload_bytes(self) -> int:
        """Give ``max_payload`` in bytes."""
        return int(_measured(self.max_payload, _SIZES) or 0)


class SticksConfig(_Section):
    """``[sticks]``: what nodes bring on sticks, taken in by ``dbsync serve``."""

    folders: tuple[FilePath, ...] = ()
    """Where a stick appears: bundles in it are imported, and receipts written beside them."""

    def from_folder(self, folder: Path) -> SticksConfig:
        """Give the same with every path as it is meant."""
        return self.model_copy(update={"folders": tuple(str(folder / path) for path in self.folders)})


class RelaySection(_Section):
    """``[relay]``: a middleman's laptop."""

    name: NodeName
    keys: FilePath = "keys"
    """The folder of its secret keys."""
    spool: FilePath = "spool"
    """The folder of the bundles in custody, and of what it knows."""


class RelayConfig(_Section):
    """A whole relay.toml."""

    relay: RelaySection
    serve: ServeConfig = ServeConfig()
    upstream: UpstreamConfig | None = None

    def from_folder(self, folder: Path) -> RelayConfig:
        """Give the same with every path as it is meant: from the folder of the configuration."""
        relay = self.relay.model_copy(
            update={"keys": str(folder / self.relay.keys), "spool": str(folder / self.relay.spool)}
        )
        upstream = None if self.upstream is None else self.upstream.from_folder(folder)
        return self.model_copy(update={"relay": relay, "serve": self.serve.from_folder(folder), "upstream": upstream})


class RelayRoute(_Section):
    """``[[relays]]``: a middleman who takes bundles while there is no route to the upstream."""

    url: Annotated[str, AfterValidator(_web_address)]
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


class Config(_Section):
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

    @property
    def upstream(self) -> UpstreamConfig:
        """Give the upstream. Raises ConfigError for the topmost node, which has none."""
        if self.above is None:
            raise ConfigError(
                "this node has no upstream",
                where="dbsync.toml",
                why="it has no section [upstream]: others bring their changes here, and it passes on none",
                hint='to ship to one, write [upstream] with url = "..."   (dbsync init proposes it)',
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
            }
        )

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
