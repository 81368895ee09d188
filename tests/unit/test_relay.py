"""What a relay keeps, what it tells, and what it takes from nobody."""

from __future__ import annotations

import os
import socket
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from dbsync.bundle import files, sealed
from dbsync.bundle.custody import Note, read_note, write_note
from dbsync.bundle.names import SIGNATURE, BundleName, Kind, SealedName
from dbsync.bundle.stream import Head
from dbsync.bundle.write import write_bundle
from dbsync.config.load import load_relay
from dbsync.config.models import RelayConfig
from dbsync.errors import (
    ConfigError,
    Exhausted,
    FormatError,
    Interrupted,
    NotAdmitted,
    Refusal,
    SchemaVersionError,
    Unreachable,
)
from dbsync.identity.keys import Keys, Signed
from dbsync.relay.alerting import Way
from dbsync.relay.forward import Delivered, Forward
from dbsync.relay.middleman import begin, opened
from dbsync.relay.records import Paper, Records
from dbsync.relay.spool import Spool
from dbsync.transport.carry import Carry
from dbsync.transport.exchange import Exchange
from dbsync.transport.line import Line
from dbsync.web.uploads import Misplaced

NODE, RELAY, UPSTREAM = Keys.generate(), Keys.generate(), Keys.generate()
LIFE = uuid4()


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    found = Records(tmp_path / "relay.db")
    yield found
    found.close()


@pytest.fixture
def spool(records: Records, tmp_path: Path) -> Spool:
    (tmp_path / "bundles").mkdir()
    return Spool(folder=tmp_path / "bundles", relay="driver", keys=RELAY, records=records, most=1 << 20)


def bundle(folder: Path, number: int = 1) -> tuple[BundleName, bytes, bytes]:
    """Seal a batch as a node does; give its name, bytes and signature."""
    folder.mkdir(exist_ok=True)
    head = Head(node="field-07", lineage=uuid4(), incarnation=LIFE, link="community", destination="community")
    batches = [(number, [b"batch " * 1000])]
    (path,) = write_bundle(folder, head, batches, recipients=[UPSTREAM.public.sealing], keys=NODE)
    signature = path.with_name(path.name + SIGNATURE).read_bytes()
    return BundleName.of("field-07", LIFE, number, number), path.read_bytes(), signature


def handed_over(spool: Spool, room: Path, number: int = 1) -> BundleName:
    name, data, signature = bundle(room, number)
    spool.add(name, 0, data)
    spool.finish(name, signature, NODE.public)
    return name


def test_a_bundle_comes_in_parts_and_is_in_custody_when_its_signature_is_right(spool: Spool, tmp_path: Path) -> None:
    name, data, signature = bundle(tmp_path / "room")
    assert spool.add(name, 0, data[:100]) == 100
    with pytest.raises(Misplaced):
        spool.add(name, 50, data[50:])
    size, _ = spool.kept(name)
    assert size == 100
    assert spool.records.held() == []
    spool.add(name, 100, data[100:])
    note = read_note(spool.finish(name, signature, NODE.public), RELAY.public)
    assert (note.relay, note.name, note.bytes) == ("driver", name, len(data))
    assert [held.hash for held in spool.records.held("field-07")] == [note.hash]
    assert spool.path(name).read_bytes() == data
    assert spool.kept(name) == (0, "")


def test_what_was_changed_cut_or_signed_by_another_is_not_taken(spool: Spool, tmp_path: Path) -> None:
    name, data, signature = bundle(tmp_path / "room")
    for bad in (data[:-1], data + b"x", data[:50] + bytes([data[50] ^ 1]) + data[51:]):
        spool.add(name, 0, bad)
        with pytest.raises(FormatError):
            spool.finish(name, signature, NODE.public)
        assert spool.kept(name) == (0, "")
    spool.add(name, 0, data)
    with pytest.raises(FormatError):
        spool.finish(name, signature, UPSTREAM.public)
    other = BundleName.of("field-07", LIFE, 2, 2)
    spool.add(other, 0, data)
    with pytest.raises(FormatError, match="another file"):
        spool.finish(other, signature, NODE.public)
    with pytest.raises(Misplaced):
        spool.finish(BundleName.of("field-07", LIFE, 3, 3), signature, NODE.public)
    assert spool.records.held() == []


