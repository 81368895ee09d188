"""A relay as a program: its folder, its service, and what a person asks of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import structlog

from dbsync.config import web
from dbsync.config.models import RelayConfig
from dbsync.errors import ConfigError, DbsyncError, Unreachable, UsageError
from dbsync.identity.code import read_code, write_code
from dbsync.identity.keys import Keys
from dbsync.identity.registry import Peer
from dbsync.relay.app import House
from dbsync.relay.forward import SILENCE, Delivered, Forward
from dbsync.relay.records import Held, Records
from dbsync.relay.spool import Spool
from dbsync.transport.enrol import Met, enrol
from dbsync.transport.line import Line
from dbsync.web.serve import ready

FILE = "relay.toml"
RECORDS = "relay.db"
PAUSE = 5.0
"""Seconds between two tries to reach the upstream while something is to be brought there."""
IDLE = 60.0
"""Seconds between two looks for receipts while nothing is."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a relay holds and whom it knows."""

    name: str
    upstream: Peer | None
    nodes: tuple[Peer, ...]
    held: tuple[Held, ...]


@dataclass(frozen=True, kw_only=True)
class Middleman:
    """A relay at work. Made by :func:`opened`."""

    config: RelayConfig
    keys: Keys
    records: Records
    spool: Spool

    def standing(self) -> Standing:
        """Say what it holds."""
        return Standing(
            name=self.config.relay.name,
            upstream=self.records.upstream(),
            nodes=tuple(self.records.nodes()),
            held=tuple(self.records.held()),
        )

    def invite(self, name: str, expires: timedelta) -> str:
        """Let a node come; give the code to be typed there."""
        return write_code(self.records.invite(name, expires), self.keys.public.fingerprint)

    def enrol(self, url: str, code: str) -> Met:
        """Exchange keys with the upstream, and believe nobody else's receipts to be its."""
        problem = web.problem(url)
        if problem is not None:
            raise UsageError("that is no upstream's address", where="URL", why=problem)
        invitation = read_code(code)
        upstream = self.config.upstream
        ca = Path(upstream.ca) if upstream is not None and upstream.ca else None
        with Line(url, silence=SILENCE, ca=ca) as line:
            met = enrol(
                line,
                self.keys,
                name=self.config.relay.name,
                secret=invitation.secret,
                head=invitation.fingerprint_head,
            )
        self.records.pin(met.name, met.keys)
        return met

    def house(self) -> House:
        """Give what nodes reach."""
        return House(
            name=self.config.relay.name, keys=self.keys, records=self.records, spool=self.spool, silence=SILENCE
        )

    def visit(self) -> Delivered:
        """Bring what is in custody to the upstream, once."""
        return Forward(config=self.config, keys=self.keys, records=self.records, spool=self.spool).visit()

    def run(self) -> None:
        """Take bundles, and push them on whenever the upstream is there, until told to stop."""
        stop = threading.Event()
        with ready(self.house().app(), self.config.serve) as serve:
            self.spool.tidy()  # nobody else takes bundles into this spool: the address is ours
            pushing = threading.Thread(target=self._push_on, args=(stop,), name="pushing on")
            pushing.start()
            try:
                serve()
            finally:
                stop.set()
                pushing.join()

    def _push_on(self, stop: threading.Event) -> None:
        """Visit the upstream again and again; say once what is in the way."""
        told = ""
        pause = 0.0
        while not stop.wait(pause):
            try:
                self.visit()
                told, pause = "", PAUSE if self.records.held() else IDLE
            except DbsyncError as error:
                pause = max(PAUSE, (error.after or 0.0) if isinstance(error, Unreachable) else 0.0)
                if str(error) != told:
                    told = str(error)
                    log.warning("upstream_unreachable" if error.try_again else "upstream_refuses", reason=told)


@contextmanager
def opened(config: RelayConfig) -> Iterator[Middleman]:
    """Open a relay's folder. Raises ConfigError where it is none."""
    keys = Keys.load(Path(config.relay.keys))
    folder = Path(config.relay.spool)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "bundles").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            "the spool cannot be used", where=str(folder), why=(error.strerror or str(error)).lower()
        ) from None
    records = Records(folder / RECORDS)
    try:
        spool = Spool(
            folder=folder / "bundles",
            relay=config.relay.name,
            keys=keys,
            records=records,
            most=config.serve.batch_bytes,
        )
        yield Middleman(config=config, keys=keys, records=records, spool=spool)
    finally:
        records.close()


def begin(folder: Path, name: str, listen: str) -> Path:
    """Make a relay's folder: its configuration and its keys. Raises ConfigError where there is one already."""
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x") as file:
            file.write(f'[relay]\nname = "{name}"\n\n[serve]\nlisten = "{listen}"\n')
    except OSError as error:
        raise ConfigError(
            "no relay was made here", where=str(path), why=(error.strerror or str(error)).lower()
        ) from None
    Keys.generate().save(folder / "keys")
    return path
