"""The routes on which somebody carries: a stick, and a driver's laptop. Receipts come on the way back."""

from __future__ import annotations

import hashlib
import sqlite3
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import cast

import pytest

from dbsync.bundle.names import SIGNATURE, BundleName, read_name, receipts_name
from dbsync.config.load import load, load_relay
from dbsync.errors import Unreachable
from dbsync.identity import registry
from dbsync.identity.keys import Keys
from dbsync.identity.registry import Role
from dbsync.relay import pulling
from dbsync.relay.middleman import Middleman, opened
from dbsync.service import bundles
from dbsync.service.run import Service
from tests.conformance.route import MIDDLE, NODE, SILENCE, Driver, Spoiled
from tests.support.databases import Pair
from tests.support.fetched import fetched, handing_out
from tests.support.proxy import Fault, Proxy, Way
from tests.support.relayed import Relay
from tests.support.served import admit, answering, free_port


class Carried(Driver):
    """Bundles in somebody's folder. A parcel is a bundle, by its file's name."""

    @property
    @abstractmethod
    def under_way(self) -> Path:
        """Give the folder."""

    def round(self) -> None:
        """Go there, and come home again."""
        self.leave()
        self.arrive()
        self.home()

    def home(self) -> None:
        """Be there again."""
        self.leave()

    def parcels(self) -> list[str]:
        """Name the bundles."""
        return sorted(path.name for path in self.under_way.iterdir() if path.suffix == ".dbsync")

    def lose(self, parcel: str) -> None:
        """Remove its files."""
        for file in self._files(parcel):
            file.unlink()

    def copies(self) -> Mapping[str, object]:
        """Read its files."""
        return {parcel: tuple(file.read_bytes() for file in self._files(parcel)) for parcel in self.parcels()}

    def put(self, copies: Mapping[str, object]) -> None:
        """Write its files."""
        for parcel, contents in copies.items():
            for file, content in zip(self._files(parcel), cast(tuple[bytes, bytes], contents), strict=True):
                file.write_bytes(content)

    def spoil(self, parcel: str, how: Spoiled) -> None:
        """Change the bundle, and not its signature."""
        bundle, _ = self._files(parcel)
        bundle.write_bytes(how.of(bundle.read_bytes()))

    def _files(self, parcel: str) -> tuple[Path, Path]:
        return self.under_way / parcel, self.under_way / f"{parcel}{SIGNATURE}"

    def _ship(self) -> Service:
        service = Service(config=self.config)
        service.run_once()
        return service


class ByStick(Carried):
    """A stick: what is new at each leaving is in one bundle."""

    def __init__(self, folder: Path, pair: Pair, stack: ExitStack) -> None:
        super().__init__(folder, pair, stack)
        self.under_way.mkdir()
        self._write("dbsync.toml", f"file://{self.under_way}")
        (self.server / "dbsync.toml").write_text(f'[node]\nname = "community"\nsource = "{self.upstream.dsn}"\n')

    @property
    def under_way(self) -> Path:
        """Give the stick."""
        return self.folder / "stick"

    def leave(self) -> None:
        """Put it in at the laptop."""
        self._ship()

    def arrive(self) -> None:
        """Put it in at the server."""
        bundles.bring_in(load(self.server / "dbsync.toml", {}), self.under_way)

    def away(self) -> None:
        """Pull it out."""
        self.under_way.rename(self.folder / "pocket")

    def back(self) -> None:
        """Put it in."""
        (self.folder / "pocket").rename(self.under_way)

    def cut(self, way: Way) -> None:
        """Pull it out while it is written, and keep half of what was to be there."""
        if way is Way.UP:
            (parcel,) = self.parcels()
            self._halve(self.under_way / parcel)
        self.arrive()
        if way is Way.DOWN:
            self._halve(self._receipts)

    def lose_receipts(self) -> None:
        """Lose the file of receipts."""
        self._receipts.unlink()

    @property
    def _receipts(self) -> Path:
        return self.under_way / receipts_name(NODE)

    @staticmethod
    def _halve(file: Path) -> None:
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])