def test_a_bundle_that_is_too_large_is_not_kept(spool: Spool) -> None:
    with pytest.raises(Exhausted):
        spool.add(BundleName.of("field-07", LIFE, 1, 1), 1 << 20, b"x")


def test_what_came_in_part_and_was_never_gone_on_with_does_not_pile_up(spool: Spool) -> None:
    names = [BundleName.of("field-07", LIFE, number, number) for number in range(1, 7)]
    other = BundleName.of("field-08", LIFE, 1, 1)
    for name in (other, *names[:2]):
        spool.add(name, 0, b"a part")
        os.utime(spool._partial(name), (0, time.time() - 3600))
    pulled = spool.pulled()
    pulled.go_on(other, b"its signature")
    pulled.add(other, 0, b"a part")
    for name in names[2:]:
        spool.add(name, 0, b"a part")
    assert [spool.kept(name)[0] for name in (other, *names)] == [6, 0, 0, 6, 6, 6, 6], "four of each node, the newest"
    for path in spool.folder.iterdir():
        os.utime(path, (0, time.time() - 90_000))
    assert spool.add(names[5], 6, b", and the next") == 20
    assert len(list(spool.folder.iterdir())) == 7
    spool.tidy()
    assert [path.name for path in spool.folder.iterdir()] == [f".{names[5].file()}.partial"], "for a day"


def test_what_was_delivered_is_let_go_and_may_come_again(spool: Spool, tmp_path: Path) -> None:
    name = handed_over(spool, tmp_path / "room")
    spool.delivered(name)
    assert list(spool.folder.iterdir()) == []
    assert spool.records.held() == []
    handed_over(spool, tmp_path / "room")
    assert [held.name for held in spool.records.held()] == [name]


