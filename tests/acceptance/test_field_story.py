"""A programme in the field, told whole: laptops, a driver, sticks, a community server, a centre, and all that goes wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from dbsync.config.load import load, load_relay
from dbsync.config.models import Config
from dbsync.errors import Unreachable
from dbsync.identity import registry
from dbsync.identity.keys import Keys
from dbsync.identity.registry import Role
from dbsync.relay.middleman import opened
from dbsync.service import bundles, certificate, export, relays
from dbsync.service.certificate import Certified
from dbsync.service.run import Service
from dbsync.service.status import status
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair
from tests.support.pipeline import Pipeline, prepared
from tests.support.proxy import Fault, Proxy, Way
from tests.support.relayed import Relay
from tests.support.served import admit, free_port
from tests.support.service import ServiceProcess

pytestmark = ONE_MIXTURE

FEW = 3
"""Changes in a batch: many batches."""


class Node:
    """A database with its dbsync.toml, keys, and an upstream that is on the web."""

    def __init__(self, folder: Path, name: str, database: Database, port: int, above: str, address: int) -> None:
        self.folder, self.name, self.database, self.port = folder / name, name, database, port
        self.folder.mkdir()
        self.keys = Keys.generate()
        self.keys.save(self.folder / "keys")
        (self.folder / "dbsync.toml").write_text(
            f'[node]\nname = "{name}"\nsource = "{database.dsn}"\n'
            + (f'[upstream]\nurl = "http://127.0.0.1:{address}"\nname = "{above}"\n' if above else "")
            + f'[serve]\nlisten = "127.0.0.1:{port}"\n[batch]\nmax_changes = {FEW}\n{TABLES}'
        )

    @property
    def config(self) -> Config:
        """Give its configuration."""
        return load(self.folder / "dbsync.toml", {})

    def knows(self, above: Node, *, passes_on: bool = False) -> None:
        """Know an upstream, and be known there, as enrolment leaves it."""
        admit(above.database, self.name, self.keys, passes_on=passes_on)
        with self.database.connect() as connection:
            registry.pin(connection, above.name, above.keys.public)

    def meets(self, relay: Relay) -> None:
        """Know a driver, and be known to him."""
        with self.database.connect() as connection:
            registry.pin(connection, relay.name, relay.admit(self.name, self.keys), role=Role.RELAY)
        with (self.folder / "dbsync.toml").open("a") as file:
            file.write(f'\n[[relays]]\nurl = "{relay.url}"\nname = "{relay.name}"\n')

    def ship(self) -> int:
        """Ship over the line."""
        return Service(config=self.config).run_once()

    def export(self, stick: Path) -> Path:
        """Write a stick; receipts that are on it are taken."""
        stick.mkdir(exist_ok=True)
        export.export(self.config, stick, limit=1 << 30)
        return stick

    def bring_in(self, stick: Path) -> list[str]:
        """Import a stick; give why something of it was left."""
        return [left.why for left in bundles.bring_in(self.config, stick).left]

    def certificate(self) -> Certified:
        """Ask the upstream for it."""
        return certificate.ask(self.config)

    def works(self, *numbers: int) -> None:
        """Enrol subjects with visits, and change what was written before."""
        with self.database.connect() as session:
            for number in numbers:
                subject = f"{self.name}-{number}"
                with session.transaction():
                    session.execute("INSERT INTO subject (identifier, age) VALUES (%s, %s)", (subject, number))
                    session.execute(
                        "INSERT INTO visit (subject_id, code) SELECT id, v.code FROM subject, (VALUES ('1'), ('2')) v(code)"
                        " WHERE identifier = %s",
                        (subject,),
                    )
                session.execute("UPDATE subject SET initials = 'AB' WHERE identifier = %s", (subject,))
                session.execute(
                    "DELETE FROM visit USING subject WHERE subject.id = subject_id AND identifier = %s AND code = '2'",
                    (subject,),
                )

    def sees(self) -> set[tuple[object, ...]]:
        """Give every subject with its visits, by natural keys."""
        return {
            *self.database.sql(
                "SELECT s.identifier, s.age, s.initials, v.code FROM subject s LEFT JOIN visit v ON v.subject_id = s.id"
            )
        }

    def waiting(self) -> int:
        """Count the batches that have left and have no receipt."""
        return int(self.database.value("SELECT count(*) FROM dbsync.sent WHERE acknowledged_at IS NULL"))


class Field:
    """Three laptops, a driver, a community server and the centre. Nobody serves unless it is said."""

    def __init__(self, folder: Path, pair: Pair, databases: Databases, stack: ExitStack) -> None:
        self.folder, self._databases = folder, databases
        first, second, third = (prepared(databases, pair, SCHEMA) for _ in range(3))
        self.central = Node(folder, "central", first.upstream, free_port(), "", 0)
        self.community = Node(folder, "community", second.upstream, free_port(), "central", self.central.port)
        self.line = stack.enter_context(Proxy(self.community.port))
        self.laptops = [
            Node(folder, f"field-0{number}", database, free_port(), "community", self.line.port)
            for number, database in enumerate((first.source, second.source, third.source), start=1)
        ]
        self._capture(self.community, self.central)
        self.community.knows(self.central, passes_on=True)
        self.driver = Relay(folder)
        self.driver.upstream_is(f"http://127.0.0.1:{self.line.port}", self.community.keys.public)
        admit(self.community.database, "driver", Keys.load(self.driver.folder / "keys"), role=Role.RELAY)
        for laptop in self.laptops:
            self._capture(laptop, self.community)
            laptop.knows(self.community)
            laptop.meets(self.driver)

    def _capture(self, node: Node, above: Node) -> None:
        with Pipeline(node.database, above.database, TABLES, node=node.name):
            pass  # its triggers stay, and it is not to look like a link of its own
        node.database.sql("DELETE FROM dbsync.link")

    @contextmanager
    def line_to(self, server: Node) -> Iterator[None]:
        """Let a server be in reach."""
        process = ServiceProcess(server.folder, command=("serve",))
        before = len(process.said("serving")) if process.log.exists() else 0
        with process:
            process.wait_for("serving", before + 1)
            yield

    def cut(self, way: Way, work: Callable[[], object]) -> None:
        """Have the line to the community cut in the middle of something, which gets over it or says so."""
        broken = self.line.broken
        self.line.arm(Fault.CUT, way, 1_000 if way is Way.DOWN else 6_000)
        with suppress(Unreachable):
            work()
        assert self.line.broken == broken + 1

    def driver_visits(self, *laptops: Node) -> None:
        """Let the driver meet laptops on the local network."""
        with self.driver.within():
            for laptop in laptops:
                met = relays.visit(laptop.config)
                assert [one.trouble for one in met] == [None]

    def driver_comes_home(self) -> None:
        """Let the driver reach the server."""
        with opened(load_relay(self.driver.folder / "relay.toml")) as relay:
            assert relay.visit().troubled == 0

    def clone(self, laptop: Node) -> Node:
        """Copy a laptop's disk: the same name, the same keys, the same past."""
        version = laptop.database.version
        copy = self._databases.create(version, name="clone", template=laptop.database.name)
        twin = object.__new__(Node)
        twin.folder, twin.name, twin.database = self.folder / "clone", laptop.name, copy
        twin.keys, twin.port = laptop.keys, free_port()
        shutil.copytree(laptop.folder, twin.folder)
        path = twin.folder / "dbsync.toml"
        path.write_text(path.read_text().replace(laptop.database.dsn, copy.dsn))
        return twin


