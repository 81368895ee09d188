"""A middleman's laptop in a folder, and what a person types there."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import uvicorn

from dbsync.config.load import load_relay
from dbsync.identity.keys import Keys, PublicKeys
from dbsync.relay.middleman import begin, opened
from tests.integration.commands import Done, dbsync
from tests.support.served import free_port
from tests.support.service import ServiceProcess, until


class Relay:
    """A relay's folder; it listens on this computer only while it is ``open``."""

    def __init__(self, folder: Path, name: str = "driver") -> None:
        self.folder, self.name, self.port = folder / name, name, free_port()
        begin(self.folder, name, f"127.0.0.1:{self.port}")

    @property
    def url(self) -> str:
        """Give its address."""
        return f"http://127.0.0.1:{self.port}"

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

    def held(self) -> list[str]:
        """List the bundles in custody."""
        found: Any = json.loads(self.must("status", "--json"))
        return [held["file"] for held in found["held"]]

    @contextmanager
    def within(self) -> Iterator[None]:
        """Let it take bundles without a process of its own, and bring nothing on."""
        with opened(load_relay(self.folder / "relay.toml")) as relay:
            settings = uvicorn.Config(relay.house().app(), port=self.port, log_config=None, lifespan="off")
            server = uvicorn.Server(settings)
            thread = threading.Thread(target=server.run)
            thread.start()
            try:
                until(lambda: server.started, "the relay does not start")
                yield
            finally:
                server.should_exit = True
                thread.join()

    @contextmanager
    def open(self) -> Iterator[ServiceProcess]:
        """Let it take bundles."""
        process = ServiceProcess(self.folder, command=("relay", "run"))
        before = len(process.said("serving")) if process.log.exists() else 0
        with process:
            process.wait_for("serving", before + 1)
            yield process
