"""The route over a broker. What the node left lies there, and so does what the upstream signed for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest

from dbsync.bundle.letters import read_stamp
from dbsync.config.load import load
from dbsync.errors import Unreachable
from dbsync.service.applying import Applying
from dbsync.service.run import Service
from dbsync.transport import broker
from dbsync.transport.broker import Broker, Message
from dbsync.transport.subjects import Subjects
from tests.conformance.route import MIDDLE, NODE, SERVER, Driver, Spoiled
from tests.support.brokers import shared
from tests.support.databases import Pair
from tests.support.proxy import Fault, Proxy, Way

SUBJECTS = Subjects(SERVER)
ROUNDS = 6
"""How often both programs look, where they run on and on: what was lost is missed, asked for, left again and brought in."""


class ByNats(Driver):
    """A broker on the way. A parcel is a bundle: all its letters."""

    def __init__(self, folder: Path, pair: Pair, stack: ExitStack) -> None:
        super().__init__(folder, pair, stack)
        self._server = shared()
        self._server.admit(f"T{uuid4().hex[:12]}", SERVER, self.server_keys.public, {NODE: self.keys.public})
        self.network = stack.enter_context(Proxy(self._server.port))
        self.line = stack.enter_context(Proxy(self._server.port))
        self._write("dbsync.toml", f"nats://127.0.0.1:{self.network.port}")
        (self.server / "dbsync.toml").write_text(
            f'[node]\nname = "{SERVER}"\nsource = "{self.upstream.dsn}"\n[broker]\nreplicas = 1\nworkers = 1\nroom = "100MB"\n'
        )
        self._applying().prepare()

    def leave(self) -> None:
        """Leave it at the broker."""
        Service(config=self.config).run_once()

    def arrive(self) -> None:
        """Bring in what lies there."""
        self._applying().run_once()

    def home(self) -> None:
        """Find the receipts there."""
        self.leave()

    def round(self) -> None:
        """Have both programs look as they do all the time."""
        for _ in range(ROUNDS):
            self.leave()
            self.arrive()
            self.home()
            if not self.waiting():
                return

    def away(self) -> None:
        """Answer nothing."""
        self.network.deafen()

    def back(self) -> None:
        """Answer again."""
        self.network.mend()

    def cut(self, way: Way) -> None:
        """Cut the line between the broker and the upstream: as a bundle comes, or as its receipt goes."""
        of_line, after = (Way.DOWN, MIDDLE[Way.UP]) if way is Way.UP else (Way.UP, 3_000)
        self.line.arm(Fault.CUT, of_line, after)
        with pytest.raises(Unreachable):
            self.arrive()
        assert self.line.broken == 1
        assert len(self.sites()) == (0 if way is Way.UP else 3000)

    def lose_receipts(self) -> None:
        """Empty the node's subject."""
        with self._as_upstream() as there:
            found = there.last(SUBJECTS.papers_stream, SUBJECTS.papers(NODE))
            assert found is not None
            there.remove(SUBJECTS.papers_stream, found.seq)

    def parcels(self) -> list[str]:
        """Name the bundles."""
        with self._as_upstream() as there:
            return sorted({_name(letter) for letter in _letters(there)})

    def lose(self, parcel: str) -> None:
        """Remove its letters."""
        with self._as_upstream() as there:
            for letter in _letters(there):
                if _name(letter) == parcel:
                    there.remove(SUBJECTS.batches_stream, letter.seq)

    def copies(self) -> Mapping[str, object]:
        """Copy the letters."""
        with self._as_upstream() as there:
            letters = list(_letters(there))
        return {name: [one for one in letters if _name(one) == name] for name in {_name(one) for one in letters}}

    def put(self, copies: Mapping[str, object]) -> None:
        """Have them there again, as somebody who can do anything there."""
        for parcel, letters in copies.items():
            self.lose(parcel)
            self._leave(parcel, cast(list[Message], letters))

    def spoil(self, parcel: str, how: Spoiled) -> None:
        """Change the last letter."""
        *before, last = cast(list[Message], self.copies()[parcel])
        self.lose(parcel)
        self._leave(parcel, [*before, replace(last, data=how.of(last.data))])

    def _leave(self, parcel: str, letters: list[Message]) -> None:
        with broker.opened(self._server.url, self.keys, node=NODE, ca=None, silence=10) as there:
            for letter in letters:
                headers = {name: value for name, value in letter.headers.items() if name.startswith("Dbsync-")}
                there.publish(SUBJECTS.batches(NODE), letter.data, {**headers, "Dbsync-Bundle": parcel})

    def _applying(self) -> Applying:
        config = load(self.server / "dbsync.toml", {})
        return Applying(config=config, url=f"nats://127.0.0.1:{self.line.port}", workers=1)

    @contextmanager
    def _as_upstream(self) -> Iterator[Broker]:
        with self._server.meddler(SERVER, self.server_keys) as there:
            yield there


def _letters(there: Broker) -> Iterator[Message]:
    seq = 0
    while (letter := there.next(SUBJECTS.batches_stream, SUBJECTS.batches(NODE), seq)) is not None:
        seq = letter.seq + 1
        yield letter


def _name(letter: Message) -> str:
    stamp = read_stamp(letter.headers)
    assert stamp is not None
    return stamp.name.file()
