"""What a route does for a node, one step at a time, and what may befall what is under way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from enum import Enum
from pathlib import Path

from dbsync.config.load import load
from dbsync.config.models import Config
from dbsync.identity import registry
from dbsync.identity.keys import Keys
from dbsync.service.run import Service
from dbsync.service.status import status
from tests.integration.clinic_schema import TABLES
from tests.support.databases import Pair
from tests.support.proxy import Way
from tests.support.served import admit

NODE, SERVER = "field-01", "community"
SILENCE = 1.5
MANY = 3000
"""Rows of one transaction that a route can be cut in the middle of."""
MIDDLE = {Way.UP: 50_000, Way.DOWN: 300}
"""After so many bytes a line is in the middle of them, or of an answer."""


class Spoiled(Enum):
    """A change to bytes on their way."""

    CUT = "cut off at the end"
    CHANGED = "another last byte"
    LONGER = "a byte too many"

    def of(self, whole: bytes) -> bytes:
        """Give the bytes as they are then."""
        match self:
            case Spoiled.CUT:
                return whole[:-10]
            case Spoiled.CHANGED:
                return whole[:-1] + (b"!" if whole.endswith(b"?") else b"?")
            case Spoiled.LONGER:
                return whole + b"?"


class Driver(ABC):
    """A laptop, its upstream, and one route between them, which is taken step by step.

    The route takes along the batches that have no receipt (:meth:`leave`), they come to the upstream (:meth:`arrive`), and
    receipts come :meth:`home`: all at once, or weeks later. Whatever is under way between two steps is in *parcels*, one or
    more for each leaving; it can be lost, doubled, kept back, mixed up and changed. No step remembers anything of the
    one before but what is in the laptop's database: each is a new process to it.
    """

    def __init__(self, folder: Path, pair: Pair, stack: ExitStack) -> None:
        self.folder, self.source, self.upstream = folder, pair.source, pair.upstream
        self._stack = stack
        self.laptop, self.server = folder / "laptop", folder / "server"
        self.keys, self.server_keys = Keys.generate(), Keys.generate()
        for place, keys in ((self.laptop, self.keys), (self.server, self.server_keys)):
            place.mkdir()
            keys.save(place / "keys")
        admit(self.upstream, NODE, self.keys)
        with self.source.connect() as connection:
            registry.pin(connection, SERVER, self.server_keys.public)
        self._write("direct.toml", self.upstream.dsn)

    @abstractmethod
    def leave(self) -> None:
        """Take along what the laptop has no receipt for, and is not under way yet. Raises Unreachable where the route is away."""

    @abstractmethod
    def arrive(self) -> None:
        """Bring what is under way to the upstream, the lowest number first. What it does not take stays under way."""

    @abstractmethod
    def home(self) -> None:
        """Bring the laptop the receipts that the upstream gave."""

    @abstractmethod
    def round(self) -> None:
        """Take the whole route once, as the programs do it by themselves."""

    @abstractmethod
    def away(self) -> None:
        """Be away from now on: nobody answers, nobody comes."""

    @abstractmethod
    def back(self) -> None:
        """Be there again."""

    @abstractmethod
    def cut(self, way: Way) -> None:
        """Break once in the middle: of what is under way to the upstream, or of its answer."""

    @abstractmethod
    def lose_receipts(self) -> None:
        """Lose what the upstream gave, before it is home."""

    @abstractmethod
    def parcels(self) -> list[str]:
        """Name what is under way, in the order of the numbers."""

    @abstractmethod
    def lose(self, parcel: str) -> None:
        """Lose a parcel."""

    @abstractmethod
    def copies(self) -> Mapping[str, object]:
        """Copy all that is under way, by parcel."""

    @abstractmethod
    def put(self, copies: Mapping[str, object]) -> None:
        """Have copies under way again; each may be called as another parcel is."""

    @abstractmethod
    def spoil(self, parcel: str, how: Spoiled) -> None:
        """Change a parcel on its way."""

    @property
    def config(self) -> Config:
        """Read the laptop's configuration."""
        return load(self.laptop / "dbsync.toml", {})

    def another_way(self) -> int:
        """Ship as ``dbsync run --once`` does over a line straight to the upstream's database; give the number of changes."""
        return Service(config=load(self.laptop / "direct.toml", {})).run_once()

    @property
    def said(self) -> tuple[str, int]:
        """Give the route's state and the number of changes that wait, as ``status`` says."""
        found = status(self.config)
        return found.link.state, found.pending

    def insert(self, *codes: str) -> None:
        """Make sites, a transaction each."""
        with self.source.connect() as connection:
            for code in codes:
                connection.execute("INSERT INTO site (code) VALUES (%s)", (code,))

    def insert_many(self) -> None:
        """Make many sites in one transaction."""
        self.source.sql("INSERT INTO site (code) SELECT md5(i::text) FROM generate_series(1, %s) i", [MANY])

    def sites(self) -> list[str]:
        """List the sites upstream in the order in which they came."""
        return [code for (code,) in self.upstream.sql("SELECT code FROM site ORDER BY id")]

    def waiting(self) -> int:
        """Count the batches that have left and have no receipt."""
        return int(self.source.value("SELECT count(*) FROM dbsync.sent WHERE acknowledged_at IS NULL"))

    def hold_that_all_is_there_once(self, batches: int) -> None:
        """Hold that so many batches left, each arrived as it left, once, and all receipts are home."""
        sent = self.source.sql("SELECT number, hash, changes FROM dbsync.sent ORDER BY number")
        assert [number for number, _, _ in sent] == list(range(1, batches + 1))
        assert self.waiting() == 0
        assert self.upstream.sql("SELECT number, hash, changes FROM dbsync.receipt ORDER BY number") == sent
        assert (
            self.upstream.sql("SELECT FROM dbsync.conflict") == self.upstream.sql("SELECT FROM dbsync.quarantine") == []
        )

    def _write(self, file: str, url: str, more: str = "") -> None:
        """Write a configuration of the laptop."""
        (self.laptop / file).write_text(
            f'[node]\nname = "{NODE}"\nsource = "{self.source.dsn}"\n[upstream]\nurl = "{url}"\nname = "{SERVER}"\n'
            f"[batch]\nmax_changes = 1\n[service]\nsilence = {SILENCE}\n{more}{TABLES}"
        )


@contextmanager
def gone(driver: Driver) -> Iterator[None]:
    """Have no route while inside."""
    driver.away()
    try:
        yield
    finally:
        driver.back()
