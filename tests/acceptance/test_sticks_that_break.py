"""Sticks that fill up or are pulled in the middle of a large batch, and disks that do so under what is made for a driver or a broker."""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dbsync.changelog.reader import Reader
from dbsync.config.load import load, load_relay
from dbsync.errors import DbsyncError, Exhausted, Interrupted, Unreachable
from dbsync.identity.keys import Keys
from dbsync.model.batch import Cut
from dbsync.relay.middleman import opened
from dbsync.service import relays
from dbsync.service.export import export
from dbsync.service.held import held_link
from dbsync.service.link import LinkState
from dbsync.service.lists import Outgoing
from dbsync.service.offers import Offers, Relay
from dbsync.service.run import Service
from dbsync.service.shelves import Shelves
from dbsync.service.sticks import Sticks
from tests.acceptance.remote import Remote
from tests.integration.commands import dbsync
from tests.support.brokered import brokered
from tests.support.brokers import NatsServer
from tests.support.carried import Field
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.served import answering, free_port
from tests.support.service import ServiceProcess, until
from tests.support.shortage import files_limited
from tests.support.sticks import MIDDLE, ROWS, failing_in_the_middle, fill

pytestmark = [ONE_MIXTURE, pytest.mark.timeout(120)]
BREAKING = pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full", "pulled"])


@pytest.fixture
def remote(pair: Pair, databases: Databases, tmp_path: Path) -> Remote:
    found = Remote(tmp_path, pair, databases)
    found.enrol()
    fill(found.laptop.database)
    return found


@BREAKING
def test_an_export_that_breaks_in_the_middle_of_a_batch_ends_with_what_to_type(remote: Remote, number: int) -> None:
    config = load(remote.laptop.folder / "dbsync.toml", {})
    with failing_in_the_middle(number), pytest.raises(DbsyncError, match="the bundle was not written") as broken:
        export(config, remote.stick)
    assert broken.value.hint == ("another stick, or room on this one" if number == errno.ENOSPC else "put it in again")
    assert not [path for path in remote.stick.iterdir() if ".dbsync" in path.name or path.suffix == ".partial"]
    assert json.loads(remote.laptop.must("bundle", "export", str(remote.stick), "--json"))["changes"] == ROWS


def test_the_command_ends_with_69_on_a_stick_that_is_full_in_the_middle_of_a_batch(remote: Remote) -> None:
    with files_limited(MIDDLE):
        done = dbsync(remote.laptop.folder, "bundle", "export", str(remote.stick), environ={"LANG": "C"})
    assert (done.code, "another stick, or room on this one" in done.err) == (69, True), done.err


@BREAKING
def test_a_look_at_a_stick_that_breaks_leaves_the_link_usable_for_what_comes_after(remote: Remote, number: int) -> None:
    config = load(remote.laptop.folder / "dbsync.toml", {})
    sticks = Sticks(config=config, stop=bool)
    with held_link(config) as held:
        with failing_in_the_middle(number):
            seen = sticks.look(held)
        assert seen.state is (LinkState.FULL if number == errno.ENOSPC else LinkState.AWAITED)
        assert held.reader.paused() is False
    assert Service(config=config).run_once() == ROWS


def test_an_export_that_is_stopped_in_the_middle_of_a_batch_leaves_the_link_usable(remote: Remote) -> None:
    config = load(remote.laptop.folder / "dbsync.toml", {})
    asked = iter(range(1_000))
    with held_link(config) as held:
        assert Sticks(config=config, stop=lambda: next(asked) > 5).look(held).state is LinkState.STOPPED
        assert held.reader.paused() is False


