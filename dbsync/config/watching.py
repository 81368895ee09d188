"""How somebody hears of a node without looking at it: metrics, traces and alerts."""

from __future__ import annotations

from pydantic import Field

from dbsync.config.fields import Duration, HookAddress, Listen, Word, in_seconds
from dbsync.config.section import Section


class MetricsConfig(Section):
    """``[metrics]``: where a monitoring system asks how this node is."""

    listen: Listen | None = None
    """Host and port of ``dbsync run``; nothing is served where it is not written."""
    serve_listen: Listen | None = None
    """Of ``dbsync serve``, where both programs run from one file."""
    apply_listen: Listen | None = None
    """Of ``dbsync apply``; nothing is served where it is not written."""

    @property
    def of_server(self) -> str | None:
        """Give the address of ``dbsync serve``."""
        return self.serve_listen or self.listen


class TracesConfig(Section):
    """``[traces]``: who is told of the way of each batch, step by step."""

    endpoint: HookAddress | None = Field(default=None, repr=False)
    """An OpenTelemetry collector's address for traces, over HTTP; nobody is told where it is not written."""


class AlertsConfig(Section):
    """``[alerts]``: who is told when a node is not as it should be, and when it is again."""

    command: tuple[Word, ...] = Field(default=(), repr=False)
    """A program and its words; the message is JSON on its stdin."""
    webhook: HookAddress | None = Field(default=None, repr=False)
    """An address to which the message is posted."""
    heartbeat: HookAddress | None = Field(default=None, repr=False)
    """An address that is asked once a minute while all is well."""
    settle: Duration = "1min"
    """How long something has to be so before it is told, and to be gone before it is called off."""
    unreachable: Duration = "1h"
    """How long a link may be out of reach."""
    lag: Duration | None = None
    """How old a change without a receipt may get."""

    @property
    def hooks(self) -> tuple[str, ...]:
        """Name those who are told."""
        return tuple(name for name in ("command", "webhook") if getattr(self, name))

    @property
    def everybody(self) -> tuple[str, ...]:
        """Name those who are told something, the one who watches the heartbeat among them."""
        return (*self.hooks, "heartbeat") if self.heartbeat is not None else self.hooks

    @property
    def is_wanted(self) -> bool:
        """Say whether anybody wants to hear anything."""
        return bool(self.everybody)

    @property
    def settle_seconds(self) -> float:
        """Give ``settle`` in seconds."""
        return in_seconds(self.settle)

    @property
    def unreachable_seconds(self) -> float:
        """Give ``unreachable`` in seconds."""
        return in_seconds(self.unreachable)

    @property
    def lag_seconds(self) -> float | None:
        """Give ``lag`` in seconds."""
        return None if self.lag is None else in_seconds(self.lag)