@pytest.mark.parametrize("step", ["remove", "settle", "finish", "write", "sync_folder"])
def test_a_crash_at_any_step_leaves_no_note_without_a_bundle(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    name, data, signature = bundle(tmp_path / "room")
    spool.add(name, 0, data)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(files, step, crash)
        with pytest.raises(KeyboardInterrupt):
            spool.finish(name, signature, NODE.public)
    assert spool.records.held() == []
    spool.tidy()
    assert [path.name for path in spool.folder.iterdir() if not path.name.startswith(".")] == []
    size, _ = spool.kept(name)
    spool.add(name, size, data[size:])
    spool.finish(name, signature, NODE.public)
    assert [held.name for held in spool.records.held()] == [name]


def test_a_crash_after_the_delivery_leaves_a_file_that_is_tidied_away(spool: Spool, tmp_path: Path) -> None:
    name = handed_over(spool, tmp_path / "room")
    kept = handed_over(spool, tmp_path / "room", 2)
    spool.records.delivered(name)
    spool.tidy()
    assert {path.name for path in spool.folder.iterdir()} == {kept.file(), kept.file() + SIGNATURE}


@pytest.mark.parametrize("lost", ["", SIGNATURE])
def test_a_bundle_that_the_disk_lost_stays_with_its_reason_and_stops_nobody(
    spool: Spool, tmp_path: Path, lost: str
) -> None:
    name = handed_over(spool, tmp_path / "room")
    path = spool.path(name)
    path.with_name(path.name + lost).unlink()
    assert not brought(spool)
    (held,) = spool.records.held()
    assert held.trouble is not None
    assert f"dbsync relay drop {name.file()}" in held.trouble


def test_a_line_that_is_down_is_no_trouble_of_the_bundle(spool: Spool, tmp_path: Path) -> None:
    handed_over(spool, tmp_path / "room")
    with pytest.raises(Unreachable):
        brought(spool)
    assert [held.trouble for held in spool.records.held()] == [None]


def brought(spool: Spool) -> bool:
    """Bring the first bundle to an upstream where nobody listens."""
    with socket.socket() as nobody, Line(f"http://127.0.0.1:{bound(nobody)}", silence=1.0) as line:
        carry = Carry(exchange=Exchange(line=line, keys=RELAY, theirs=UPSTREAM.public))
        forward = Forward(config=RelayConfig.model_construct(), keys=RELAY, records=spool.records, spool=spool)
        return forward._bring(carry, spool.records.held()[0])


def bound(nobody: socket.socket) -> int:
    """Take a port without listening at it."""
    nobody.bind(("127.0.0.1", 0))
    port: int = nobody.getsockname()[1]
    return port


def test_what_nobody_will_take_is_let_go(spool: Spool, tmp_path: Path) -> None:
    name = handed_over(spool, tmp_path / "room")
    spool.drop(name)
    assert (spool.records.held(), list(spool.folder.iterdir())) == ([], [])
    with pytest.raises(Refusal, match="not in custody"):
        spool.drop(name)


def test_a_note_is_believed_by_its_relays_key_and_as_it_was_written() -> None:
    name = BundleName.of("field-07", LIFE, 1, 1)
    signed = write_note(Note(relay="driver", name=name, bytes=5, hash="ab" * 32, at=datetime.now(UTC)), RELAY)
    assert read_note(signed, RELAY.public).name == name
    with pytest.raises(FormatError):
        read_note(signed, NODE.public)
    for data in (signed.data.replace(b"000001", b"000002"), signed.data + b" ", b"{}"):
        with pytest.raises(FormatError):
            read_note(Signed(data=data, signature=signed.signature), RELAY.public)
        resigned = Signed(data=data, signature=RELAY.sign(data, "dbsync receipts 1"))
        with pytest.raises(FormatError):
            read_note(resigned, RELAY.public)


def test_a_code_lets_one_node_in_and_the_same_again(records: Records) -> None:
    secret = records.invite("field-07", timedelta(hours=1))
    with pytest.raises(NotAdmitted):
        records.enrol("field-08", secret, NODE.public)
    records.enrol("field-07", secret, NODE.public)
    records.enrol("field-07", secret, NODE.public)
    with pytest.raises(NotAdmitted):
        records.enrol("field-07", secret, UPSTREAM.public)
    with pytest.raises(Refusal, match="enrolled already"):
        records.invite("field-07", timedelta(hours=1))
    records.revoke("field-07", "stolen")
    with pytest.raises(NotAdmitted):
        records.enrol("field-07", secret, NODE.public)
    again = records.invite("field-07", timedelta(hours=1))
    records.enrol("field-07", again, UPSTREAM.public)
    found = records.node("field-07")
    assert found is not None
    assert (found.keys, found.revoked_at) == (UPSTREAM.public, None)


def test_a_code_that_expired_lets_nobody_in(records: Records) -> None:
    secret = records.invite("field-07", timedelta(seconds=-1))
    with pytest.raises(NotAdmitted):
        records.enrol("field-07", secret, NODE.public)


def test_two_nodes_never_have_one_key(records: Records) -> None:
    records.enrol("field-07", records.invite("field-07", timedelta(hours=1)), NODE.public)
    with pytest.raises(NotAdmitted):
        records.enrol("field-08", records.invite("field-08", timedelta(hours=1)), NODE.public)


def test_a_request_is_used_once(records: Records) -> None:
    assert records.first_use("KEY", "nonce")
    assert not records.first_use("KEY", "nonce")
    assert records.first_use("OTHER", "nonce")


def test_one_visits_the_upstream_at_a_time(records: Records, tmp_path: Path) -> None:
    with closing(Records(tmp_path / "relay.db")) as another:
        with records.visit(1.0), pytest.raises(Interrupted), another.visit(0.0):
            pytest.fail("two visits at once")
        with another.visit(0.0):
            pass


def test_a_full_disk_is_told_keeps_nothing_half_and_ends_with_room(records: Records) -> None:
    (pages,) = records._database._connection.execute("PRAGMA page_count").fetchone()
    records._database._connection.execute(f"PRAGMA max_page_count = {pages}")
    kept = []
    with pytest.raises(Exhausted, match="full"):
        for number in range(10_000):
            assert records.first_use("KEY", f"{number:0100}")
            kept.append(f"{number:0100}")
    records._database._connection.execute(f"PRAGMA max_page_count = {pages + 1000}")
    assert not any(records.first_use("KEY", nonce) for nonce in kept)
    assert records.first_use("KEY", "another")


def test_what_is_in_the_way_of_bringing_on_is_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tmp_path / "driver", "driver", "127.0.0.1:8443")
    monkeypatch.setattr("dbsync.relay.middleman.PAUSE", 0.01)
    monkeypatch.setattr("dbsync.relay.middleman.IDLE", 0.01)
    stop, told = threading.Event(), list[str | None]()
    with opened(load_relay(tmp_path / "driver" / "relay.toml")) as relay:
        connection = relay.records._database._connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()

        def visit(_: Forward) -> Delivered:
            told.append(relay.standing().trouble)
            connection.execute(f"PRAGMA max_page_count = {pages if len(told) == 1 else pages + 1000}")
            for number in range(10_000 if len(told) == 1 else 1):
                relay.records.first_use("KEY", f"{number:0100}")
            if len(told) == 3:
                stop.set()
            return Delivered(bundles=0, troubled=0)

        monkeypatch.setattr(Forward, "visit", visit)
        relay._push_on(Way(), stop)
        full = "the relay's records were not kept or read (database or disk is full)"
        assert told == [None, f"{tmp_path / 'driver' / 'spool' / 'relay.db'}: {full}", None]
        monkeypatch.setattr("dbsync.relay.middleman.FULL", 1 << 62)
        assert str(relay.standing().trouble).endswith("is full"), "also where nothing could be noted"


