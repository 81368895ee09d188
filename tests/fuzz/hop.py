"""How changes go from one end to the next: by a process that stays, or by one that is started each time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from dbsync.config.load import load
from dbsync.service.run import Service
from tests.support.databases import Database
from tests.support.pipeline import LINK, Pipeline


class Hop(Protocol):
    """What a story asks of one."""

    source: Database
    upstream: Database

    def ship(self, size: int) -> object:
        """Ship what is pending, in batches of a size."""

    def ship_one(self, size: int) -> object:
        """Ship one batch, where that can be asked for."""

    def restart(self) -> None:
        """Go on as a new process."""

    def reinstall(self, tables: str) -> None:
        """Install triggers again."""

    @contextmanager
    def opened(self) -> Iterator[Pipeline]:
        """Give what looks after both ends."""


class Staying(Pipeline):
    """A process that knows the tables from before."""

    @contextmanager
    def opened(self) -> Iterator[Pipeline]:
        """Give itself."""
        yield self


class Once:
    """``dbsync run --once`` each time: it holds no session between, so that a server may be restored."""

    def __init__(self, folder: Path, source: Database, upstream: Database, tables: str, *, node: str) -> None:
        self.source = source
        self.upstream = upstream
        self._file = folder / f"{node}.toml"
        self._tables = tables
        self._node = node
        self.reinstall(tables)

    def ship(self, size: int) -> None:
        """Ship what is pending."""
        self._file.write_text(
            f'[node]\nname = "{self._node}"\nsource = "{self.source.dsn}"\n'
            f'[upstream]\nurl = "{self.upstream.dsn}"\nname = "{LINK}"\n[batch]\nmax_changes = {size}\n{self._tables}'
        )
        Service(config=load(self._file, {})).run_once()

    ship_one = ship

    def restart(self) -> None:
        """Do nothing: each is a new one."""

    def reinstall(self, tables: str) -> None:
        """Install triggers again."""
        self._tables = tables
        with self.opened():
            pass

    @contextmanager
    def opened(self) -> Iterator[Pipeline]:
        """Open both ends for a while."""
        with Pipeline(self.source, self.upstream, self._tables, node=self._node) as pipeline:
            yield pipeline
