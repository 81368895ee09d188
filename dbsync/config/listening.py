"""``[serve]``, ``[outbox]`` and ``[web]``: where this node listens, and what it gives to whom."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Self

from pydantic import Field, Strict

from dbsync.config.fields import (
    FilePath,
    Flag,
    Listen,
    NodeName,
    PagesPath,
    Size,
    Span,
    host_and_port,
    in_bytes,
    in_seconds,
)
from dbsync.config.section import Section


class Listening(Section):
    """An address to listen at, and how what goes over the line is kept from others."""

    title: ClassVar[str]
    """The section, for messages."""
    at_stake: ClassVar[str]
    """What strangers could read on a line without TLS."""
    listen: Listen
    """Host and port."""
    certificate: FilePath | None = None
    """The certificate chain, in PEM."""
    key: FilePath | None = None
    """The certificate's secret key."""
    behind_proxy: Flag = False
    """TLS ends at a proxy in front of this server: it may speak plain HTTP, though not to this computer alone."""

    @property
    def host(self) -> str:
        """Give the host of ``listen``, without the brackets of IPv6."""
        return host_and_port(self.listen)[0]

    @property
    def port(self) -> int:
        """Give the port of ``listen``."""
        return host_and_port(self.listen)[1]

    @property
    def is_private(self) -> bool:
        """Say whether a browser's line to it is TLS, here or at the proxy."""
        return self.certificate is not None or self.behind_proxy

    def from_folder(self, folder: Path) -> Self:
        """Give the same with every path as it is meant."""
        tls = {name: str(folder / path) for name in ("certificate", "key") if (path := getattr(self, name))}
        return self.model_copy(update=tls)


class ServeConfig(Listening):
    """``[serve]``: how nodes reach this one over HTTPS."""

    title = "[serve]"
    at_stake = "what nodes bring"
    listen: Listen = "127.0.0.1:8443"
    appliers: Annotated[int, Strict(), Field(ge=1, le=64)] = 4
    """Batches that are applied at the same time; each takes a connection."""
    max_batch: Size = "4GB"
    """The largest batch that is taken, in bytes as they come."""
    max_payload: Size = "64GB"
    """The largest batch that is taken, in bytes as they come out of the compression."""
    max_changes: Annotated[int, Strict(), Field(ge=1)] = 100_000_000
    """The most changes of a batch that is taken: a transaction is never split, and one of more is somebody's mistake."""

    @property
    def batch_bytes(self) -> int:
        """Give ``max_batch`` in bytes."""
        return in_bytes(self.max_batch)

    @property
    def payload_bytes(self) -> int:
        """Give ``max_payload`` in bytes."""
        return in_bytes(self.max_payload)


class OutboxConfig(Listening):
    """``[outbox]``: where relays on the local network come for bundles."""

    title = "[outbox]"
    at_stake = "who hands over how much"
    listen: Listen = "127.0.0.1:8444"
    trusted: tuple[NodeName, ...] = ()
    """Relays that may read what they come for; for others bundles are sealed for the upstream alone."""


class WebConfig(Listening):
    """``[web]``: pages for people."""

    title = "[web]"
    at_stake = "passwords and what the pages show"
    listen: Listen = "127.0.0.1:8480"
    path: PagesPath | None = None
    """Where ``dbsync serve`` gives the pages too; None: it does not."""
    allow_actions: Flag = False
    """Operators may do what the pages offer; else everybody only looks."""
    show_values: Flag = False
    """Those who may see the values of rows are shown them; else nobody is."""
    idle: Span = "30min"
    """After so long without a page a browser is logged out ..."""
    longest: Span = "12h"
    """... and after so long in any case."""

    @property
    def is_wanted(self) -> bool:
        """Say whether the file says anything of the pages; ``dbsync web`` serves them without that too."""
        return self != WebConfig()

    @property
    def idle_seconds(self) -> float:
        """Give ``idle`` in seconds."""
        return in_seconds(self.idle)

    @property
    def longest_seconds(self) -> float:
        """Give ``longest`` in seconds."""
        return in_seconds(self.longest)
