"""Read dbsync.toml, and report every problem at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from dbsync.config import wording
from dbsync.config.consistency import contradictions, upstream_fits
from dbsync.config.discover import INIT_HINT, closed
from dbsync.config.expand import SecretReader, expand, no_files
from dbsync.config.locate import locate
from dbsync.config.models import Config, NodeConfig, RelayConfig, TableConfig, UpstreamConfig
from dbsync.config.problems import Fault, InvalidConfig, Problem, place
from dbsync.config.redact import secret_spans
from dbsync.errors import ConfigError

_LONGEST_SECRET = 65_536
_SYNTAX_PLACE = re.compile(r"\s*\(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)\Z")
_UNQUOTED = re.compile(r"=\s*(?P<value>[A-Za-z_.:/*-][A-Za-z0-9_.:/*?-]*)\s*(?:#.*)?\Z")
_Part = TypeVar("_Part", bound=BaseModel)
_Whole = TypeVar("_Whole", Config, RelayConfig)
_Document = Mapping[str, object]


def load(path: Path, environ: Mapping[str, str]) -> Config:
    """Read a configuration file.

    Raises ConfigError when the file cannot be read, :class:`InvalidConfig` with every problem when it can and is
    wrong. A relative ``${file:PATH}`` starts from the file's own directory.
    """
    return as_read(read_text(path), path, environ)


def as_read(text: str, path: Path, environ: Mapping[str, str]) -> Config:
    """Give the configuration that a file would be, if this was its text. Raises as :func:`load` does."""
    found = parse(text, path=path, environ=environ, read_secret=_reader(path.parent))
    return found.from_folder(path.absolute().parent)


def load_relay(path: Path, environ: Mapping[str, str] = MappingProxyType({})) -> RelayConfig:
    """Read the configuration of a relay, in the same way."""
    found = _made(read_text(path), path, _Filling(environ=environ, read_secret=_reader(path.parent)), _validate_relay)
    return found.from_folder(path.absolute().parent)


def read_text(path: Path) -> str:
    """Read the text of a configuration file; raise ConfigError when it cannot be read."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        hint = INIT_HINT if isinstance(error, FileNotFoundError) else closed(path)
        raise ConfigError("cannot read the configuration", where=str(path), why=reason, hint=hint) from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise InvalidConfig([Problem(line=line, column=column, length=1, message="not UTF-8 text")], path) from None


def parse(
    text: str,
    *,
    path: Path | str,
    environ: Mapping[str, str],
    read_secret: SecretReader = no_files,
) -> Config:
    """Make a configuration of a file's text, or raise :class:`InvalidConfig` with every problem in it.

    ``path`` only names the file in messages. ``read_secret`` answers ``${file:PATH}``; by default it refuses.
    """
    return _made(text, path, _Filling(environ=environ, read_secret=read_secret), _validate)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Filling:
    """What references in a file are filled in from."""

    environ: Mapping[str, str]
    read_secret: SecretReader


def _made(
    text: str,
    path: Path | str,
    filling: _Filling,
    validate: Callable[[_Document, _Document], tuple[_Whole | None, tuple[Fault, ...]]],
) -> _Whole:
    """Make a configuration of either kind; ``validate`` gets the document filled in, and as it is written."""
    text = text.replace("\r\n", "\n")
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidConfig([_syntax(error, text)], path) from None
    expanded, faults = expand(document, filling.environ, filling.read_secret)
    config, found = validate(expanded, document)
    unfilled = {fault.loc for fault in faults}
    faults += tuple(fault for fault in found if fault.loc not in unfilled)
    if config is None or faults:
        raise InvalidConfig(place(faults, text, locate(text)), path)
    return config


def _validate(expanded: _Document, document: _Document) -> tuple[Config | None, tuple[Fault, ...]]:
    config, faults = _modelled(Config, expanded, document)
    return config, (*faults, *_disagreements(expanded))


def _validate_relay(expanded: _Document, document: _Document) -> tuple[RelayConfig | None, tuple[Fault, ...]]:
    return _modelled(RelayConfig, expanded, document)


def _modelled(model: type[_Whole], expanded: _Document, document: _Document) -> tuple[_Whole | None, tuple[Fault, ...]]:
    try:
        return model.model_validate(expanded), ()
    except ValidationError as error:
        return None, wording.faults(error.errors(include_url=False, include_input=False), document)


def _disagreements(document: Mapping[str, object]) -> Iterator[Fault]:
    """Compare all parts that are well formed in themselves, whatever the rest is like."""
    entries = document.get("tables")
    read = enumerate(_salvaged(entry) for entry in (entries if isinstance(entries, list) else ()))
    yield from contradictions({index: entry for index, entry in read if entry is not None})
    node = _well_formed(NodeConfig, document.get("node"))
    upstream = _well_formed(UpstreamConfig, document.get("upstream"))
    if node is not None and upstream is not None:
        yield from upstream_fits(node, upstream)


def _well_formed(model: type[_Part], value: object) -> _Part | None:
    try:
        return model.model_validate(value)
    except ValidationError:
        return None


def _salvaged(entry: object) -> TableConfig | None:
    """Read what is well formed in an entry, so that one slip does not hide the others."""
    try:
        return TableConfig.model_validate(entry)
    except ValidationError as error:
        bad = {found["loc"][0] for found in error.errors(include_url=False) if found["loc"]}
    kept = {key: value for key, value in entry.items() if key not in bad} if isinstance(entry, dict) else entry
    return _well_formed(TableConfig, kept)


def _syntax(error: Exception, text: str) -> Problem:
    """Put what ``tomllib`` says into a problem; it stops at the first."""
    match = _SYNTAX_PLACE.search(str(error))
    if match is None:
        why = "nested too deeply" if isinstance(error, RecursionError) else "a number is too long"
        return Problem(line=1, column=1, length=1, message=f"cannot be read: {why}")
    lines = text.split("\n")
    line, column = (int(match["line"]), int(match["column"])) if match["line"] else (len(lines), len(lines[-1]) + 1)
    source = lines[line - 1]
    why = str(error)[: match.start()]
    if why == "Cannot overwrite a value":
        why, column = "this key is set twice", len(source) - len(source.lstrip()) + 1
    message = f"not valid TOML: {why[:1].lower()}{why[1:]}"
    return Problem(
        line=line, column=column, length=1, message=message, source_line=source, hint=_missing_quotes(source, column)
    )


def _missing_quotes(source: str, column: int) -> str:
    bare = _UNQUOTED.search(source)
    value = bare["value"] if bare and bare.start("value") + 1 == column else ""
    return f'text goes in quotes: "{value}"' if value and not secret_spans(source) else ""


def _reader(folder: Path) -> SecretReader:
    def read(path: str) -> str:
        with (folder / path).open("rb") as file:
            content = file.read(_LONGEST_SECRET + 1)
        if len(content) > _LONGEST_SECRET:
            raise ValueError("too large for a secret")
        return content.decode("utf-8")

    return read
