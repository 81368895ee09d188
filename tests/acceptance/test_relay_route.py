"""A driver between laptops and a server that no line connects: what he carries, what he cannot do, and what he may lose."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyrage
import pytest

from dbsync.identity import registry
from dbsync.identity.keys import Keys
from dbsync.identity.registry import Role
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.integration.commands import Done, dbsync
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair
from tests.support.pipeline import Pipeline, prepared
from tests.support.relayed import Relay
from tests.support.served import admit, free_port, serving

pytestmark = ONE_MIXTURE


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

    def run(self) -> Done:
        """Ship what can go."""
        return dbsync(self.folder, "run", "--once")

    def knows(self, relay: Relay, more: str = "") -> None:
        """Know a driver and be known to him, as if it had enrolled."""
        with (self.folder / "dbsync.toml").open("a") as file:
            file.write(f'[[relays]]\nurl = "{relay.url}"\nname = "{relay.name}"\n{more}\n')
        with self.source.connect() as connection:
            registry.pin(connection, relay.name, relay.admit(self.name, self.keys), role=Role.RELAY)

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
    """Two laptops, a driver and a community server; no line goes from the laptops to the server unless it serves."""

    def __init__(self, folder: Path, pair: Pair, databases: Databases, stack: ExitStack) -> None:
        self.folder = folder
        both = prepared(databases, pair, SCHEMA)
        other = prepared(databases, pair, SCHEMA).source
        self.upstream, self._keys, self._port = both.upstream, Keys.generate(), free_port()
        self.relay = Relay(folder)
        self.laptops = []
        for name, source in (("field-01", both.source), ("field-02", other)):
            stack.enter_context(Pipeline(source, both.upstream, TABLES, node=name))
            laptop = Laptop(folder, name, source, self._port)
            admit(both.upstream, name, laptop.keys)
            with source.connect() as connection:
                registry.pin(connection, "community", self._keys.public)
            self.laptops.append(laptop)
        self.relay.upstream_is(f"http://127.0.0.1:{self._port}", self._keys.public)
        admit(both.upstream, "driver", Keys.load(self.relay.folder / "keys"), role=Role.RELAY)
        for laptop in self.laptops:
            laptop.knows(self.relay)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Let the community server be in reach."""
        with serving(self.folder / "server", self.upstream, keys=self._keys, port=self._port) as (_, url):
            yield url

    def sites(self) -> set[str]:
        """List the sites upstream."""
        return {code for (code,) in self.upstream.sql("SELECT code FROM site")}

    def batches(self) -> int:
        """Count the receipts upstream."""
        return int(self.upstream.value("SELECT count(*) FROM dbsync.receipt"))


@pytest.fixture
def field(pair: Pair, databases: Databases, tmp_path: Path) -> Iterator[Field]:
    with ExitStack() as stack:
        yield Field(tmp_path, pair, databases, stack)


def test_a_driver_is_enrolled_by_codes(field: Field) -> None:
    other = Relay(field.folder, "other")
    laptop = field.laptops[0]
    with field.serving() as url:
        code = dbsync(field.folder / "server", "nodes", "invite", "other", "--relay").out.strip()
        assert "other is enrolled with community" in other.must("enrol", url, code)
    laptop.insert("a")
    with other.open():
        code = other.must("invite", "field-01").strip()
        done = dbsync(laptop.folder, "enrol", "--relay", other.url, code)
        assert (done.code, done.out.split(" (")[0]) == (0, "field-01 is enrolled with the relay other"), done.err
        assert "other" in laptop.run().out
    assert laptop.custody() == [("other", 1)]
    with field.serving():
        assert other.must("run", "--once") == "1 bundle delivered\n"
    assert field.sites() == {"a"}


def test_a_driver_takes_bundles_and_brings_receipts_home(field: Field) -> None:
    first, second = field.laptops
    first.insert("a", "b", "c")
    second.insert("d")
    with field.relay.open():
        handed = first.run()
        assert (handed.code, handed.out) == (0, "handed to driver: 2 batches, 3 changes\n"), handed.err
        second.run()
        first.insert("e")
        assert first.run().out == "handed to driver: 1 batch, 1 change\n"
        assert first.run().out == "handed to driver: nothing new\n"
    assert first.custody() == [("driver", 4)]
    assert len(field.relay.held()) == 4
    assert field.sites() == set()
    with field.serving():
        assert field.relay.must("run", "--once") == "4 bundles delivered\n"
        assert field.sites() == {"a", "b", "c", "d", "e"}
        assert field.relay.must("run", "--once") == "nothing was in custody\n"
    assert first.waiting() == 3  # the note was no receipt
    with field.relay.open():
        assert first.run().out == "handed to driver: nothing new; receipts of 3 batches came back\n"
        second.run()
    assert (first.waiting(), second.waiting()) == (0, 0)
    assert first.custody() == []
    assert list(field.relay.bundles.iterdir()) == []


def test_a_driver_who_is_lost_costs_nothing_and_one_who_comes_late_brings_nothing_twice(field: Field) -> None:
    laptop = field.laptops[0]
    laptop.insert("a", "b", "c")
    with field.relay.open() as process:
        laptop.run()
        process.kill()
    copy = field.folder / "kept aside"
    shutil.copytree(field.relay.folder / "spool", copy)
    with field.serving():
        assert laptop.run().out == "3 changes shipped to community\n"
        assert (laptop.waiting(), laptop.custody(), field.batches()) == (0, [], 2)
        assert field.relay.must("run", "--once") == "2 bundles delivered\n"
        shutil.rmtree(field.relay.folder / "spool")
        copy.rename(field.relay.folder / "spool")
        assert field.relay.must("run", "--once") == "2 bundles delivered\n"
    assert (field.sites(), field.batches()) == ({"a", "b", "c"}, 2)


def test_a_driver_can_neither_read_nor_change_nor_reorder_nor_speak_for_others(field: Field) -> None:
    laptop = field.laptops[0]
    laptop.insert("a secret code", "b", "c")
    with field.relay.within():
        laptop.run()
    first, second = sorted(path for path in field.relay.bundles.iterdir() if path.suffix == ".dbsync")
    assert b"secret" not in first.read_bytes()
    whole = first.read_bytes()
    first.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with field.serving():
        edited = field.relay.type("run", "--once")
        assert (edited.code, edited.out) == (1, "nothing was in custody\n")
        assert "its signature is not its sender's" in field.relay.must("status")
        first.write_bytes(second.read_bytes())
        shutil.copy(f"{second}.minisig", f"{first}.minisig")
        assert field.relay.type("run", "--once").code == 1
        assert field.sites() == set()
    with field.serving():
        assert laptop.run().out == "3 changes shipped to community\n"
    assert field.sites() == {"a secret code", "b", "c"}


def test_a_trusted_driver_may_read(field: Field) -> None:
    laptop = field.laptops[0]
    with (laptop.folder / "dbsync.toml").open("a") as file:
        file.write("trusted = true\n")
    laptop.insert("an open code")
    with field.relay.within():
        assert laptop.run().code == 0
    own = Keys.load(field.relay.folder / "keys")
    (bundle,) = (path for path in field.relay.bundles.iterdir() if path.suffix == ".dbsync")
    assert pyrage.decrypt(bundle.read_bytes(), [own.sealing]).startswith(b"dbsync bundle 1\n")
    with field.serving():
        assert field.relay.must("run", "--once") == "1 bundle delivered\n"
    assert field.sites() == {"an open code"}
