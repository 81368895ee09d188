"""Whose TLS certificates are believed: those of authorities, and those that somebody's own key signed."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass

from dbsync.errors import ConfigError
from dbsync.identity import tls
from dbsync.identity.keys import PublicKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Who is believed to be at the other end of a line. What he says is believed for its signature alone."""

    ca: str | None = None
    """A file of certificate authorities (PEM), instead of the system's."""
    keys: PublicKeys | None = None
    """Of somebody whose server may have no certificate but its own."""
    anybody: bool = False
    """Whoever is there: to ask for what is public, and is checked by other means."""

    def contexts(self) -> Iterator[ssl.SSLContext | bool]:
        """Give what is to be tried, one after the other while the certificate does not pass. Raises ConfigError."""
        if self.anybody:
            yield tls.believing_anybody()
            return
        if self.ca is None and self.keys is not None:
            yield tls.knowing(self.keys)
        yield True if self.ca is None else _authorities(self.ca)


AUTHORITIES = Trust()
"""Those that this computer knows."""


def _authorities(path: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        raise ConfigError(
            "the certificate authorities cannot be read",
            where=path,
            why=(error.strerror or str(error)).lower(),
            hint="upstream.ca names a file of certificates in PEM",
        ) from None
