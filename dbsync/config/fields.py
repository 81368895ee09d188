"""The kinds of values that dbsync.toml holds, each checked by itself.

No message of a validator repeats a value: it may hold a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Strict, Tag
from pydantic_core import PydanticCustomError

from dbsync.config import brokers, dsn, folders, patterns, web

ROW_ID: Literal["row_id"] = "row_id"
"""The key of tables without a natural key: a UUID that dbsync keeps for each row."""

_NODE_NAME = re.compile(r"[A-Za-z0-9._-]{1,63}")
_MODEL_NAME = re.compile(r"\w+\.\w+")
_MEASURE = re.compile(r"(\d{1,9}(?:\.\d{1,3})?) ?([A-Za-z]+)")
_ADDRESS = re.compile(r"(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})")
_PAGES_PATH = re.compile(r"/[A-Za-z0-9_-]{1,40}")
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


_SCHEMES = {
    **dict.fromkeys(("postgresql", "postgres", ""), Route.DIRECT),
    **dict.fromkeys(("https", "http"), Route.HTTPS),
    "file": Route.FILE,
    **dict.fromkeys(brokers.SCHEMES, Route.NATS),
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
    if dsn.has_spaces(text):
        raise PydanticCustomError("connection_space", "an address has no spaces: each is written %20")
    unknown = dsn.unknown_option(text)
    if unknown is not None:
        raise PydanticCustomError("connection_option", "an unknown connection option", {"option": unknown})
    number = dsn.not_a_number(text)
    if number is not None:
        message = "connection option '{option}' must be a whole number"
        raise PydanticCustomError("connection_number", message, {"option": number})
    return text


def _upstream_url(text: str) -> str:
    route = route_of(text)
    if route is None:
        raise PydanticCustomError(
            "route",
            "not an address dbsync knows: write https://..., tls://..., file:///..., postgresql://... or host=... dbname=...",
        )
    if route is Route.DIRECT:
        return _connection_string(text)
    if route is Route.HTTPS:
        return _web_address(text)
    if route is Route.FILE:
        return _folder_address(text)
    return _broker_address(text)


def _broker_address(text: str) -> str:
    problem = brokers.problem(text)
    if problem is not None:
        raise PydanticCustomError("broker_address", "{problem}", {"problem": problem})
    return text


def _web_address(text: str) -> str:
    problem = web.problem(text)
    if problem is not None:
        raise PydanticCustomError("web_address", "{problem}", {"problem": problem})
    return text


def _hook_address(text: str) -> str:
    if not re.match(r"https?://[^/\s]", text) or re.search(r"\s", text):
        raise PydanticCustomError("hook_address", "not an address: write https://...")
    return text


def _word(text: str) -> str:
    if not text or "\0" in text:
        raise PydanticCustomError("word", "not a word of a command")
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


def in_seconds(duration: str) -> float:
    """Give a duration in seconds.

    >>> in_seconds("12h"), in_seconds("0")
    (43200.0, 0.0)
    """
    return _measured(duration, _TIMES) or 0.0


def in_bytes(size: str) -> int:
    """Give a size in bytes.

    >>> in_bytes("2GB")
    2000000000
    """
    return int(_measured(size, _SIZES) or 0)


def _duration(text: str) -> str:
    if text != "0" and _measured(text, _TIMES) is None:
        raise PydanticCustomError("duration", 'not a duration: write "7d", "12h", "30min" or "0"')
    return text


def _span(text: str) -> str:
    if not _measured(text, _TIMES):
        raise PydanticCustomError("span", 'not a length of time: write "30min" or "12h"')
    return text


def _pages_path(text: str) -> str:
    if not _PAGES_PATH.fullmatch(text) or text == "/v1":
        raise PydanticCustomError("pages_path", 'not a path for the pages: write "/dashboard"; /v1 is for nodes')
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


def host_and_port(listen: str) -> tuple[str, int]:
    """Give an address to listen at in its two parts, the host without the brackets of IPv6.

    >>> host_and_port("[::]:8443")
    ('::', 8443)
    """
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


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


def no_mapping() -> Mapping[str, str]:
    """Give an empty one, for a default."""
    return MappingProxyType({})


ConnectionString = Annotated[str, AfterValidator(_connection_string)]
UpstreamUrl = Annotated[str, AfterValidator(_upstream_url)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
BrokerAddress = Annotated[str, AfterValidator(_broker_address)]
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
Span = Annotated[str, AfterValidator(_span)]
Size = Annotated[str, AfterValidator(_size)]
FilePath = Annotated[str, AfterValidator(_file_path)]
"""A file or folder; where it is relative, from the folder of the configuration."""
AgeRecipient = Annotated[str, AfterValidator(_age_recipient)]
HookAddress = Annotated[str, AfterValidator(_hook_address)]
Word = Annotated[str, AfterValidator(_word)]
Listen = Annotated[str, AfterValidator(_listen)]
PagesPath = Annotated[str, AfterValidator(_pages_path)]
Key = Annotated[
    Annotated[tuple[Column, ...], AfterValidator(_not_empty), Tag("columns")]
    | Annotated[Literal["row_id"], Tag("word")],
    Discriminator(
        _key_form, custom_error_type="key_form", custom_error_message="'key' must be a list of columns, or \"row_id\""
    ),
]
