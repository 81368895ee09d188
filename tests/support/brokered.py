"""Nodes that leave their batches at a broker, and their upstream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from dbsync.config.load import load
from dbsync.config.models import Config
from dbsync.identity import registry
from dbsync.identity.keys import Keys
from dbsync.service.applying import Applying
from dbsync.service.run import Service
from dbsync.service.status import status
from tests.fault.fleet import Fleet, fleet
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.support.brokers import NatsServer
from tests.support.databases import Database, Databases, Pair
from tests.support.served import admit
from tests.support.service import until

SERVER = "community"
SILENCE = 5


@dataclass(frozen=True, kw_only=True)
class Brokered:
    """A programme of so many nodes, each with its folder, and all of them known to the brokers."""

    folder: Path
    fleet: Fleet
    server_keys: Keys
    url: str

    @property
    def upstream(self) -> Database:
        """Give the upstream's database."""
        return self.fleet.upstream

    @property
    def server(self) -> Path:
        """Give the upstream's folder."""
        return self.folder / SERVER

    def of(self, node: str) -> Path:
        """Give a node's folder."""
        return self.folder / node

    def config(self, node: str) -> Config:
        """Read a node's configuration, or the upstream's."""
        return load(self.of(node) / "dbsync.toml", {})

    def applying(self, workers: int = 1) -> Applying:
        """Give the upstream's side, in this process."""
        return Applying(config=self.config(SERVER), url=self.url, workers=workers)

    def insert(self, node: str, codes: Sequence[str]) -> None:
        """Make sites at a node, a transaction each, called as it is."""
        with self.fleet.sources[node].connect() as connection:
            for code in codes:
                connection.execute("INSERT INTO site (code) VALUES (%s)", (f"{node} {code}",))

    def leave(self, node: str) -> None:
        """Have a node look once."""
        Service(config=self.config(node)).run_once()

    def waiting(self, node: str) -> int:
        """Count the changes of a node that have no receipt."""
        return status(self.config(node)).pending

    def until_all_is_acknowledged(self) -> None:
        """Wait until every node has all its receipts; what everybody said is told where one has not."""
        for node in self.fleet.sources:
            try:
                until(lambda node=node: self.waiting(node) == 0, f"{node} has no receipts", 90)  # type: ignore[misc]
            except AssertionError as error:
                logs = {path.parent.name: path.read_text()[-3000:] for path in sorted(self.folder.glob("*/*.log"))}
                raise AssertionError("\n".join([str(error), *(f"{of}: {said}" for of, said in logs.items())])) from None

    def hold_that_all_is_there_once(self) -> None:
        """Hold that the upstream has what the nodes have, each node's in its order, and every batch as it left."""
        assert (
            self.upstream.sql("SELECT FROM dbsync.conflict") == self.upstream.sql("SELECT FROM dbsync.quarantine") == []
        )
        for node, source in self.fleet.sources.items():
            there = self.upstream.sql("SELECT code FROM site WHERE code LIKE %s ORDER BY id", [f"{node} %"])
            assert there == source.sql("SELECT code FROM site ORDER BY id"), node
            sent = source.sql("SELECT number, hash, changes FROM dbsync.sent ORDER BY number")
            asked = "SELECT number, hash, changes FROM dbsync.receipt WHERE node = %s ORDER BY number"
            assert self.upstream.sql(asked, [node]) == sent, node


def brokered(
    databases: Databases, pair: Pair, folder: Path, brokers: Sequence[NatsServer], *, nodes: int, more: str = ""
) -> Brokered:
    """Make them; ``more`` stands in the upstream's section [broker]."""
    made = fleet(databases, pair, SCHEMA, TABLES, nodes)
    keys = {name: Keys.generate() for name in (SERVER, *made.sources)}
    url = brokers[0].url + "".join(f",127.0.0.1:{one.port}" for one in brokers[1:])
    for name, own in keys.items():
        own.save(folder / name / "keys")
        if name == SERVER:
            continue
        admit(made.upstream, name, own)
        with made.sources[name].connect() as connection:
            registry.pin(connection, SERVER, keys[SERVER].public)
        (folder / name / "dbsync.toml").write_text(
            f'[node]\nname = "{name}"\nsource = "{made.sources[name].dsn}"\n[upstream]\nurl = "{url}"\nname = "{SERVER}"\n'
            f"[batch]\nmax_changes = 1\n[service]\nsilence = {SILENCE}\nretry_max = 0.5\n{TABLES}"
        )
    (folder / SERVER / "dbsync.toml").write_text(
        f'[node]\nname = "{SERVER}"\nsource = "{made.upstream.dsn}"\n[service]\nsilence = {SILENCE}\n'
        f'[broker]\nurl = "{url}"\nroom = "200MB"\nreplicas = {len(brokers)}\n{more}'
    )
    account = f"T{uuid4().hex[:12]}"
    known = {name: own.public for name, own in keys.items() if name != SERVER}
    for broker in brokers:
        broker.admit(account, SERVER, keys[SERVER].public, known)
    return Brokered(folder=folder, fleet=made, server_keys=keys[SERVER], url=url)