class ByRelay(Carried):
    """A driver's laptop: a bundle for each batch. The laptop itself never reaches its upstream."""

    def __init__(self, folder: Path, pair: Pair, stack: ExitStack) -> None:
        super().__init__(folder, pair, stack)
        port = free_port()
        stack.enter_context(answering(self.upstream, keys=self.server_keys, port=port))
        self.line = stack.enter_context(Proxy(port))
        self.relay = Relay(folder)
        self.relay.upstream_is(f"http://127.0.0.1:{self.line.port}", self.server_keys.public)
        admit(self.upstream, self.relay.name, Keys.load(self.relay.folder / "keys"), role=Role.RELAY)
        with self.source.connect() as connection:
            registry.pin(connection, self.relay.name, self.relay.admit(NODE, self.keys), role=Role.RELAY)
        self.network = self._meet(stack)

    def _meet(self, stack: ExitStack) -> Proxy:
        """Have them meet on the local network."""
        stack.enter_context(self.relay.within())
        network = stack.enter_context(Proxy(self.relay.port))
        more = f'[[relays]]\nurl = "http://127.0.0.1:{network.port}"\nname = "{self.relay.name}"\n'
        self._write("dbsync.toml", f"http://127.0.0.1:{free_port()}", more)
        return network

    @property
    def under_way(self) -> Path:
        """Give the spool."""
        return self.relay.bundles

    def leave(self) -> None:
        """Meet on the local network."""
        (met,) = self._ship().met
        assert met.relay == self.relay.name

    def arrive(self) -> None:
        """Meet the server."""
        with self._opened() as relay:
            relay.visit()

    def away(self) -> None:
        """Be out of reach."""
        self.network.deafen()

    def back(self) -> None:
        """Be near."""
        self.network.mend()

    def cut(self, way: Way) -> None:
        """Cut the driver's line to the server."""
        self.line.arm(Fault.CUT, way, MIDDLE[way])
        with pytest.raises(Unreachable):
            self.arrive()
        assert self.line.broken == 1

    def lose_receipts(self) -> None:
        """Lose what the server signed for the laptop."""
        with sqlite3.connect(self.relay.folder / "spool" / "relay.db") as connection:
            connection.execute("DELETE FROM paper")

    def lose(self, parcel: str) -> None:
        """Drop a bundle: it was never there."""
        with self._opened() as relay:
            relay.spool.drop(_name(parcel))

    def put(self, copies: Mapping[str, object]) -> None:
        """Have the files again, in custody."""
        super().put(copies)
        with self._opened() as relay:
            for parcel in copies:
                bundle, _ = self._files(parcel)
                relay.records.take(
                    _name(parcel), bundle.stat().st_size, hashlib.sha256(bundle.read_bytes()).hexdigest()
                )

    def _opened(self) -> AbstractContextManager[Middleman]:
        return opened(load_relay(self.relay.folder / "relay.toml"))


class ByPull(ByRelay):
    """The same driver, who comes for the bundles himself: the laptop serves its outbox, and does nothing else."""

    def _meet(self, stack: ExitStack) -> Proxy:
        port = free_port()
        self._write("dbsync.toml", f"http://127.0.0.1:{free_port()}", f'[outbox]\nlisten = "127.0.0.1:{port}"\n')
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(pulling, "SILENCE", SILENCE)
        stack.enter_context(handing_out(self.laptop))
        return stack.enter_context(Proxy(port))

    def leave(self) -> None:
        """Find the laptop without a line, and take what waits there."""
        with pytest.raises(Unreachable):
            self._ship()
        fetched(self.relay, f"http://127.0.0.1:{self.network.port}")


def _name(parcel: str) -> BundleName:
    found = read_name(parcel)
    assert found is not None
    return found[0]
