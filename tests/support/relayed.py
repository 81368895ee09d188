"""A middleman's laptop in a folder, and what a person types there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from dbsync.config.load import load_relay
from dbsync.identity.keys import Keys, PublicKeys
from dbsync.model.findings import Finding, Severity
from dbsync.relay.middleman import begin, opened
from tests.integration.commands import Done, dbsync
from tests.support.served import free_port, in_thread
from tests.support.service import ServiceProcess


class Relay:
    """A relay's folder; it listens only while it is ``open``: to this computer, or to everybody over TLS."""

    def __init__(self, folder: Path, name: str = "driver", *, tls: bool = False) -> None:
        self.folder, self.name, self.port, self._tls = folder / name, name, free_port(), tls
        begin(self.folder, name, f"{'0.0.0.0' if tls else '127.0.0.1'}:{self.port}")

    @property
    def url(self) -> str:
        """Give its address."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def bundles(self) -> Path:
        """Give the folder of what it holds."""
        return self.folder / "spool" / "bundles"

    def upstream_is(self, url: str, keys: PublicKeys) -> None:
        """Know an upstream, as if it had been enrolled with it."""
        with (self.folder / "relay.toml").open("a") as file:
            file.write(f'[upstream]\nurl = "{url}"\n')
        with opened(load_relay(self.folder / "relay.toml")) as relay:
            relay.records.pin("community", keys)

    def admit(self, node: str, keys: Keys) -> PublicKeys:
        """Let a node in, as its code would; give the relay's own keys."""
        with opened(load_relay(self.folder / "relay.toml")) as relay:
            relay.records.enrol(node, relay.records.invite(node, timedelta(days=1)), keys.public)
            return relay.keys.public

    def type(self, *words: str) -> Done:
        """Type ``dbsync relay ...`` there."""
        return dbsync(self.folder, "relay", *words)

    def must(self, *words: str) -> str:
        """Type one that has to exit 0."""
        done = self.type(*words)
        assert done.code == 0, done.err
        return done.out

    def wrong(self) -> list[Finding]:
        """Check it, and give what is not as it should be."""
        done = self.type("check", "--json")
        assert done.code in (0, 1), done.err
        found = [Finding(**{**one, "severity": Severity(one["severity"])}) for one in done.json["findings"]]
        return [one for one in found if one.severity is not Severity.OK]

    def held(self) -> list[str]:
        """List the bundles in custody."""
        found: Any = json.loads(self.must("status", "--json"))
        return [held["file"] for held in found["held"]]

    @contextmanager
    def within(self) -> Iterator[None]:
        """Let it take bundles without a process of its own, and bring nothing on."""
        with opened(load_relay(self.folder / "relay.toml")) as relay, in_thread(relay.house().app(), self.port):
            yield

    @contextmanager
    def open(self) -> Iterator[ServiceProcess]:
        """Let it take bundles."""
        process = ServiceProcess(self.folder, command=("relay", "run"))
        before = len(process.said("serving")) if process.log.exists() else 0
        with process:
            process.wait_for("serving", before + 1)
            yield process
