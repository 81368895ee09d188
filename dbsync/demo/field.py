"""The second act: no network but once. A driver's laptop, a stick that is lost, receipts that come home, certificates."""

from __future__ import annotations

import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dbsync.demo.agreement import Row, agreement, compare, extras
from dbsync.demo.places import UPSTREAM, Laptop
from dbsync.demo.processes import Answer, answer, clean_environment, dbsync, dbsync_service, stop, until
from dbsync.demo.stage import Stage
from dbsync.demo.telling import Teller
from dbsync.errors import DbsyncError

DRIVER = "driver"
WEEK = 12
"""People that Joseph registers far away."""
_SERVER = '[node]\nname = "{name}"\nsource = "{dsn}"\n\n[serve]\nlisten = "127.0.0.1:{port}"\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where commands are typed."""

    name: str
    folder: Path
    environment: Mapping[str, str]

    def command(self, *words: str) -> Answer:
        """Run a command of dbsync to its end."""
        return answer(dbsync(words, folder=self.folder, environment=self.environment))

    @contextmanager
    def service(self, port: int, *words: str) -> Iterator[None]:
        """Let a service run here that listens at a port."""
        log = self.folder / f"dbsync-{words[0]}.log"
        process = dbsync_service(folder=self.folder, environment=self.environment, log=log, words=words)
        try:
            until(lambda: _is_open(port, process, self.name), f"dbsync {words[0]} listens")
            yield
        finally:
            stop(process)


