"""A driver who is given a stick: he takes what lies on it into custody, and brings receipts home on it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.carried import Field
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.tampered import tamper

pytestmark = ONE_MIXTURE


@pytest.fixture
def field(pair: Pair, databases: Databases, tmp_path: Path) -> Iterator[Field]:
    with ExitStack() as stack:
        yield Field(tmp_path, pair, databases, stack)


def test_a_driver_takes_what_is_on_a_stick_and_brings_receipts_home_on_it(field: Field) -> None:
    first, second = field.laptops
    stick = field.folder / "stick"
    stick.mkdir()
    first.insert("a", "b", "c")
    second.insert("d")
    for laptop in field.laptops:
        assert laptop.dbsync("bundle", "export", str(stick)).code == 0
    before = {path.name: path.read_bytes() for path in stick.iterdir()}

    assert field.relay.must("import", str(stick)) == "taken from the stick: 2 bundles\n"
    assert field.relay.must("import", str(stick)) == "taken from the stick: 0 bundles, 2 here already\n"
    assert {path.name: path.read_bytes() for path in stick.iterdir()} == before
    assert field.sites() == set()
    with field.serving():
        assert field.relay.must("run", "--once") == "2 bundles delivered\n"
    assert field.sites() == {"a", "b", "c", "d"}

    assert "receipts are on it for field-01, field-02\n" in field.relay.must("import", str(stick))
    assert "receipts are on it" not in field.relay.must("import", str(stick)), "those there say as much"
    for laptop in field.laptops:
        assert laptop.dbsync("bundle", "receipts", str(stick)).code == 0
        assert laptop.waiting() == 0
    with field.serving():
        field.relay.must("run", "--once")  # what was taken once more
    assert field.sites() == {"a", "b", "c", "d"}
    assert field.batches() == 3


def test_what_is_damaged_a_strangers_or_a_revoked_nodes_stays_with_its_reason(field: Field) -> None:
    first, second = field.laptops
    stick = field.folder / "stick"
    stick.mkdir()
    first.insert("a")
    second.insert("b")
    first.dbsync("bundle", "export", str(stick))
    (own,) = stick.glob("*.dbsync")
    whole = own.read_bytes()
    tamper(own)
    second.dbsync("bundle", "export", str(stick))
    field.relay.must("revoke", "field-02", "--reason", "stolen")
    done = field.relay.type("import", str(stick))
    assert (done.code, done.out) == (1, "taken from the stick: 0 bundles\n")
    assert "it is not what its sender signed" in done.err
    assert "field-02 is revoked here: stolen" in done.err

    own.write_bytes(whole)
    (stick / "elsewhere").mkdir()
    for file in (own, own.with_name(f"{own.name}.minisig")):
        shutil.copy(file, stick / "elsewhere" / file.name.replace("field-01", "field-99"))
    other = field.relay.type("import", str(stick / "elsewhere"))
    assert (other.code, "does not know the key of field-99" in other.err) == (1, True), other.err
    assert field.relay.held() == []
    assert field.relay.type("import", str(stick)).out == "taken from the stick: 1 bundle\n"
