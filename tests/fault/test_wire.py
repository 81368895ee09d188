"""The line to the upstream breaks at any byte, or takes everything and passes nothing on: nothing is lost or doubled."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dbsync.config.load import load
from dbsync.config.models import Config
from dbsync.errors import Unreachable
from dbsync.postgres import ENCODING, connect
from dbsync.service.run import Service
from dbsync.service.status import status
from dbsync.silence import WatchedConnection
from tests.acceptance.places import TABLES, Place, place
from tests.support.databases import Databases
from tests.support.proxy import Fault, Proxy, Way
from tests.support.service import until

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]

WRITES = """
INSERT INTO subject (identifier, initials) VALUES ('S-{0}', 'AA'), ('T-{0}', 'BB');
INSERT INTO visit (subject_id, code, note) SELECT id, {0}, repeat('x', 300) FROM subject WHERE identifier LIKE '_-{0}';
UPDATE subject SET initials = '{0}' WHERE identifier = 'S-1';
"""
SHORT = "silence = 1.0\n"


@dataclass(kw_only=True)
class Line:
    """A laptop whose upstream is behind a proxy."""

    place: Place
    proxy: Proxy
    written: int = 0

    def write(self) -> None:
        """Commit one transaction at the laptop, much like the one before it."""
        self.written += 1
        with self.place.source.connect() as session, session.transaction():
            session.execute(WRITES.format(self.written).encode())

    def ship(self) -> int:
        """Ship as ``dbsync run --once`` does."""
        return Service(config=self.config).run_once()

    @property
    def config(self) -> Config:
        """Read the laptop's dbsync.toml."""
        return load(self.place.folder / "dbsync.toml", environ={})

    def measure(self) -> dict[Way, int]:
        """Say how many bytes go to and fro while one such transaction is shipped."""
        before = dict(self.proxy.passed)
        self.write()
        self.ship()
        return {way: self.proxy.passed[way] - before[way] for way in Way}

    @property
    def arrived(self) -> int:
        """Give the number of the last batch that is committed upstream."""
        return int(self.place.upstream.value("SELECT coalesce(max(number), 0) FROM dbsync.receipt"))

    def outcome(self, before: int) -> str:
        """Say how far a batch came when the line broke, and hold that status says the same."""
        found = status(self.config)
        assert found.link.state == "unreachable"
        assert found.link.reason is not None
        if self.arrived == before:
            assert found.pending == 5
            return "rolled back"
        return "committed, no receipt" if found.pending else "committed"

    def hold_that_all_is_there_once(self) -> None:
        """Compare the receipts with what was sent, and both databases."""
        here, there = self.place.source, self.place.upstream
        receipts = there.sql("SELECT number, hash, changes FROM dbsync.receipt ORDER BY number")
        assert receipts == here.sql("SELECT number, hash, changes FROM dbsync.sent ORDER BY number")
        assert [number for number, _, _ in receipts] == list(range(1, len(receipts) + 1))
        assert sum(row[2] for row in receipts) == here.value("SELECT count(*) FROM dbsync.change")
        assert there.sql("SELECT FROM dbsync.conflict") == there.sql("SELECT FROM dbsync.quarantine") == []
        self.place.must("verify")


@pytest.fixture
def line(databases: Databases, tmp_path: Path) -> Iterator[Line]:
    """Give a laptop with its upstream installed, and the proxy between them."""
    there = databases.create(18, name="upstream")
    made = place(tmp_path, databases.create(15, name="source"), there)
    made.install()
    with Proxy(there) as proxy:
        _through(made, proxy)
        yield Line(place=made, proxy=proxy)


def _through(there: Place, proxy: Proxy) -> None:
    """Send the laptop through the proxy; whatever else looks at the upstream goes straight."""
    file = there.folder / "dbsync.toml"
    there.configure(SHORT + TABLES)
    file.write_text(file.read_text().replace(there.upstream.dsn, proxy.dsn))


