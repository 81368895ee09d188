"""How an entry of ``[[tables]]`` names tables: one table, or a pattern with ``*``, ``?`` and ``[...]``."""

from __future__ import annotations

import re

from dbsync.model.names import TableName

_TOKEN = re.compile(r'"(?:[^"]|"")+"|\[!?\]?[^\]"]*\]|[^"\[\]]')
_QUOTED = re.compile(r'"((?:[^"]|"")+)"')
_SPECIAL = re.compile(r"[*?\[]")


def is_pattern(text: str) -> bool:
    """Say whether a name has ``*``, ``?`` or ``[`` outside double quotes.

    >>> is_pattern("clinic_*"), is_pattern('lab."Box [1]"')
    (True, False)
    """
    return _SPECIAL.search(_QUOTED.sub("", text)) is not None


def check_name(text: str) -> None:
    """Raise ValueError unless the text is ``table``, ``schema.table`` or such a name with parts in double quotes."""
    TableName.parse(text)
    if "\0" in text:
        raise ValueError("not a table name")


def check_pattern(text: str) -> None:
    """Raise ValueError unless the text is a pattern for ``table`` or ``schema.table``."""
    tokens = _TOKEN.findall(text)
    dots = tokens.count(".")
    whole = "".join(tokens) == text and text == text.strip() and "\0" not in text
    if not whole or dots > 1 or text.startswith(".") or text.endswith("."):
        raise ValueError("not a pattern for table names")


def selects(pattern: str, table: TableName) -> bool:
    """Say whether a name or pattern selects a table; what stands in double quotes is taken as it is.

    >>> selects('lab."a*"', TableName("lab", "ab")), selects("lab.a*", TableName("lab", "ab"))
    (False, True)
    """
    if not is_pattern(pattern):
        return TableName.parse(pattern) == table
    return table.matches(_QUOTED.sub(_literally, pattern))


def _literally(quoted: re.Match[str]) -> str:
    """Rewrite a part in double quotes so that a shell-style pattern takes it as it is."""
    return _SPECIAL.sub(r"[\g<0>]", quoted[1]).replace('""', "?")