class FieldStory:
    """The act's chapters, played on a stage and told by a teller."""

    def __init__(self, stage: Stage, teller: Teller) -> None:
        self._stage, self._teller = stage, teller
        self._port, self._driver_port = _free_port(), _free_port()
        self._server = Machine(name=UPSTREAM, folder=stage.community.folder, environment=clean_environment())
        self._driver = Machine(name=DRIVER, folder=_made(stage.folder / DRIVER), environment=clean_environment())
        self._amina, self._joseph = (
            Machine(name=laptop.name, folder=laptop.folder, environment=laptop.environment) for laptop in stage.laptops
        )

    def tell(self) -> bool:
        """Tell everything; say whether all databases agree in the end."""
        own = self._meet_once()
        self._meet_the_driver()
        self._far_away()
        self._a_lost_stick()
        self._the_driver_comes_home()
        self._receipts()
        self._certificates()
        found = agreement(self._stage.laptops, own)
        for complaint in found.complaints():
            self._teller.bad(complaint)
        if list(found.complaints()):
            return False
        self._teller.good("Compared row by row by natural key: the server holds every row of both laptops. They agree.")
        return True

    def _meet_once(self) -> frozenset[Row]:
        teller, (amina, joseph) = self._teller, self._stage.laptops
        teller.chapter("Everybody meets once")
        teller.say("In the office there is a network. The server is reached over HTTPS, and knows nobody yet:")
        community = self._stage.community
        (self._server.folder / "dbsync.toml").write_text(
            _SERVER.format(name=UPSTREAM, dsn=community.dsn, port=self._port)
        )
        self._show(self._server, "nodes", "keys", "--new", quiet=True)
        self._show(self._server, "install-upstream", "--here", quiet=True)
        with self._serving():
            for machine, laptop in ((self._amina, amina), (self._joseph, joseph)):
                shown = machine is self._amina
                self._init(machine, laptop)
                self._show(machine, "install-triggers", quiet=True)
                code = self._show(self._server, "nodes", "invite", machine.name, quiet=not shown).output.strip()
                self._show(machine, "enrol", self._url, code, quiet=not shown)
                for words in (("backfill",), ("run", "--once")):
                    self._show(machine, *words, quiet=True)
        teller.say(
            "The code is good for one use: with it each has the other's key, and believes nobody else. The same on Joseph's"
            " laptop, then dbsync backfill and run --once on both."
        )
        return extras(compare(amina))

    def _meet_the_driver(self) -> None:
        teller = self._teller
        teller.chapter("A driver is asked to carry")
        teller.say("He has a laptop with dbsync on it: no PostgreSQL, no copy of the application.")
        self._show(self._driver, "relay", "init", DRIVER, "--listen", f"127.0.0.1:{self._driver_port}")
        with self._serving():
            code = self._show(self._server, "nodes", "invite", DRIVER, "--relay").output.strip()
            self._show(self._driver, "relay", "enrol", self._url, code)
        code = self._show(self._driver, "relay", "invite", self._amina.name).output.strip()
        with self._driving():
            self._show(self._amina, "enrol", "--relay", self._driver_url, code)

    def _far_away(self) -> None:
        teller, (amina, _) = self._teller, self._stage.laptops
        teller.chapter("No network, but the driver comes by")
        teller.say(
            "Amina registers Neema and sees her. The server is out of reach, so dbsync run hands over to the driver:"
        )
        amina.application.do("register", household="HH-41", village="Ahero", identifier="S-1001", name="Neema")
        amina.application.do("see", identifier="S-1001", code="1000")
        with self._driving():
            self._show(self._amina, "run", "--once")
        self._show(self._amina, "status")
        bundle = max((self._driver.folder / "spool" / "bundles").glob("*.dbsync"))
        if b"Neema" in bundle.read_bytes():
            raise DbsyncError("the driver can read what he carries", where=str(bundle))
        teller.say(
            f"He holds {bundle.name}, sealed for the server: Neema is nowhere to be read in it. His note is no receipt: the"
            " laptop keeps every change."
        )

    def _a_lost_stick(self) -> None:
        teller, (_, joseph) = self._teller, self._stage.laptops
        teller.chapter("A stick is lost")
        teller.say(
            f"Joseph works a week where nobody drives: {WEEK} people. He sends a stick with the bus, and it is lost:"
        )
        joseph.application.do("work_a_week", prefix="21", village="Muhoroni", people=WEEK)
        lost, stick = _made(self._stage.folder / "lost-stick"), _made(self._stage.folder / "stick")
        self._show(self._joseph, "bundle", "export", str(lost))
        shutil.rmtree(lost)
        joseph.application.do("register", household="HH-51", village="Muhoroni", identifier="S-2001", name="Baraka")
        teller.say(
            "Nobody can read it, and nothing is missing but time: the next one holds everything that has no receipt."
        )
        self._show(self._joseph, "bundle", "export", str(stick))
        self._show(self._server, "bundle", "import", str(stick))
        self._show(self._joseph, "bundle", "receipts", str(stick))

    def _the_driver_comes_home(self) -> None:
        self._teller.chapter("The driver reaches the server")
        with self._serving():
            self._show(self._driver, "relay", "run", "--once")

    def _receipts(self) -> None:
        self._teller.chapter("Receipts come home")
        self._teller.say("At his next visit he has nothing to take, and brings what the server signed:")
        with self._driving():
            self._show(self._amina, "run", "--once")
        self._show(self._amina, "status")

    def _certificates(self) -> None:
        self._teller.chapter("May the laptops be wiped?")
        self._teller.say("A supervisor wants it signed:")
        with self._serving():
            for machine in (self._amina, self._joseph):
                self._show(machine, "certificate")

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def _driver_url(self) -> str:
        return f"http://127.0.0.1:{self._driver_port}"

    @contextmanager
    def _serving(self) -> Iterator[None]:
        with self._server.service(self._port, "serve"):
            yield

    @contextmanager
    def _driving(self) -> Iterator[None]:
        with self._driver.service(self._driver_port, "relay", "run"):
            yield

    def _init(self, machine: Machine, laptop: Laptop) -> None:
        words = (
            "init",
            "--node",
            machine.name,
            "--source",
            "service=clinic",
            "--upstream",
            self._url,
            "--tables",
            "clinic_*",
        )
        self._show(machine, *words, quiet=True)
        text = laptop.config.read_text()
        laptop.config.write_text(text.replace("[upstream]\n", f'[upstream]\nname = "{UPSTREAM}"\n', 1))

    def _show(self, machine: Machine, *words: str, quiet: bool = False) -> Answer:
        found = machine.command(*words)
        if not quiet:
            self._teller.command(f"{shlex.join(['dbsync', *words])}      # on {machine.name}", found.lines)
        if found.code:
            raise DbsyncError(
                f"dbsync {words[0]} ended with exit code {found.code}", where=machine.name, why=found.talk.strip()
            )
        return found


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_open(port: int, process: subprocess.Popen[bytes], name: str) -> bool:
    if process.poll() is not None:
        raise DbsyncError("a service ended by itself", where=name)
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
