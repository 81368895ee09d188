"""When the TLS certificates end that this process has to do with: metrics and alerts tell it in time."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

OWN = "own"
"""The certificate that this process itself shows to others."""

_ends: dict[str, datetime] = {}


def known() -> Mapping[str, datetime]:
    """Give them, by host and port of whoever showed one."""
    return MappingProxyType(dict(_ends))


def note_shown(by: str, secured: ssl.SSLObject | ssl.SSLSocket) -> None:
    """Note the certificate of the other side of a connection."""
    shown: Mapping[str, Any] = secured.getpeercert() or {}
    ends = shown.get("notAfter")
    if isinstance(ends, str):
        _ends[by] = datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC)


def note_own(chain: Path) -> None:
    """Note the certificate of this process; of a chain the first that ends."""
    _ends[OWN] = min(ends(chain))


def ends(chain: Path) -> list[datetime]:
    """Say when each certificate of a chain ends. Raises OSError or ValueError for a file that holds none."""
    from cryptography import x509  # noqa: PLC0415 - takes long to import, and few have a certificate

    return [one.not_valid_after_utc for one in x509.load_pem_x509_certificates(chain.read_bytes())]
