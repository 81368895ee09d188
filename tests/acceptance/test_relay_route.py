"""A driver between laptops and a server that no line connects: what he carries, what he cannot do, and what he may lose."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pyrage
import pytest

from dbsync.errors import NotAdmitted
from dbsync.identity import registry
from dbsync.identity.keys import Keys
from dbsync.identity.registry import Role
from dbsync.transport.carry import Carry
from dbsync.transport.exchange import Exchange
from dbsync.transport.line import Line
from tests.integration.commands import dbsync
from tests.support.carried import Field
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.relayed import Relay
from tests.support.tampered import tamper

pytestmark = ONE_MIXTURE


@pytest.fixture
def field(pair: Pair, databases: Databases, tmp_path: Path) -> Iterator[Field]:
    with ExitStack() as stack:
        yield Field(tmp_path, pair, databases, stack)


def test_a_driver_is_enrolled_by_codes(field: Field) -> None:
    other = Relay(field.folder, "other")
    laptop = field.laptops[0]
    with field.serving() as url:
        code = dbsync(field.folder / "server", "nodes", "invite", "other", "--relay").out.strip()
        assert "other is enrolled with community" in other.must("enrol", url, code)
    laptop.insert("a")
    with other.open():
        code = other.must("invite", "field-01").strip()
        done = dbsync(laptop.folder, "enrol", "--relay", other.url, code)
        assert (done.code, done.out.split(" (")[0]) == (0, "field-01 is enrolled with the relay other"), done.err
        assert "other" in laptop.run().out
    assert laptop.custody() == [("other", 1)]
    with field.serving():
        assert other.must("run", "--once") == "1 bundle delivered\n"
    assert field.sites() == {"a"}


def test_on_the_local_network_the_line_is_tls_and_nobody_made_a_certificate(field: Field) -> None:
    other, stranger = Relay(field.folder, "other", tls=True), Relay(field.folder, "stranger")
    laptop = field.laptops[0]
    laptop.insert("a")
    with other.open() as process:
        code = other.must("invite", "field-01").strip()
        wrong = dbsync(laptop.folder, "enrol", "--relay", other.url, stranger.must("invite", "field-01").strip())
        assert (wrong.code, "somebody else answers" in wrong.err) == (1, True), wrong.err
        done = dbsync(laptop.folder, "enrol", "--relay", other.url, code)
        assert done.code == 0, done.err
        assert "other" in laptop.run().out
        assert process.said("serving")[0]["tls"]
    with other.open():  # with another certificate
        laptop.insert("b")
        assert "handed to other: 1 batch, 1 change" in laptop.run().out
    assert laptop.custody() == [("other", 2)]


def test_a_driver_takes_bundles_and_brings_receipts_home(field: Field) -> None:
    first, second = field.laptops
    first.insert("a", "b", "c")
    second.insert("d")
    with field.relay.open():
        handed = first.run()
        assert (handed.code, handed.out) == (0, "handed to driver: 2 batches, 3 changes\n"), handed.err
        second.run()
        first.insert("e")
        assert first.run().out == "handed to driver: 1 batch, 1 change\n"
        assert first.run().out == "handed to driver: nothing new\n"
    assert first.custody() == [("driver", 4)]
    assert len(field.relay.held()) == 4
    assert field.sites() == set()
    with field.serving():
        assert field.relay.must("run", "--once") == "4 bundles delivered\n"
        assert field.sites() == {"a", "b", "c", "d", "e"}
        assert field.relay.must("run", "--once") == "nothing was in custody\n"
    assert first.waiting() == 3  # the note was no receipt
    with field.relay.open():
        assert first.run().out == "handed to driver: nothing new; receipts of 3 batches came back\n"
        second.run()
    assert (first.waiting(), second.waiting()) == (0, 0)
    assert first.custody() == []
    assert list(field.relay.bundles.iterdir()) == []


def test_a_driver_who_is_lost_costs_nothing_and_one_who_comes_late_brings_nothing_twice(field: Field) -> None:
    laptop = field.laptops[0]
    laptop.insert("a", "b", "c")
    with field.relay.open() as process:
        laptop.run()
        process.kill()
    copy = field.folder / "kept aside"
    shutil.copytree(field.relay.folder / "spool", copy)
    with field.serving():
        assert laptop.run().out == "3 changes shipped to community\n"
        assert (laptop.waiting(), laptop.custody(), field.batches()) == (0, [], 2)
        assert field.relay.must("run", "--once") == "2 bundles delivered\n"
        shutil.rmtree(field.relay.folder / "spool")
        copy.rename(field.relay.folder / "spool")
        assert field.relay.must("run", "--once") == "2 bundles delivered\n"
    assert (field.sites(), field.batches()) == ({"a", "b", "c"}, 2)


def test_a_driver_can_neither_read_nor_change_nor_reorder_nor_speak_for_others(field: Field) -> None:
    laptop = field.laptops[0]
    laptop.insert("a secret code", "b", "c")
    with field.relay.within():
        laptop.run()
    first, second = sorted(path for path in field.relay.bundles.iterdir() if path.suffix == ".dbsync")
    assert b"secret" not in first.read_bytes()
    tamper(first)
    with field.serving():
        edited = field.relay.type("run", "--once")
        assert (edited.code, edited.out) == (1, "nothing was in custody\n")
        assert "its signature is not its sender's" in field.relay.must("status")
        first.write_bytes(second.read_bytes())
        shutil.copy(f"{second}.minisig", f"{first}.minisig")
        assert field.relay.type("run", "--once").code == 1
        assert field.sites() == set()
    with field.serving():
        assert laptop.run().out == "3 changes shipped to community\n"
    assert field.sites() == {"a secret code", "b", "c"}


def test_a_trusted_driver_may_read(field: Field) -> None:
    laptop = field.laptops[0]
    with (laptop.folder / "dbsync.toml").open("a") as file:
        file.write("trusted = true\n")
    laptop.insert("an open code")
    with field.relay.within():
        assert laptop.run().code == 0
    own = Keys.load(field.relay.folder / "keys")
    (bundle,) = (path for path in field.relay.bundles.iterdir() if path.suffix == ".dbsync")
    assert pyrage.decrypt(bundle.read_bytes(), [own.sealing]).startswith(b"dbsync bundle 1\n")
    with field.serving():
        assert field.relay.must("run", "--once") == "1 bundle delivered\n"
    assert field.sites() == {"an open code"}


def test_a_driver_brings_the_certificate_home_and_what_the_tier_above_has(field: Field) -> None:
    laptop = field.laptops[0]
    laptop.insert("a", "b", "c")
    assert dbsync(laptop.folder, "certificate").code == 69
    with field.relay.open():
        laptop.run()
        assert dbsync(laptop.folder, "certificate").code == 69
    with field.serving():
        field.relay.must("run", "--once")
    with field.relay.open():
        before = dbsync(laptop.folder, "certificate")
        assert (before.code, "3 changes captured here are missing there" in before.out) == (1, True), before.err
        laptop.run()
        done = dbsync(laptop.folder, "certificate", "--json")
        assert (done.code, done.json["certificate"]["number"], done.json["stale"]) == (0, 2, False), done.err
        laptop.insert("d")
        laptop.run()
    with field.serving():
        field.relay.must("run", "--once")
        assert laptop.run().code == 0
    with field.relay.open():
        assert dbsync(laptop.folder, "certificate", "--json").json["certificate"]["number"] == 3


def test_a_driver_hands_out_nobody_elses_certificate(field: Field) -> None:
    first, second = field.laptops
    first.insert("a")
    with field.relay.open():
        first.run()
    with field.serving():
        field.relay.must("run", "--once")
    with field.relay.open(), Line(field.relay.url, silence=5.0) as line:
        carry = Carry(
            exchange=Exchange(line=line, keys=second.keys, theirs=Keys.load(field.relay.folder / "keys").public)
        )
        assert carry.certificate("field-02") is None
        with pytest.raises(NotAdmitted):
            carry.certificate("field-01")


def test_a_driver_whom_the_laptop_revoked_is_handed_nothing_until_it_enrols_with_him_anew(field: Field) -> None:
    laptop, relay = field.laptops[0], field.relay
    laptop.insert("a")
    done = laptop.dbsync("nodes", "revoke", "driver", "--reason", "the car was broken into")
    assert done.code == 0, done.err
    with relay.open():
        said = laptop.run()
        assert "driver was revoked here (the car was broken into)" in said.err
        assert "dbsync enrol --relay URL CODE" in said.err
        assert (relay.held(), laptop.custody()) == ([], [])
        with laptop.source.connect() as connection:
            registry.pin(connection, "driver", Keys.load(relay.folder / "keys").public, role=Role.RELAY)
        laptop.run()
        assert len(relay.held()) == 1


def test_a_bug_while_pushing_on_ends_the_service(field: Field) -> None:
    broken = (
        "from dbsync.relay.middleman import Middleman; from dbsync.cli.main import run\n"
        "Middleman.visit = lambda self: 1 / 0\n"
        "run()"
    )
    command = [sys.executable, "-c", broken, "relay", "run"]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        command, cwd=field.relay.folder, env=environ, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 70, done.stderr
    assert "ZeroDivisionError" in done.stderr
