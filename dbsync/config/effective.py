"""What a configuration comes to: every setting that holds, and where it was said. Pure.

Secrets do not come out of here. A text that is filled in from elsewhere (``${NAME}``) is shown as it stands in the file, passwords in
connection strings are masked, and of other addresses that are secrets only the host is shown.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from pydantic import BaseModel

from dbsync.config.expand import has_references
from dbsync.config.locate import Loc, Positions, locate
from dbsync.config.models import Config
from dbsync.config.redact import MASK, redact

_BEHIND_HOST = re.compile(r"^(https?://[^/?#]+)[/?#].+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A setting that holds."""

    loc: Loc
    value: object
    """As TOML has it: text, a number, a boolean, a list, or a mapping."""
    line: int | None
    """Where it stands in the file; None for a default."""

    @property
    def name(self) -> str:
        """Name it: ``tables[0].key``."""
        return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.loc).removeprefix(".")


def effective(config: Config, text: str, *, defaults: bool = False) -> Iterator[Setting]:
    """Give every setting of a configuration that was read from a text.

    Entries of arrays (tables, relays) have what is written in them; with ``defaults`` also what is not.
    """
    text = text.replace("\r\n", "\n")
    yield from _Reader(document=tomllib.loads(text), positions=locate(text), defaults=defaults).section(config, ())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    document: Mapping[str, object]
    positions: Positions
    defaults: bool

    def section(self, part: BaseModel, loc: Loc) -> Iterator[Setting]:
        for name, field in type(part).model_fields.items():
            value, here = getattr(part, name), (*loc, field.alias or name)
            if isinstance(value, BaseModel):
                yield from self.section(value, here)
            elif not loc and isinstance(value, tuple):
                for place, entry in enumerate(value):
                    yield from self.section(entry, (*here, place))
            elif value is not None and (self.defaults or self._is_shown(here)):
                yield self._setting(here, value, secret=not field.repr)

    def _is_shown(self, loc: Loc) -> bool:
        return loc in self.positions.keys or not any(isinstance(part, int) for part in loc)

    def _setting(self, loc: Loc, value: object, *, secret: bool) -> Setting:
        key = self.positions.keys.get(loc)
        shown = _plain(value, _written(self.document, loc))
        if secret and isinstance(shown, str):
            shown = _BEHIND_HOST.sub(rf"\1/{MASK}", shown)
        return Setting(loc=loc, value=shown, line=key.line if key else None)


def _written(document: object, loc: Loc) -> object:
    """Give what stands in the document at a place; None where nothing does."""
    for part in loc:
        if isinstance(document, Mapping) and isinstance(part, str):
            document = document.get(part)
        elif isinstance(document, list) and isinstance(part, int) and part < len(document):
            document = document[part]
        else:
            return None
    return document


def _plain(value: object, written: object) -> object:
    """Give a value as TOML has it, with nothing in it that came from elsewhere."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, BaseModel):
        value = {field.alias or name: getattr(value, name) for name, field in type(value).model_fields.items()}
    if isinstance(value, Mapping):
        below = written if isinstance(written, Mapping) else {}
        return {str(key): _plain(found, below.get(key)) for key, found in value.items()}
    if isinstance(value, tuple):
        beside = written if isinstance(written, list) else []
        return [_plain(found, beside[at] if at < len(beside) else None) for at, found in enumerate(value)]
    if isinstance(value, str):
        return redact(written if isinstance(written, str) and has_references(written) else value)
    return value
