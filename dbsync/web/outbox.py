"""The outbox of a laptop, served: by ``dbsync run`` beside its own work, or alone by ``dbsync serve --outbox``."""

from __future__ import annotations

import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
from anyio import CapacityLimiter
from starlette.applications import Starlette

from dbsync.config.models import Config
from dbsync.errors import ConfigError
from dbsync.identity.keys import SIGNING_FILE, Keys
from dbsync.identity.messages import Request
from dbsync.identity.registry import Peer
from dbsync.identity.rotation import Succession, successions
from dbsync.model.program import Program
from dbsync.service.beside import beside, nothing
from dbsync.service.flags import Flag, raised_by
from dbsync.service.lending import Lending
from dbsync.service.notify import notify
from dbsync.service.offers import Offers
from dbsync.service.shelves import Shelves
from dbsync.service.upkeep import keep_small
from dbsync.service.watch import watched
from dbsync.web.door import Door, Said
from dbsync.web.edge import Edge
from dbsync.web.hatch import Hatch, RelaysOnly
from dbsync.web.local import OUTBOX, SUCCESSIONS
from dbsync.web.says import base64_text
from dbsync.web.serve import ready

CONNECTIONS = 4
"""To the database, beside those that hold the link."""
THREADS = 8
"""Requests that are answered at the same time; the others wait."""
LOOK = 0.5
"""Seconds between two looks whether to end, or to begin anew."""
AGAIN = 30.0
"""Seconds after which an address is tried again that could not be listened at."""

log = structlog.get_logger()


def application(config: Callable[[], Config], keys: Keys, lending: Lending, offers: Offers) -> Starlette:
    """Give what relays reach. Those that were away when the keys became others are told so by the keys that they know."""
    hatch = Hatch(offers=offers, connections=lending.one)
    door = Door(keys=keys, remedy=f"dbsync enrol --relay URL CODE   (on {config().node.name})")

    def check(request: Request, body: bytes) -> Peer | Said:
        with lending.one() as connection:
            return door.check(RelaysOnly(connection), request, body)

    def alive() -> None:
        with lending.one() as connection:
            connection.execute("SELECT 1")

    edge = Edge(
        door=door,
        silence=config().service.silence,
        threads=CapacityLimiter(THREADS),
        check=check,
        alive=alive,
        public={SUCCESSIONS.name: _said(successions(Path(config().node.keys)))},
    )
    return edge.app(
        OUTBOX,
        {
            "time": hatch.time,
            "lay_out": hatch.lay_out,
            "outbox_part": hatch.part,
            "outbox_taken": hatch.taken,
            "bring_receipts": hatch.receipts,
            "bring_certificate": hatch.certificate,
            "papers": hatch.papers,
            "bring_answer": hatch.answer,
            "bring_arrived": hatch.arrived,
        },
    )


def _said(found: Iterable[Succession]) -> Said:
    told = [{"old": one.old, "signature": base64_text(one.signature), "proof": base64_text(one.proof)} for one in found]
    return Said(status=200, body={"successions": told})


def serve_alone(config: Config) -> None:
    """Serve a node's outbox, and keep its log small, until told to stop. Raises ConfigError where that cannot be."""
    _ = config.upstream  # without one there is nothing to hand out
    stop, ended = Flag(), threading.Event()
    with (
        raised_by({signal.SIGTERM: stop, signal.SIGINT: stop}),
        watched(config, Program.SERVE),
        beside(partial(keep_small, config, ended), name="upkeep", end=ended.set, broken=stop.set),
    ):
        Outbox(config=lambda: config, stop=stop, begun=lambda: notify("READY=1")).run(patient=False)
        notify("STOPPING=1")


@contextmanager
def served_beside(config: Callable[[], Config], stop: Flag) -> Iterator[None]:
    """While inside, serve a node's outbox; a bug there stops everything."""
    outbox = Outbox(config=config, stop=stop)
    with beside(lambda: outbox.run(patient=True), name="outbox", end=stop.set, broken=stop.set):
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbox:
    """Serves one node's bundles to relays, until told to stop."""

    config: Callable[[], Config]
    """As it is now: another address, or other keys, are taken up by themselves."""
    stop: Flag
    begun: Callable[[], None] = nothing
    """Called whenever relays are answered from now on."""

    def run(self, *, patient: bool) -> None:
        """Serve. Where the address cannot be listened at, it is tried again if ``patient``, else ConfigError is raised."""
        told = ""
        while not self.stop.is_set():
            try:
                self._serve()
                told, patient = "", True
            except ConfigError as error:
                if not patient:
                    raise
                if str(error) != told:
                    told = str(error)
                    log.warning("outbox_not_served", reason=told, hint=error.hint)
                self.stop.wait(AGAIN)

    def _serve(self) -> None:
        """Serve as things are now, until they are otherwise."""
        config = self.config()
        listening, stamp = config.outbox, _stamp(config)
        if listening is None:
            raise ConfigError(
                "no relay can come for bundles",
                where="[outbox]",
                why="it is not said where they would find them",
                hint='write [outbox] with listen = "0.0.0.0:8444"',
            )
        keys = Keys.load(Path(config.node.keys))
        with ExitStack() as stack:
            room = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dbsync-outbox-"))).resolve()
            lending = Lending(
                config.node.source,
                where="source",
                application="dbsync outbox",
                most=CONNECTIONS,
                silence=config.service.silence,
            )
            offers = Offers(config=self.config, shelves=Shelves(folder=room), stop=self.stop.is_set)
            app = application(self.config, keys, lending, offers)
            serving = stack.enter_context(ready(app, listening, keys, alone=False))
            stack.callback(lending.close)
            lending.open()
            with beside(serving.run, name="outbox", end=serving.stop) as thread:
                log.info("outbox_served", host=listening.host, port=listening.port, tls=serving.tls)
                self.begun()
                while thread.is_alive() and not self.stop.wait(LOOK):
                    now = self.config()
                    if (now.outbox, _stamp(now)) != (listening, stamp):
                        break


def _stamp(config: Config) -> object:
    """Tell the keys from others that have taken their place; None while there are none."""
    try:
        found = (Path(config.node.keys) / SIGNING_FILE).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