def points(length: int, spread: int, near_the_end: int) -> list[int]:
    """Choose bytes of a conversation: all over it, and close together where it ends with the commit and its answer.

    >>> points(1000, 4, 3)
    [125, 375, 625, 767, 850, 933]
    """
    step = length / spread
    last = min(length // 4, 300)
    return sorted(
        {round(step * (n + 0.5)) for n in range(spread) if step * (n + 0.5) < length - last}
        | {length - last + round(last / near_the_end * (n + 0.2)) for n in range(near_the_end)}
    )


@pytest.mark.parametrize("way", list(Way))
def test_a_line_that_is_cut_at_any_byte_loses_and_doubles_nothing(line: Line, way: Way) -> None:
    line.ship()
    length = line.measure()[way]
    happened: Counter[str] = Counter()
    for after in points(length, 8, 10):
        before = line.arrived
        line.write()
        line.proxy.arm(Fault.CUT, way, after)
        try:
            line.ship()
            happened["no harm"] += 1
        except Unreachable:
            happened[line.outcome(before)] += 1
        line.proxy.mend()
        line.ship()
    print(f"\n{way.value}, {length:,} bytes: {dict(happened)}")
    assert line.proxy.broken == happened.total()
    assert happened["rolled back"] > 5
    assert happened["committed, no receipt"] + happened["committed"] > 0
    line.hold_that_all_is_there_once()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("fault", list(Fault))
def test_a_line_that_breaks_in_the_middle_of_a_large_batch_is_given_up(line: Line, fault: Fault) -> None:
    """Much of it is still in the source: the service must not wait for itself to read it."""
    line.ship()
    line.place.source.sql(
        "INSERT INTO subject (identifier, initials) SELECT g || repeat('x', 90), 'AA' FROM generate_series(1, 9000) g"
    )
    line.proxy.arm(fault, Way.UP, 300_000)
    with line.place.service() as service:
        service.wait_for("link_unreachable")
        line.place.see("subject", 9000)
        assert service.terminate() == 0
    line.hold_that_all_is_there_once()


@pytest.mark.parametrize("way", list(Way))
def test_a_line_that_goes_silent_at_any_byte_is_given_up_by_both_ends(line: Line, way: Way) -> None:
    """Nothing is cut: the server goes on believing in the silent connection until it ends the session itself."""
    line.ship()
    length = line.measure()[way]
    happened: Counter[str] = Counter()
    told = 0
    for after in points(length, 4, 4):
        before = line.arrived
        line.write()
        line.proxy.arm(Fault.SILENT, way, after)
        try:
            line.ship()
            happened["no harm"] += 1
        except Unreachable as error:
            happened[line.outcome(before)] += 1
            told += "no answer for 1 s" in error.why
        line.ship()
    print(f"\n{way.value}, {length:,} bytes: {dict(happened)}")
    assert happened["rolled back"] > 2
    assert told > 2
    line.hold_that_all_is_there_once()
    until(lambda: _held_upstream(line) == 0, "the server keeps what a silent service had locked")


def _held_upstream(line: Line) -> int:
    return int(
        line.place.upstream.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"
        )
    )


@pytest.mark.parametrize("words", ["", "connect_timeout=0"])
def test_a_line_that_goes_silent_before_the_first_answer_is_given_up(
    line: Line, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.setattr(WatchedConnection, "answer", 1.0)
    dsn = make_conninfo(line.proxy.dsn, **conninfo_to_dict(words))
    line.proxy.arm(Fault.SILENT, Way.UP, _greeting(line, "dbsync") + 10)
    with pytest.raises(Unreachable, match="no answer"):
        connect(dsn, name="upstream")


def test_a_question_that_gets_no_answer_is_an_answer(line: Line) -> None:
    """The line goes silent in the middle of a batch, and again when the server is asked whether it is at work."""
    line.ship()
    length = line.measure()[Way.UP]
    greeting = _greeting(line, f"dbsync {line.config.node.name}")
    line.write()
    line.proxy.arm(Fault.SILENT, Way.UP, length // 2)
    arming = Thread(target=_arm_again, args=(line.proxy, greeting + 10))
    arming.start()
    with pytest.raises(Unreachable, match="no answer"):
        line.ship()
    arming.join()
    line.proxy.mend()
    line.ship()
    assert line.proxy.broken == 2
    line.hold_that_all_is_there_once()


def _greeting(line: Line, application: str) -> int:
    """Say how many bytes go up until the server is ready for a statement."""
    terminate = 5
    before = line.proxy.passed[Way.UP]
    psycopg.connect(line.proxy.dsn, application_name=application, client_encoding=ENCODING).close()
    until(lambda: line.proxy.passed[Way.UP] > before, "nothing went up")
    time.sleep(0.2)
    return line.proxy.passed[Way.UP] - before - terminate


def _arm_again(proxy: Proxy, after: int) -> None:
    until(lambda: proxy.broken == 1, "the line does not break")
    proxy.arm(Fault.SILENT, Way.UP, after)


def test_a_service_behind_a_line_that_goes_silent_says_so_and_goes_on_when_it_is_back(line: Line) -> None:
    line.write()
    with line.place.service() as service:
        until(lambda: line.place.status()["pending"] == 0, "the receipt does not come")
        line.proxy.deafen()
        line.write()
        service.wait_for("link_unreachable")
        until(lambda: line.place.status()["link"]["state"] == "unreachable", "status does not know")
        found = line.place.status()
        assert found["pending"] == 5
        assert "out of reach" in found["link"]["reason"]
        assert "5 changes wait safely in the source" in line.place.must("status").out
        line.proxy.mend()
        line.place.see("subject", 4)
        until(lambda: line.place.status()["link"]["state"] == "streaming", "not streaming")
        assert service.terminate() == 0
    line.hold_that_all_is_there_once()


def test_a_long_statement_upstream_is_not_taken_for_silence(line: Line) -> None:
    line.place.upstream.script("""
        CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(4); RETURN NULL; END $$;
        CREATE TRIGGER slowly AFTER INSERT ON subject FOR EACH STATEMENT EXECUTE FUNCTION slowly()
    """)
    line.write()
    assert line.ship() == 5
    line.hold_that_all_is_there_once()
