"""``[broker]``: the broker between nodes and this upstream, as this upstream uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, Strict

from dbsync.config.fields import BrokerAddress, FilePath, Size, in_bytes
from dbsync.config.section import Section


class BrokerConfig(Section):
    """``[broker]``: where ``dbsync apply`` finds what nodes left for this one, and how it is kept there."""

    url: BrokerAddress | None = None
    """One broker, or all members of a cluster with commas between."""
    ca: FilePath | None = None
    """A file of certificate authorities (PEM) to believe instead of the system's."""
    replicas: Annotated[int, Strict(), Field(ge=1, le=5)] = 3
    """On so many members each batch lies before it counts as left; a broker that is alone needs 1."""
    room: Size = "10GB"
    """What may lie there in all; beyond that nodes keep their changes and wait."""
    messages: Annotated[int, Strict(), Field(ge=8, le=1_000_000)] = 4096
    """What may lie there of one node, in messages of up to 128 KB: one that comes home with much leaves room for others."""
    workers: Annotated[int, Strict(), Field(ge=1, le=64)] = 4
    """Nodes whose batches are applied at the same time by one ``dbsync apply``; each takes a connection."""

    @property
    def room_bytes(self) -> int:
        """Give ``room`` in bytes."""
        return in_bytes(self.room)

    def from_folder(self, folder: Path) -> BrokerConfig:
        """Give the same with every path as it is meant."""
        return self if self.ca is None else self.model_copy(update={"ca": str(folder / self.ca)})
