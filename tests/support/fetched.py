"""A laptop that serves its outbox, and a driver who fetches, both within the test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dbsync.config.load import load, load_relay
from dbsync.config.models import Config
from dbsync.relay.middleman import opened
from dbsync.relay.pulling import Pulled
from dbsync.service.beside import beside
from dbsync.service.flags import Flag
from dbsync.web.outbox import Outbox
from tests.support.relayed import Relay
from tests.support.service import until


@contextmanager
def handing_out(folder: Path) -> Iterator[Config]:
    """Serve the outbox of the laptop in a folder."""
    config, stop, begun = load(folder / "dbsync.toml", {}), Flag(), threading.Event()
    outbox = Outbox(config=lambda: config, stop=stop, begun=begun.set)
    with beside(lambda: outbox.run(patient=False), name="outbox", end=stop.set, broken=begun.set):
        until(begun.is_set, "the outbox is not served")
        yield config


def fetched(relay: Relay, url: str) -> Pulled:
    """Let a driver fetch what waits at an address."""
    with opened(load_relay(relay.folder / "relay.toml")) as driver:
        found = driver.go_to(url)
    assert found is not None, "another process takes bundles in"
    return found
