"""Mask the secrets in connection strings, and in lines of configuration that hold one."""

from __future__ import annotations

import re

MASK = "***"

_IN_ADDRESS = re.compile(r"://[^:/@\s]*:(?P<secret>\S*)@")
_BY_NAME = re.compile(
    r"(?<!\w)\w*(?:pas+w|pwd|secret|scram_\w+_key)\w*[\"']?\s*=\s*"
    r"(?P<secret>'(?:\\.|[^'\\])*'?|\"(?:\\.|[^\"\\])*\"?|(?:\\.|[^\s\\&])*)",
    re.IGNORECASE,
)
_HOOK = re.compile(r"\b(?:webhook|heartbeat)\s*=\s*[\"']\w+://[^/\"'\s]*/(?P<secret>[^\"'\s]*)")
"""What stands behind the host of an address that is told something: whoever has it can say the same."""
_REFERENCE = re.compile(r"[\"']*\$\{[^}]*\}[\"',}]*\s*")


def redact(dsn: str) -> str:
    """Mask every password in a connection string, in whichever form it is written.

    Masks rather too much than too little where the string is malformed, and never raises.

    >>> redact("host=a password='s e' dbname=c"), redact("postgresql://u:s@h/db?sslpassword=t&x=1")
    ('host=a password=*** dbname=c', 'postgresql://u:***@h/db?sslpassword=***&x=1')
    """
    parts: list[str] = []
    end = 0
    for start, stop in secret_spans(dsn):
        parts += [dsn[end:start], MASK]
        end = stop
    return "".join(parts) + dsn[end:]


def secret_spans(text: str) -> tuple[tuple[int, int], ...]:
    """Find the character ranges that hold a secret: in order, without overlap, empty ones left out.

    A reference (``${NAME}``) in the place of a secret is none.
    """
    found = [match.span("secret") for pattern in (_IN_ADDRESS, _BY_NAME, _HOOK) for match in pattern.finditer(text)]
    spans: list[tuple[int, int]] = []
    for start, stop in sorted(found):
        if start == stop or _REFERENCE.fullmatch(text, start, stop):
            continue
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(stop, spans[-1][1]))
        else:
            spans.append((start, stop))
    return tuple(spans)
