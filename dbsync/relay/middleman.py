"""A relay as a program: its folder, its service, and what a person asks of it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from dbsync.alerts.kept import Kept
from dbsync.config import web
from dbsync.config.models import RelayConfig
from dbsync.errors import ConfigError, DbsyncError, Interrupted, Unreachable, UsageError
from dbsync.identity.code import read_code, write_code
from dbsync.identity.keys import Keys
from dbsync.identity.registry import Peer
from dbsync.model.program import Program
from dbsync.pulse import PULSE
from dbsync.relay.alerting import Way, alerting
from dbsync.relay.app import House
from dbsync.relay.forward import PATIENCE, SILENCE, Delivered, Forward
from dbsync.relay.papers import Enclosed
from dbsync.relay.places import Place
from dbsync.relay.pulling import Pulled, Pulling
from dbsync.relay.records import Held, Records
from dbsync.relay.rounds import Rounds, visited
from dbsync.relay.spool import Spool
from dbsync.relay.sticks import Taken, take_in
from dbsync.service.beside import beside
from dbsync.service.watch import watching
from dbsync.transport.enrol import Met, enrol
from dbsync.transport.line import Line
from dbsync.transport.trust import AUTHORITIES, Trust
from dbsync.web.serve import ready

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

FILE = "relay.toml"
RECORDS = "relay.db"
PAUSE = 5.0
"""Seconds between two tries to reach the upstream while something is to be brought there."""
FULL = 1 << 20
"""Bytes: a disk that has fewer is full."""
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
    papers: tuple[Enclosed, ...]
    places: tuple[Place, ...]
    """Where laptops are visited."""
    trouble: str | None
    """What is in the way to the upstream."""
    alerts: tuple[Kept, ...] = ()
    """What stands, where [alerts] names somebody."""


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
            papers=tuple(self.records.papers.all()),
            places=tuple(self.records.places.all()),
            trouble=self._out_of_room() or self.records.in_the_way(),
            alerts=self.records.told.all() if self.config.alerts.hooks else (),
        )

    def _out_of_room(self) -> str | None:
        """Say so where the disk of the spool is full: then nothing else can be noted either."""
        folder = self.config.relay.spool
        return f"the disk of {folder} is full" if shutil.disk_usage(folder).free < FULL else None

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
        trust = Trust(ca=upstream.ca) if upstream is not None else AUTHORITIES
        with Line(url, silence=SILENCE, trust=trust) as line:
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
        """Bring what is in custody to the upstream, once; what was in the way is kept for whoever asks how it is."""
        try:
            done = Forward(config=self.config, keys=self.keys, records=self.records, spool=self.spool).visit()
        except DbsyncError as error:
            with suppress(DbsyncError):  # the disk may be full
                self.records.note_visit(str(error))
            raise
        self.records.note_visit(None)
        return done

    def run(self) -> None:
        """Take bundles, fetch them, and push them on whenever the upstream is there, until told to stop.

        A bug in any of the three ends the whole: it would else go on taking what nobody brings on.
        """
        stop, way = threading.Event(), Way()
        push_on = partial(self._push_on, way)
        with ExitStack() as stack:
            serving = stack.enter_context(ready(self.house().app(), self.config.serve, self.keys))
            stack.enter_context(self.records.taking(PATIENCE))
            self.spool.tidy()
            for name, work in (("pushing on", push_on), ("rounds", self._rounds(stop.is_set).run)):
                stack.enter_context(beside(partial(work, stop), name=name, end=stop.set, broken=serving.stop))
            if self.config.alerts.is_wanted:
                stack.enter_context(alerting(self.config, self.records, way))
            stack.enter_context(watching(self.config.metrics.of_server, Program.RELAY, self._observed, self._ready))
            serving.run()

    def go_to(self, url: str) -> Pulled | None:
        """Go to a laptop's address from now on, and at once, unless the service does: then None. Raises what is in the way."""
        problem = web.problem(url)
        if problem is not None:
            raise UsageError("that is no laptop's address", where="URL", why=problem)
        places = self.records.places
        places.remember(url)
        with ExitStack() as stack:
            try:
                stack.enter_context(self.records.taking(0.0))
            except Interrupted:
                return None
            return visited(places, self._pulling(bool), url)

    def take_in(self, folder: Path) -> Taken:
        """Take what lies on a stick into custody, and bring receipts home on it."""
        return take_in(folder, self.records, self.spool)

    def _rounds(self, stop: Callable[[], bool]) -> Rounds:
        return Rounds(places=self.records.places, pulling=self._pulling(stop))

    def _pulling(self, stop: Callable[[], bool]) -> Pulling:
        return Pulling(keys=self.keys, records=self.records, spool=self.spool.pulled(), stop=stop)

    def _observed(self) -> Collector:
        from dbsync.relay.observed import Observed  # noqa: PLC0415 - most relays are asked by nobody

        return Observed(name=self.config.relay.name, records=self.records)

    def _ready(self) -> Mapping[str, Any]:
        return {"node": self.config.relay.name, "bundles": len(self.records.held())}

    def _push_on(self, way: Way, stop: threading.Event) -> None:
        """Visit the upstream again and again; say once what is in the way."""
        told = ""
        pause = 0.0
        while not stop.wait(pause):
            try:
                self.visit()
                PULSE.note_well()
                way.trouble, told, pause = None, "", PAUSE if self.records.held() else IDLE
            except DbsyncError as error:
                way.trouble = error
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
            folder=(folder / "bundles").resolve(),  # his own links lead where he wants
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
