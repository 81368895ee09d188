"""Fill in ``${NAME}`` and ``${file:PATH}``, so that secrets can stay out of the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from dbsync.config.locate import Loc
from dbsync.config.problems import Fault

SecretReader = Callable[[str], str]
"""Gives the content of the file at a path, or raises OSError or ValueError with a reason."""

_REFERENCE = re.compile(r"\$(?P<escaped>\$)?\{(?P<name>[^{}]*)(?P<closed>\})?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DEEPEST = 16
"""No known key is nested half as deep; what is deeper is left as it stands."""


def no_files(path: str) -> NoReturn:
    """Refuse to read a secret: for callers that must not touch files."""
    raise OSError(f"{path} is not read here")


def has_references(text: str) -> bool:
    """Say whether anything in a text is filled in from elsewhere.

    >>> has_references("postgresql://sync:${PASSWORD}@db/c"), has_references("$${PASSWORD}")
    (True, False)
    """
    return any(not match["escaped"] for match in _REFERENCE.finditer(text))


def expand(
    document: Mapping[str, object], environ: Mapping[str, str], read: SecretReader = no_files
) -> tuple[dict[str, object], tuple[Fault, ...]]:
    """Replace every reference in the document's strings; names of keys are left alone.

    ``$${`` stands for a plain ``${``. A reference that cannot be filled in is a fault, and stays as it is.
    """
    expander = _Expander(environ, read)
    expanded = {key: expander.value(value, (key,)) for key, value in document.items()}
    return expanded, tuple(expander.faults)


@dataclass(slots=True)
class _Expander:
    environ: Mapping[str, str]
    read: SecretReader
    faults: list[Fault] = field(default_factory=list)

    def value(self, value: object, loc: Loc) -> object:
        if isinstance(value, str):
            return _REFERENCE.sub(lambda match: self._filled(match, loc), value)
        if len(loc) >= _DEEPEST:
            return value
        if isinstance(value, list):
            return [self.value(item, (*loc, index)) for index, item in enumerate(value)]
        if isinstance(value, dict):
            return {key: self.value(item, (*loc, key)) for key, item in value.items()}
        return value

    def _filled(self, match: re.Match[str], loc: Loc) -> str:
        if match["escaped"]:
            return match[0][1:]
        by_file = match["closed"] and match["name"].startswith("file:")
        filled = self._file(match["name"], loc) if by_file else self._variable(match, loc)
        return match[0] if filled is None else filled

    def _variable(self, match: re.Match[str], loc: Loc) -> str | None:
        name = match["name"]
        if not match["closed"] or not _VARIABLE.fullmatch(name):
            self._fault(loc, "not a reference: write ${NAME} or ${file:/path}, and $${ for a plain ${", quoted=True)
            return None
        if name not in self.environ:
            self._fault(loc, f"${{{name}}} is not set")
            return None
        return self.environ[name]

    def _file(self, name: str, loc: Loc) -> str | None:
        path = name.removeprefix("file:")
        try:
            return self.read(path).strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self._fault(loc, f"cannot read ${{file:{path}}}: {reason}")
            return None

    def _fault(self, loc: Loc, message: str, *, quoted: bool = False) -> None:
        self.faults.append(Fault(loc=loc, message=message, quoted=quoted))
