"""Put what pydantic finds into the words of dbsync.toml.

A message may repeat what stands in the file, never what a reference was filled in with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Literal

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from dbsync.config.dsn import OPTIONS
from dbsync.config.limits import CheckConfig
from dbsync.config.listening import ServeConfig, WebConfig
from dbsync.config.locate import Loc
from dbsync.config.models import (
    BatchConfig,
    Config,
    GenericConfig,
    NodeConfig,
    RelayRoute,
    RelaySection,
    RetentionConfig,
    ServiceConfig,
    SticksConfig,
    TableConfig,
    UpstreamConfig,
)
from dbsync.config.problems import Fault
from dbsync.config.watching import AlertsConfig, MetricsConfig, TracesConfig

_SECTIONS: Mapping[tuple[str, ...], type[BaseModel]] = {
    (): Config,
    ("node",): NodeConfig,
    ("upstream",): UpstreamConfig,
    ("tables",): TableConfig,
    ("tables", "generic"): GenericConfig,
    ("batch",): BatchConfig,
    ("service",): ServiceConfig,
    ("retention",): RetentionConfig,
    ("serve",): ServeConfig,
    ("web",): WebConfig,
    ("sticks",): SticksConfig,
    ("check",): CheckConfig,
    ("metrics",): MetricsConfig,
    ("traces",): TracesConfig,
    ("alerts",): AlertsConfig,
    ("relays",): RelayRoute,
    ("relay",): RelaySection,
}
_MUST = {
    "string_type": "must be text in quotes",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": 'must be a table like { column = "table" }',
    "mapping_type": 'must be a table like { column = "table" }',
}
_BOUNDS = {"greater than or equal to": "at least", "less than or equal to": "at most", "greater than": "more than"}
_BOUND = re.compile("|".join(_BOUNDS))
_KINDS = (
    (bool, "true or false"),
    (str, "text"),
    (int, "a number"),
    (float, "a decimal number"),
    (list, "a list"),
    (dict, "a section"),
)
_UNQUOTED = {"connection_option", "connection_space", "connection_number"}
"""Of what is misspelt or has a space nobody can say which part is a password."""
_SHORT = re.compile(r"[A-Za-z0-9_]{1,63}")


def faults(errors: Iterable[ErrorDetails], document: Mapping[str, object]) -> tuple[Fault, ...]:
    """Say what each error means; ``document`` is the file as written, with its references not filled in.

    A missing key is not reported when the section has a misspelling of it: that is reported already.
    """
    found = list(errors)
    unknown = {error["loc"]: _meant(error["loc"]) for error in found if error["type"] == "extra_forbidden"}
    excused = {(*loc[:-1], meant) for loc, meant in unknown.items() if meant}
    return tuple(_fault(error, document) for error in found if error["loc"] not in excused)


def _fault(error: ErrorDetails, document: Mapping[str, object]) -> Fault:
    if error["type"] == "extra_forbidden":
        return _unknown(error["loc"])
    if error["type"] == "missing":
        return _missing(error["loc"])
    loc, value, is_key = _resolve(error["loc"], document)
    word = _WORDS.get(error["type"], _other)
    message, hint = word(error, loc, value)
    at: Literal["key", "value"] = "key" if is_key else "value"
    return Fault(loc=loc, message=message, hint=hint, at=at, quoted=error["type"] not in _UNQUOTED)


def _unknown(loc: Loc) -> Fault:
    key = str(loc[-1])
    meant = _meant(loc)
    if meant:
        hint = f"did you mean '{meant}'?"
    else:
        homes = [_title(section) for section, model in _SECTIONS.items() if section and key in _keys(model)]
        hint = f"'{key}' belongs in {homes[0]}" if homes else f"known here: {', '.join(_keys(_model(loc)))}"
    return Fault(loc=loc, message=f"unknown key {_shown(key)}", hint=hint, at="key")


def _missing(loc: Loc) -> Fault:
    if len(loc) == 1:
        model = _SECTIONS[str(loc[0]),]
        needed = [key for key, field in _fields(model).items() if field]
        return Fault(loc=(), message=f"[{loc[0]}] is missing; it needs {_listed(needed)}", at="section")
    return Fault(loc=loc[:-1], message=f"{_title(_section(loc))} lacks '{loc[-1]}'", at="section")


def _section_type(_error: ErrorDetails, loc: Loc, value: object) -> tuple[str, str]:
    if len(loc) == 1:
        return f"'{loc[0]}' must be a section, not {_kind(value)}", f"write [{loc[0]}] on a line of its own"
    return f"{_named(loc)} must hold tables in braces, not {_kind(value)}", ""


def _list_type(_error: ErrorDetails, loc: Loc, value: object) -> tuple[str, str]:
    if loc == ("tables",):
        return f"'tables' must be a list, not {_kind(value)}", "write [[tables]], with two brackets, above each entry"
    return f"{_named(loc)} must be a list, not {_kind(value)}", _as_list(value)


def _key_form(_error: ErrorDetails, _loc: Loc, value: object) -> tuple[str, str]:
    row_id = isinstance(value, str) and get_close_matches(value, ["row_id"], 1, 0.6)
    hint = 'did you mean "row_id"?' if row_id else _as_list(value)
    return "'key' must be a list of columns, or \"row_id\"", hint


def _enum(error: ErrorDetails, loc: Loc, value: object) -> tuple[str, str]:
    allowed = re.findall(r"'([^']*)'", str(error.get("ctx", {}).get("expected", "")))
    close = get_close_matches(value, allowed, 1, 0.5) if isinstance(value, str) else []
    choices = " or ".join(", ".join(f'"{word}"' for word in allowed).rsplit(", ", 1))
    return f"{_named(loc)} must be {choices}", f'did you mean "{close[0]}"?' if close else ""


def _connection_option(error: ErrorDetails, _loc: Loc, value: object) -> tuple[str, str]:
    """Name a misspelt option if it stands in the file and is like one: anything else may be a piece of a password."""
    option = str(error.get("ctx", {}).get("option", ""))
    close = get_close_matches(option, sorted(OPTIONS), 1, 0.7)
    if close and isinstance(value, str) and option in value:
        return f"unknown connection option {_shown(option)}", f"did you mean '{close[0]}'?"
    return error["msg"], "a value with spaces stands in single quotes: dbname='my db'"


def _plain_type(error: ErrorDetails, loc: Loc, value: object) -> tuple[str, str]:
    must = _MUST[error["type"]]
    if loc and isinstance(loc[-1], int):
        must = must.replace("must be", "must hold")
    kind = "" if error["type"] == "finite_number" else f", not {_kind(value)}"
    return f"{_named(loc)} {must}{kind}", ""


def _other(error: ErrorDetails, loc: Loc, _value: object) -> tuple[str, str]:
    message = error["msg"]
    if message.startswith("Input should be "):
        must = message.removeprefix("Input should be ")
        return f"{_named(loc)} must be {_BOUND.sub(lambda bound: _BOUNDS[bound[0]], must)}", ""
    return message[:1].lower() + message[1:], ""


_WORDS: Mapping[str, Callable[[ErrorDetails, Loc, object], tuple[str, str]]] = {
    "model_type": _section_type,
    "tuple_type": _list_type,
    "key_form": _key_form,
    "connection_option": _connection_option,
    "enum": _enum,
    **{kind: _plain_type for kind in _MUST if kind != "tuple_type"},
}


def _resolve(loc: Loc, document: object) -> tuple[Loc, object, bool]:
    """Follow pydantic's path, without the steps that are not in the document; say if it ends at a key."""
    steps: list[str | int] = []
    for step in loc:
        found = _inside(document, step)
        if found is not None:
            document = found
            steps.append(step)
    return tuple(steps), document, bool(loc) and loc[-1] == "[key]"