def test_another_who_writes_for_long_is_waited_for_and_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbsync.relay.database._BUSY", 0.1)
    path = tmp_path / "relay.db"
    with closing(Records(path)) as waiting, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Interrupted):
            waiting.first_use("KEY", "nonce")
        other.execute("ROLLBACK")
        assert waiting.first_use("KEY", "nonce")


def test_receipts_that_an_older_version_kept_are_carried_home(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    Records(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "DROP TABLE paper; DROP TABLE list; DROP TABLE place; DROP TABLE alert;"
            " DROP TABLE sealed; DROP TABLE visit;"
            " CREATE TABLE receipts (node TEXT PRIMARY KEY, data BLOB NOT NULL, signature BLOB NOT NULL,"
            " brought_at TEXT NOT NULL) STRICT; INSERT INTO receipts VALUES ('field-01', x'01', x'02', '2026-11-24');"
            " PRAGMA user_version = 1"
        )
    with closing(Records(path)) as records:
        assert records.paper("field-01", Paper.RECEIPTS) == Signed(data=b"\x01", signature=b"\x02")
        assert records.paper("field-01", Paper.CERTIFICATE) is None


def test_a_database_of_another_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    Records(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(SchemaVersionError):
        Records(path)


def test_a_relays_own_links_lead_to_its_spool(tmp_path: Path) -> None:
    begin(tmp_path / "driver", "driver", "127.0.0.1:8443")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other_disk:
        link = Path(other_disk) / "driver"
        link.symlink_to(tmp_path / "driver")
        name = SealedName(node="field-07", id=uuid4(), kind=Kind.QUESTION)
        with opened(load_relay(link / "relay.toml")) as relay:
            relay.spool.answer(name, sealed.seal(b"x", name, keys=UPSTREAM, theirs=NODE.public))
            assert [one.name.kind for one in relay.records.papers.all()] == [Kind.ANSWER]
    assert len(list((tmp_path / "driver" / "spool" / "bundles").glob("*.answer.age"))) == 1


def test_a_relay_is_made_once(tmp_path: Path) -> None:
    begin(tmp_path / "driver", "driver", "127.0.0.1:8443")
    with pytest.raises(ConfigError):
        begin(tmp_path / "driver", "driver", "127.0.0.1:8443")