def test_a_database_that_goes_away_while_the_stick_is_written_is_out_of_reach_and_no_bug(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_on = Outgoing.put_on

    def then_away(lists: Outgoing, folder: Path) -> int:
        found = put_on(lists, folder)
        remote.laptop.database.sql("SELECT pg_terminate_backend(%s)", [lists.connection.info.backend_pid])
        return found

    config = load(remote.laptop.folder / "dbsync.toml", {})
    with monkeypatch.context() as patched:
        patched.setattr(Outgoing, "put_on", then_away)
        with pytest.raises(Unreachable):
            Service(config=config).run_once()
    assert Service(config=config).run_once() == 0, "it is on the stick already"
    assert remote.state()[0] == "written to the stick"


def test_the_service_says_that_a_stick_is_full_and_goes_on_with_the_next_one_or_ends(remote: Remote) -> None:
    laptop = remote.laptop
    here = {"LANG": "C"}  # it is started from here, with this process's limits
    with files_limited(MIDDLE), ServiceProcess(laptop.folder, environ=here) as service:
        until(lambda: remote.state()[0] == "stick full", "it is full")
        assert service.terminate() == 0
    state, reason = remote.state()
    assert (state, "it has no room" in reason) == ("stopped", True)
    with files_limited(MIDDLE), ServiceProcess(laptop.folder, environ=here) as service:
        until(lambda: remote.state()[0] == "stick full", "it is full again")
        remote.pull()
        until(lambda: remote.state()[0] == "waits for the stick", "it is pulled")
        resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        remote.put_in()
        until(lambda: remote.state()[0] == "written to the stick", "the next one has room")
        assert service.terminate() == 0
    assert f"{ROWS:,} changes" in remote.server.must("bundle", "import", str(remote.stick))


def test_a_service_that_ends_leaves_the_true_word_of_the_stick_that_is_in(remote: Remote) -> None:
    with ServiceProcess(remote.laptop.folder) as service:
        until(lambda: remote.state()[0] == "written to the stick", "it is written")
        told = remote.state()[1]
        assert service.terminate() == 0
    assert remote.state() == ("stopped", told)
    assert "receipt outstanding for 1 batch" in told


def test_a_stick_that_nobody_may_write_to_is_warned_of_and_still_the_reason_when_the_service_ends(
    remote: Remote, tmp_path: Path
) -> None:
    remote.pull()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    remote.stick.symlink_to(elsewhere)
    with ServiceProcess(remote.laptop.folder) as service:
        until(lambda: remote.state()[0] == "halted", "it cannot be used")
        assert service.terminate() == 0
    assert [(one["level"], one["hint"]) for one in service.said("stick_looked_at")] == [("warning", "another stick")]
    state, reason = remote.state()
    assert (state, "symbolic link" in reason) == ("stopped", True)


@pytest.fixture
def field(pair: Pair, databases: Databases, tmp_path: Path) -> Iterator[Field]:
    with ExitStack() as stack:
        yield Field(tmp_path, pair, databases, stack)


@BREAKING
def test_a_disk_that_breaks_under_what_a_driver_is_handed_stops_nothing_else(field: Field, number: int) -> None:
    laptop = field.laptops[0]
    fill(laptop.source)
    config = load(laptop.folder / "dbsync.toml", {})
    with field.relay.within():
        with failing_in_the_middle(number):
            (met,) = relays.visit(config)
        assert "the bundle was not written" in str(met.trouble)
        (met,) = relays.visit(config)
    assert (met.trouble, met.changes) == (None, ROWS)


def test_a_full_disk_of_the_server_is_told_to_a_driver_as_that(field: Field, monkeypatch: pytest.MonkeyPatch) -> None:
    laptop, whole = field.laptops[0], Path.open

    def full(path: Path, mode: str = "r", *more: Any, **named: Any) -> Any:
        if mode == "xb":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(path, mode, *more, **named)

    laptop.insert("a")
    with field.relay.within():
        relays.visit(load(laptop.folder / "dbsync.toml", {}))
    port = int(field.url.rsplit(":", 1)[1])
    with (
        answering(field.upstream, keys=field.keys, port=port),
        opened(load_relay(field.relay.folder / "relay.toml")) as driver,
    ):
        with monkeypatch.context() as patched:
            patched.setattr(Path, "open", full)
            with pytest.raises(Exhausted, match="own disk") as told:
                driver.visit()
        assert "TMPDIR" in told.value.hint
        assert driver.visit().bundles == 1


def test_what_lies_ready_for_a_driver_may_be_left_off_in_the_middle(field: Field, tmp_path: Path) -> None:
    laptop, stop = field.laptops[0], iter([False] * 5 + [True])
    fill(laptop.source)
    config = load(laptop.folder / "dbsync.toml", {})
    relay = Relay(name="driver", keys=Keys.load(field.relay.folder / "keys").public)
    shelves = Shelves(folder=tmp_path / "shelves")
    with failing_in_the_middle(errno.ENOSPC), pytest.raises(Exhausted):
        Offers(config=lambda: config, shelves=shelves).lay_out(relay, [])
    with pytest.raises(Interrupted, match="no bundle was made ready"):
        Offers(config=lambda: config, shelves=shelves, stop=lambda: next(stop)).lay_out(relay, [])
    assert len(Offers(config=lambda: config, shelves=shelves).lay_out(relay, []).offers) == 1


@BREAKING
def test_a_disk_that_breaks_under_what_is_left_at_a_broker_stops_nothing_else(
    databases: Databases, pair: Pair, tmp_path: Path, number: int
) -> None:
    broker = NatsServer(tmp_path / "broker", free_port())
    programme = brokered(databases, pair, tmp_path, [broker], nodes=1)
    broker.start()
    try:
        programme.applying().run_once()
        fill(programme.fleet.sources["n00"])
        with failing_in_the_middle(number), pytest.raises(DbsyncError, match="the bundle was not written"):
            programme.leave("n00")
        assert Service(config=programme.config("n00")).run_once() == ROWS
    finally:
        broker.stop()


def test_a_database_that_goes_away_while_a_batch_is_left_at_a_broker_is_out_of_reach_and_no_bug(
    databases: Databases, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = NatsServer(tmp_path / "broker", free_port())
    programme = brokered(databases, pair, tmp_path, [broker], nodes=1)
    source, note_hash = programme.fleet.sources["n00"], Reader.note_hash

    def away_first(reader: Reader, cut: Cut, digest: bytes) -> None:
        source.sql("SELECT pg_terminate_backend(%s)", [reader.connection.info.backend_pid])
        note_hash(reader, cut, digest)

    broker.start()
    try:
        programme.applying().run_once()
        source.sql("INSERT INTO site (code) VALUES ('a')")
        with monkeypatch.context() as patched:
            patched.setattr(Reader, "note_hash", away_first)
            with pytest.raises(Unreachable):
                programme.leave("n00")
        assert Service(config=programme.config("n00")).run_once() == 1
    finally:
        broker.stop()
