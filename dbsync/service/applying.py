"""Taking in what nodes left at a broker: workers, each with its own connections, as many as the configuration says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import structlog

from dbsync import schema, tally
from dbsync.apply.applier import Applier
from dbsync.config.models import Config
from dbsync.errors import DbsyncError, NotAdmitted, PrivilegeError, Refusal, SchemaVersionError
from dbsync.identity.keys import Keys
from dbsync.postgres import connect, let_server_notice, translated
from dbsync.pulse import PULSE
from dbsync.service.collecting import Collecting, Outcome
from dbsync.service.flags import Flag
from dbsync.service.rota import Rota
from dbsync.transport import broker
from dbsync.transport.broker import Broker, Room
from dbsync.transport.subjects import Subjects

IDLE_FIRST = 0.01
"""Seconds to the first look at the broker after something came."""
IDLE_SHARE = 0.1
"""Of the time in which nothing came: so much passes until the next look."""
PAUSE = 1.0
"""Seconds after which a worker that met something in its way tries again."""
TEND = 5.0
"""Seconds between two looks at what waits in quarantine here."""
_NOBODY = UUID(int=0)

log = structlog.get_logger()


@dataclass(slots=True)
class Count:
    """What was brought in."""

    batches: int = 0
    changes: int = 0
    held: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, outcome: Outcome) -> None:
        """Add a turn."""
        with self.lock:
            self.batches += outcome.batches
            self.changes += outcome.changes
            self.held += outcome.held


@dataclass(kw_only=True)
class Applying:
    """One process of them. Others beside it, on this machine or elsewhere, take turns with it by locks in the database."""

    config: Config
    url: str
    workers: int
    stop: Flag = field(default_factory=Flag)
    rota: Rota = field(default_factory=Rota)
    count: Count = field(default_factory=Count)
    _keys: Keys = field(init=False)
    _seen: float = 0.0
    _came: float = field(default_factory=time.monotonic)
    _tend: float = 0.0
    _trouble: str = ""
    _prepared: bool = False
    _began: bool = False
    """A worker had all that it needs: what is missing since was taken away, and may be given back while nobody is near."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._keys = Keys.load(Path(self.config.node.keys))

    def prepare(self) -> None:
        """Find out now what no waiting mends. Raises what stands in the way, a broker or a database that is away too."""
        with self._hands():
            pass

    def run(self) -> None:
        """Take in whatever comes until told to stop; whatever is away is waited for."""
        self._start(self._stay)

    def run_once(self) -> None:
        """Take in all that is there and can be, and know what is left. Raises what stands in the way."""
        self._start(self._drain)
        with self.connected() as there:  # a worker may have counted last what another one was taking in
            self._count(there)

    @contextmanager
    def connected(self) -> Iterator[Broker]:
        """Open a connection to the broker."""
        config = self.config
        with broker.opened(
            self.url, self._keys, node=config.node.name, ca=config.broker.ca, silence=config.service.silence
        ) as found:
            yield found

    def _start(self, work: Callable[[], None]) -> None:
        """Have as many do the same; what one of them does not survive ends all."""
        with ThreadPoolExecutor(self.workers, thread_name_prefix="worker") as pool:
            futures = [pool.submit(work) for _ in range(self.workers)]
            try:
                while wait(futures, timeout=1.0, return_when=FIRST_EXCEPTION).not_done:
                    if any(future.done() and future.exception() for future in futures):
                        break
            finally:
                if any(future.done() and future.exception() for future in futures):
                    self.stop.set()
        for future in futures:
            future.result()

    def _stay(self) -> None:
        while not self.stop.is_set():
            try:
                with self._hands() as hands:
                    while not self.stop.is_set():
                        if not self._one(hands):
                            self._tend_quarantine(hands)
                            self.stop.wait(self._pace())
            except DbsyncError as error:
                if not self._is_worth_waiting(error):
                    raise
                self._prepared = False  # it may be another broker, or one that has lost everything
                self._say(error)
                self.stop.wait(PAUSE)

    def _is_worth_waiting(self, error: DbsyncError) -> bool:
        taken_away = self._began and error.where == "upstream"
        return (
            error.try_again
            or isinstance(error, NotAdmitted)
            or (taken_away and isinstance(error, PrivilegeError | SchemaVersionError | Refusal))
        )

    def _drain(self) -> None:
        with self._hands() as hands:
            while not self.stop.is_set():
                self._look(hands, fresh=0.0)
                if not self._one(hands):
                    if not self.rota.is_at_work:
                        return
                    time.sleep(IDLE_FIRST)

    @contextmanager
    def _hands(self) -> Iterator[Collecting]:
        """Open what a worker has at hand."""
        silence = self.config.service.silence
        with (
            self.connected() as there,
            connect(
                self.config.node.source, name="upstream", application="dbsync apply", silence=silence
            ) as connection,
        ):
            schema.require(connection, "upstream")
            self._prepare(there)
            self._began = True
            with translated("upstream"):
                let_server_notice(connection, silence)
                applier = Applier(connection, self.config.policies)
                yield Collecting(
                    config=self.config,
                    keys=self._keys,
                    broker=there,
                    connection=connection,
                    applier=applier,
                    stop=self.stop.is_set,
                )

    def _prepare(self, there: Broker) -> None:
        """Have the streams kept as they are to be."""
        with self._lock:
            if self._prepared:
                return
            subjects, wanted = Subjects(self.config.node.name), self.config.broker
            room = Room(replicas=wanted.replicas, messages=wanted.messages, size=wanted.room_bytes)
            there.keep(subjects.batches_stream, subjects.all_batches, room, newest_only=False)
            papers = Room(replicas=wanted.replicas, messages=1)
            there.keep(subjects.papers_stream, subjects.all_papers, papers, newest_only=True)
            self._prepared = True

    def _one(self, hands: Collecting) -> bool:
        """Have one node's turn; say whether anything came of it."""
        PULSE.beat()
        self._look(hands, fresh=self._pace())
        node = self.rota.next(time.monotonic())
        if node is None:
            return False
        letters = self.rota.waiting.get(node, 0)
        outcome: Outcome | None = None
        try:
            with hands.turn(node) as mine:
                outcome = hands.collect(node) if mine else None
        finally:
            self._end(node, letters, outcome)
        if outcome is None:
            return False
        self._trouble = ""
        return self._note(node, outcome)

    def _end(self, node: str, letters: int, outcome: Outcome | None) -> None:
        """Say when a node's turn comes again. A member of a cluster that reads may know of less than the one that counts: then soon."""
        now = time.monotonic()
        if outcome is None:
            self.rota.rest(node, now, letters=None)
        elif outcome.more or outcome.letters:
            self.rota.give_back(node, now, left=max(letters - outcome.letters, int(outcome.more)))
        else:
            self.rota.rest(node, now, letters=letters if outcome.seen >= letters else None)

    def _note(self, node: str, outcome: Outcome) -> bool:
        self.count.add(outcome)
        if outcome.batches:
            self._came = time.monotonic()
            log.info("batches_taken", node=node, batches=outcome.batches, changes=outcome.changes, held=outcome.held)
        return outcome.letters > 0

    def _look(self, hands: Collecting, *, fresh: float) -> None:
        """See what is at the broker, unless another worker did a moment ago."""
        with self._lock:
            if time.monotonic() < self._seen + fresh:
                return
            self._seen = time.monotonic()
        self._count(hands.broker)

    def _count(self, there: Broker) -> None:
        subjects = Subjects(self.config.node.name)
        found = there.backlog(subjects.batches_stream, subjects.all_batches)
        waiting = {subjects.node_of(subject): letters for subject, letters in found.items()}
        self.rota.see(waiting)
        tally.note_left(waiting)

    def _pace(self) -> float:
        quiet = time.monotonic() - self._came
        return min(max(IDLE_FIRST, quiet * IDLE_SHARE), self.config.service.poll_interval)

    def _tend_quarantine(self, hands: Collecting) -> None:
        """Try again what waited for what has come meanwhile."""
        with self._lock:
            if time.monotonic() < self._tend:
                return
            self._tend = time.monotonic() + TEND
        hands.applier.tend(_NOBODY)

    def _say(self, error: DbsyncError) -> None:
        """Say what is in the way, once in a row."""
        if str(error) != self._trouble:
            self._trouble = str(error)
            log.warning("apply_waits", reason=str(error), hint=error.hint)
