"""Routes on which somebody carries: a stick, and a driver's laptop. What is under way can be lost, doubled, kept and changed."""

from __future__ import annotations

import shutil
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dbsync.bundle.names import SIGNATURE
from dbsync.config.load import load, load_relay
from dbsync.identity import registry
from dbsync.identity.keys import Keys
from dbsync.identity.registry import Role
from dbsync.relay.middleman import opened
from dbsync.service import bundles, export, relays
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.support.databases import Databases, Pair
from tests.support.pipeline import Pipeline, prepared
from tests.support.relayed import Relay
from tests.support.served import admit, free_port, serving

NODE, SERVER = "field-01", "community"


class Carriage(ABC):
    """A laptop and a server whose batches somebody carries."""

    def __init__(self, folder: Path, pair: Pair, stack: ExitStack) -> None:
        self._stack, self._serving = stack, False
        self.folder, self.source, self.upstream = folder, pair.source, pair.upstream
        self.port = free_port()
        self.laptop, self.server = folder / "laptop", folder / "server"
        self.keys, self.server_keys = Keys.generate(), Keys.generate()
        for place, name, database, keys in (
            (self.laptop, NODE, self.source, self.keys),
            (self.server, SERVER, self.upstream, self.server_keys),
        ):
            place.mkdir()
            keys.save(place / "keys")
            (place / "dbsync.toml").write_text(f'[node]\nname = "{name}"\nsource = "{database.dsn}"\n')
        with (self.laptop / "dbsync.toml").open("a") as file:
            file.write(
                f'[upstream]\nurl = "http://127.0.0.1:{self.port}"\nname = "{SERVER}"\n[batch]\nmax_changes = 1\n{TABLES}'
            )
        admit(self.upstream, NODE, self.keys)
        with self.source.connect() as connection:
            registry.pin(connection, SERVER, self.server_keys.public)

    @property
    @abstractmethod
    def under_way(self) -> Path:
        """Give the folder of what is under way."""

    @abstractmethod
    def leave(self) -> None:
        """Take along what the laptop has no receipt for, and give it the receipts that are here."""

    @abstractmethod
    def arrive(self) -> None:
        """Bring what is under way to the server."""

    def serve(self) -> None:
        """Let the server be there from now on."""
        if not self._serving:
            self._stack.enter_context(serving(self.server, self.upstream, keys=self.server_keys, port=self.port))
            self._serving = True

    def home(self) -> None:
        """Give the laptop its receipts."""
        self.leave()

    def round(self) -> None:
        """Go there, and home again."""
        self.leave()
        self.arrive()
        self.home()

    def parcels(self) -> list[Path]:
        """Give the bundles under way, in the order of their numbers."""
        return sorted(path for path in self.under_way.iterdir() if path.suffix == ".dbsync")

    def remove(self, parcel: Path) -> None:
        """Lose a bundle."""
        parcel.unlink()
        parcel.with_name(parcel.name + SIGNATURE).unlink()

    def aside(self) -> Path:
        """Copy all that is under way to some other place."""
        place = self.folder / f"aside {len(list(self.folder.iterdir()))}"
        shutil.copytree(self.under_way, place)
        return place

    def back(self, place: Path) -> None:
        """Put it back."""
        shutil.copytree(place, self.under_way, dirs_exist_ok=True)

    def insert(self, *codes: str) -> None:
        """Make sites, a transaction each."""
        with self.source.connect() as session:
            for code in codes:
                session.execute("INSERT INTO site (code) VALUES (%s)", (code,))

    def sites(self) -> list[str]:
        """List the sites upstream in the order in which they came."""
        return [code for (code,) in self.upstream.sql("SELECT code FROM site ORDER BY id")]

    def receipts(self) -> int:
        """Count the batches applied upstream."""
        return int(self.upstream.value("SELECT count(*) FROM dbsync.receipt"))

    def waiting(self) -> int:
        """Count the batches that have left and have no receipt."""
        return int(self.source.value("SELECT count(*) FROM dbsync.sent WHERE acknowledged_at IS NULL"))


class ByStick(Carriage):
    """A stick: bundles of all that waits, in one file."""

    @property
    def under_way(self) -> Path:
        """Give the stick."""
        place = self.folder / "stick"
        place.mkdir(exist_ok=True)
        return place

    def leave(self) -> None:
        """Export."""
        export.export(load(self.laptop / "dbsync.toml", {}), self.under_way, limit=1 << 30)

    def home(self) -> None:
        """Take the receipts."""
        export.receive(load(self.laptop / "dbsync.toml", {}), self.under_way)

    def arrive(self) -> None:
        """Import."""
        bundles.bring_in(load(self.server / "dbsync.toml", {}), self.under_way)


class ByRelay(Carriage):
    """A driver's laptop: a bundle of each batch."""

    def __init__(self, folder: Path, pair: Pair, stack: ExitStack) -> None:
        super().__init__(folder, pair, stack)
        self.relay = Relay(folder)
        self.relay.upstream_is(f"http://127.0.0.1:{self.port}", self.server_keys.public)
        admit(self.upstream, self.relay.name, Keys.load(self.relay.folder / "keys"), role=Role.RELAY)
        with self.source.connect() as connection:
            keys = self.relay.admit(NODE, self.keys)
            registry.pin(connection, self.relay.name, keys, role=Role.RELAY)
        with (self.laptop / "dbsync.toml").open("a") as file:
            file.write(f'[[relays]]\nurl = "{self.relay.url}"\nname = "{self.relay.name}"\n')

    @property
    def under_way(self) -> Path:
        """Give the spool."""
        return self.relay.bundles

    def leave(self) -> None:
        """Meet on the local network."""
        with self.relay.within():
            (met,) = relays.visit(load(self.laptop / "dbsync.toml", {}))
        assert met.trouble is None, met.trouble

    def arrive(self) -> None:
        """Meet the server."""
        self.serve()
        with opened(load_relay(self.relay.folder / "relay.toml")) as relay:
            relay.visit()

    def remove(self, parcel: Path) -> None:
        """Lose a bundle, and that it was ever there."""
        super().remove(parcel)
        self._note("DELETE FROM bundle WHERE file = ?", parcel.name)

    def back(self, place: Path) -> None:
        """Put it back, in custody."""
        super().back(place)
        for path in place.glob("*.dbsync"):
            self._note("UPDATE bundle SET delivered_at = NULL WHERE file = ?", path.name)

    def _note(self, query: str, file: str) -> None:
        with sqlite3.connect(self.relay.folder / "spool" / "relay.db") as connection:
            connection.execute(query, (file,))


@pytest.fixture(params=[ByStick, ByRelay], ids=["stick", "relay"])
def carriage(request: pytest.FixtureRequest, databases: Databases, pair: Pair, tmp_path: Path) -> Iterator[Carriage]:
    """Give a laptop and its server, each way of carrying between them."""
    both = prepared(databases, pair, SCHEMA)
    with ExitStack() as stack:
        stack.enter_context(Pipeline(both.source, both.upstream, TABLES, node=NODE))
        yield request.param(tmp_path, both, stack)