@pytest.fixture
def field(pair: Pair, databases: Databases, tmp_path: Path) -> Iterator[Field]:
    with ExitStack() as stack:
        yield Field(tmp_path, pair, databases, stack)


def test_everything_goes_wrong_and_all_tiers_end_equal(field: Field) -> None:
    first, second, third = field.laptops
    community, central, folder = field.community, field.central, field.folder
    for laptop in field.laptops:
        laptop.works(1, 2)

    # One has a line that breaks, one meets the driver, one writes a stick that is lost on the way.
    with field.line_to(community):
        field.cut(Way.UP, first.ship)
        field.cut(Way.DOWN, first.ship)
        first.ship()
    assert first.waiting() == 0
    field.driver_visits(second)
    shutil.rmtree(third.export(folder / "lost"))
    third.works(3)
    stick = third.export(folder / "stick")

    # The stick is brought twice, the driver comes late, and the second laptop has found a line meanwhile.
    assert community.bring_in(stick) == []
    assert community.bring_in(stick) == []
    second.works(3)
    with field.line_to(community):
        second.ship()
        field.cut(Way.UP, field.driver_comes_home)
        field.driver_comes_home()
    third.export(stick)
    assert (first.waiting(), second.waiting(), third.waiting()) == (0, 0, 0)

    # The community has sticks only to the centre: one is lost, one is brought twice, one comes before the one before it.
    community.export(folder / "lost")
    shutil.rmtree(folder / "lost")
    up = community.export(folder / "up")
    assert central.bring_in(up) == []
    assert central.bring_in(up) == []
    community.export(up)
    assert community.waiting() == 0
    assert community.bring_in(stick) == []
    third.export(stick)
    on_stick = certificate.ask(third.config, stick)
    assert on_stick.complete
    assert on_stick.certificate is not None
    assert status(third.config).link.above == {"central": on_stick.certificate.number}

    # A laptop's disk is copied, and both go on working under one name; the driver has met one of them.
    twin = field.clone(third)
    third.works(4)
    twin.works(5)
    field.driver_visits(third)
    with field.line_to(community):
        twin.ship()
        assert third.ship() >= 0
        with opened(load_relay(field.driver.folder / "relay.toml")) as relay:
            relay.visit()  # what he has of the life that ended is known, or never will be
        third.ship()
        twin.ship()
    with field.line_to(central):
        assert community.ship() > 0

    all_hold_everything(field, twin)
    each_has_it_signed(field, twin)


def all_hold_everything(field: Field, twin: Node) -> None:
    everything = set().union(*(laptop.sees() for laptop in (*field.laptops, twin)))
    assert len({row[0] for row in everything}) == 10
    for tier in (field.community, field.central):
        assert tier.sees() == everything
        assert tier.database.value("SELECT count(*) FROM dbsync.quarantine") == 0


def each_has_it_signed(field: Field, twin: Node) -> None:
    with field.line_to(field.community):
        for laptop in (*field.laptops, twin):
            laptop.ship()
            certified = laptop.certificate()
            assert certified.complete, (laptop.name, certified)
            assert certified.certificate is not None
            assert certified.certificate.above == {"central": certified.certificate.number}
            assert status(laptop.config).link.above == certified.certificate.above
    with field.line_to(field.central):
        assert field.community.certificate().complete