def _inside(container: object, step: str | int) -> object | None:
    """Give what is at one step of a path; None when nothing is (TOML has no null)."""
    if isinstance(container, list):
        return container[step] if isinstance(step, int) and step < len(container) else None
    return container.get(step) if isinstance(container, dict) else None


def _section(loc: Loc) -> tuple[str, ...]:
    return tuple(step for step in loc[:-1] if isinstance(step, str))


def _model(loc: Loc) -> type[BaseModel]:
    return _SECTIONS[_section(loc)]


def _fields(model: type[BaseModel]) -> dict[str, bool]:
    """Give the keys of a section, and whether each is required."""
    return {field.alias or name: field.is_required() for name, field in model.model_fields.items()}


def _keys(model: type[BaseModel]) -> tuple[str, ...]:
    return tuple(_fields(model))


def _meant(loc: Loc) -> str:
    """Guess the known key that a misspelled one stands for; empty when none is near."""
    return next(iter(get_close_matches(str(loc[-1]), _keys(_model(loc)), 1, 0.6)), "")


def _title(section: tuple[str, ...]) -> str:
    if section == ("tables",):
        return "[[tables]]"
    return f"[{section[0]}]" if len(section) == 1 else f"'{section[-1]}'"


def _named(loc: Loc) -> str:
    return next((_shown(step) for step in reversed(loc) if isinstance(step, str)), "this")


def _shown(key: str) -> str:
    return f"'{key}'" if key.isprintable() else repr(key)


def _listed(keys: list[str]) -> str:
    return " and ".join(f"'{key}'" for key in keys)


def _kind(value: object) -> str:
    return next((word for kind, word in _KINDS if isinstance(value, kind)), "a date or time")


def _as_list(value: object) -> str:
    return f'did you mean ["{value}"]?' if isinstance(value, str) and _SHORT.fullmatch(value) else ""
