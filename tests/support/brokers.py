"""nats-server, as its wheel brings it: started in a folder of its own at a free port, and stopped by its number."""

from __future__ import annotations

import atexit
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from dbsync.identity.keys import Keys, PublicKeys
from dbsync.transport import broker
from dbsync.transport.account import account
from dbsync.transport.broker import Broker
from tests.support.served import free_port
from tests.support.service import until

PROGRAM = Path(sys.executable).with_name("nats-server")


class NatsServer:
    """One server, or one member of a cluster."""

    def __init__(self, folder: Path, port: int, more: str = "") -> None:
        self.folder, self.port, self._more = folder, port, more
        self._accounts: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._write()

    @property
    def url(self) -> str:
        """Give its address."""
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and come back when it listens."""
        said = self._said("Server is ready")
        with (self.folder / "out").open("ab") as out:
            self._process = subprocess.Popen([PROGRAM, "-c", self.folder / "nats.conf"], stdout=out, stderr=out)
        until(lambda: self._said("Server is ready") > said, "nats-server does not start")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop it by its number."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def send(self, what: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(what)

    def admit(self, name: str, upstream: str, own: PublicKeys, nodes: Mapping[str, PublicKeys]) -> None:
        """Have it know the nodes of an upstream, in an account of theirs: what others have there is not seen in it."""
        self._accounts[name] = account(upstream, own, nodes, name=name)
        self._write()
        if self._process is not None:
            said = self._said("Reloaded server configuration")
            self.send(signal.SIGHUP)
            until(lambda: self._said("Reloaded server configuration") > said, "nats-server does not reload")

    @contextmanager
    def meddler(self, upstream: str, keys: Keys) -> Iterator[Broker]:
        """Give a connection as the upstream itself."""
        with broker.opened(self.url, keys, node=upstream, ca=None, silence=10) as found:
            yield found

    def _said(self, words: str) -> int:
        log = self.folder / "log"
        return log.read_text().count(words) if log.exists() else 0

    def _write(self) -> None:
        accounts = "\n".join(text[text.index("{") + 1 : text.rindex("}")] for text in self._accounts.values())
        (self.folder / "nats.conf").write_text(
            f'listen: "127.0.0.1:{self.port}"\nserver_name: "{self.folder.name}"\nlog_file: "{self.folder}/log"\n'
            f'jetstream {{ store_dir: "{self.folder}/store", max_file_store: 1TB, max_memory_store: 64MB }}\n'
            f"{self._more}\naccounts {{ {accounts} }}\n"
        )


def cluster(folder: Path, members: int) -> list[NatsServer]:
    """Give the members of a cluster, not started."""
    routes = [free_port() for _ in range(members)]
    to_all = ", ".join(f'"nats-route://127.0.0.1:{port}"' for port in routes)
    return [
        NatsServer(
            folder / f"m{place}",
            free_port(),
            f'cluster {{ name: "three", listen: "127.0.0.1:{port}", routes: [{to_all}] }}\n',
        )
        for place, port in enumerate(routes)
    ]


@cache
def shared() -> NatsServer:
    """Give the one server of this process of tests: each test has an account of its own there."""
    folder = tempfile.TemporaryDirectory(prefix="dbsync-nats-")
    server = NatsServer(Path(folder.name) / "alone", free_port())
    server.start()

    def end() -> None:
        server.stop()
        folder.cleanup()

    atexit.register(end)
    return server
