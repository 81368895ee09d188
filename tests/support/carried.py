"""Laptops whose upstream is seldom in reach, a driver, and the server he drives to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dbsync.identity import registry
from dbsync.identity.keys import Keys, PublicKeys
from dbsync.identity.registry import Role
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.integration.commands import Done, dbsync
from tests.support.databases import Database, Databases, Pair
from tests.support.pipeline import Pipeline, piped, prepared
from tests.support.relayed import Relay
from tests.support.served import admit, free_port, serving
from tests.support.service import ServiceProcess


class Laptop:
    """A laptop whose upstream is on the web and seldom in reach, and which knows a driver."""

    def __init__(self, folder: Path, name: str, source: Database, port: int) -> None:
        self.folder, self.name, self.source = folder / name, name, source
        self.folder.mkdir()
        self.keys = Keys.generate()
        self.keys.save(self.folder / "keys")
        (self.folder / "dbsync.toml").write_text(
            f'[node]\nname = "{name}"\nsource = "{source.dsn}"\n'
            f'[upstream]\nurl = "http://127.0.0.1:{port}"\nname = "community"\n[batch]\nmax_changes = 2\n{TABLES}'
        )

    def dbsync(self, *words: str) -> Done:
        """Type a command there."""
        return dbsync(self.folder, *words)

    def run(self) -> Done:
        """Ship what can go."""
        return self.dbsync("run", "--once")

    def knows(self, relay: Relay) -> None:
        """Know a driver and be known to him, as if it had enrolled."""
        with self.source.connect() as connection:
            registry.pin(connection, relay.name, relay.admit(self.name, self.keys), role=Role.RELAY)

    def goes_to(self, relay: Relay, more: str = "") -> None:
        """Know a driver, and where he is."""
        self.knows(relay)
        self.finds(relay, more)

    def finds(self, relay: Relay, more: str = "") -> None:
        """Know where a driver is."""
        with (self.folder / "dbsync.toml").open("a") as file:
            file.write(f'[[relays]]\nurl = "{relay.url}"\nname = "{relay.name}"\n{more}\n')

    def opens(self, more: str = "", *, tls: bool = False) -> str:
        """Have an outbox, from the next start on; give its address."""
        host, port = "0.0.0.0" if tls else "127.0.0.1", free_port()
        with (self.folder / "dbsync.toml").open("a") as file:
            file.write(f'\n[outbox]\nlisten = "{host}:{port}"\n{more}\n')
        return f"{'https' if tls else 'http'}://127.0.0.1:{port}"

    @contextmanager
    def serving(self, *command: str) -> Iterator[ServiceProcess]:
        """Serve the outbox."""
        process = ServiceProcess(self.folder, command=command or ("serve", "--outbox"))
        before = len(process.said("outbox_served")) if process.log.exists() else 0
        with process:
            process.wait_for("outbox_served", before + 1)
            yield process

    def insert(self, *codes: str) -> None:
        """Make sites, a transaction each."""
        with self.source.connect() as session:
            for code in codes:
                session.execute("INSERT INTO site (code) VALUES (%s)", (code,))

    def waiting(self) -> int:
        """Count the batches that have left and have no receipt."""
        return int(self.source.value("SELECT count(*) FROM dbsync.sent WHERE acknowledged_at IS NULL"))

    def custody(self) -> list[tuple[str, int]]:
        """Say what status tells of middlemen: who has how many changes."""
        link = dbsync(self.folder, "status", "--json").json["link"]
        return [(one["relay"], one["changes"]) for one in link["custody"]]


class Field:
    """Two laptops, a driver and a community server; no line goes from the laptops to the server unless it serves.

    The laptops know the driver, and unless he ``fetches`` where he is.
    """

    def __init__(
        self, folder: Path, pair: Pair, databases: Databases, stack: ExitStack, *, fetches: bool = False
    ) -> None:
        self.folder = folder
        both = stack.enter_context(piped(databases, pair, SCHEMA, TABLES))
        other = prepared(databases, pair, SCHEMA).source
        stack.enter_context(Pipeline(other, both.upstream, TABLES, node="field-02"))
        self.upstream, self.keys, self._port = both.upstream, Keys.generate(), free_port()
        self.relay = Relay(folder)
        self.laptops = []
        for name, source in (("field-01", both.source), ("field-02", other)):
            laptop = Laptop(folder, name, source, self._port)
            admit(both.upstream, name, laptop.keys)
            with source.connect() as connection:
                registry.pin(connection, "community", self.keys.public)
            self.laptops.append(laptop)
        self.relay.upstream_is(f"http://127.0.0.1:{self._port}", self.keys.public)
        admit(both.upstream, "driver", Keys.load(self.relay.folder / "keys"), role=Role.RELAY)
        for laptop in self.laptops:
            if fetches:
                laptop.knows(self.relay)
            else:
                laptop.goes_to(self.relay)

    def another(self, name: str) -> Relay:
        """Give one more driver whom the server knows, and no laptop."""
        relay = Relay(self.folder, name)
        relay.upstream_is(self.url, self.keys.public)
        admit(self.upstream, name, Keys.load(relay.folder / "keys"), role=Role.RELAY)
        return relay

    @property
    def url(self) -> str:
        """Give the server's address."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def theirs(self) -> PublicKeys:
        """Give what is public of the server's keys."""
        return self.keys.public

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Let the community server be in reach."""
        with serving(self.folder / "server", self.upstream, keys=self.keys, port=self._port) as (_, url):
            yield url

    def sites(self) -> set[str]:
        """List the sites upstream."""
        return {code for (code,) in self.upstream.sql("SELECT code FROM site")}

    def batches(self) -> int:
        """Count the receipts upstream."""
        return int(self.upstream.value("SELECT count(*) FROM dbsync.receipt"))
