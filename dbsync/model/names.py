"""Table names and the patterns that select them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

DEFAULT_SCHEMA = "public"
_PLAIN = re.compile(r"[^\W\d][\w$]*\Z")
_PART = r'(?:"((?:[^"]|"")+)"|([^".\s](?:[^".]*[^".\s])?))'
_NAME = re.compile(rf"\s*{_PART}\s*(?:\.\s*{_PART}\s*)?\Z")


@dataclass(frozen=True, slots=True, order=True)
class TableName:
    """A table, by schema and name, both exactly as PostgreSQL stores them (no case folding).

    >>> str(TableName("public", "clinic_subject"))
    'clinic_subject'
    >>> str(TableName("lab", "Box no. 7"))
    'lab."Box no. 7"'
    """

    schema: str
    name: str

    @classmethod
    def parse(cls, text: str) -> TableName:
        """Read ``table``, ``schema.table`` or either part in double quotes; raise ValueError else.

        >>> TableName.parse("visit"), TableName.parse('lab."Box no. 7"')
        (TableName(schema='public', name='visit'), TableName(schema='lab', name='Box no. 7'))
        """
        match = _NAME.match(text)
        if match is None:
            raise ValueError(f"not a table name: {text!r}")
        first, second = _stored(match[1], match[2]), _stored(match[3], match[4])
        return cls(first, second) if second else cls(DEFAULT_SCHEMA, first)

    def matches(self, pattern: str) -> bool:
        """Say whether a shell-style pattern selects this table, by its bare or its qualified name.

        >>> TableName.parse("clinic_visit").matches("clinic_*")
        True
        >>> TableName.parse("lab.box").matches("box"), TableName.parse("lab.box").matches("lab.*")
        (False, True)
        """
        pattern = pattern.replace('"', "")
        if self.schema == DEFAULT_SCHEMA and fnmatchcase(self.name, pattern):
            return True
        return fnmatchcase(f"{self.schema}.{self.name}", pattern)

    def __str__(self) -> str:
        shown = _shown(self.name)
        return shown if self.schema == DEFAULT_SCHEMA else f"{_shown(self.schema)}.{shown}"


def _stored(quoted: str | None, plain: str | None) -> str:
    return quoted.replace('""', '"') if quoted else plain or ""


def _shown(part: str) -> str:
    return part if _PLAIN.match(part) else '"' + part.replace('"', '""') + '"'
