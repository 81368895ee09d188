"""Sealed papers on a stick: for their destination alone, by their sender alone, under their own name alone."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from dbsync.bundle import sealed
from dbsync.bundle.names import SIGNATURE, Kind, SealedName
from dbsync.errors import DbsyncError, Exhausted, FormatError
from dbsync.identity.keys import Keys, Signed
from dbsync.identity.lists import Arrived, pack_list, read_arrived, unpack_list, write_arrived

NODE, SERVER, STRANGER = Keys.generate(), Keys.generate(), Keys.generate()
NAME = SealedName(node="field-07", id=UUID(int=7), kind=Kind.LIST)
ARRIVED = Arrived(destination="community", node="field-07", lists=(UUID(int=7),))


@pytest.fixture
def paper() -> Signed:
    return sealed.seal(b"what was in the box", NAME, keys=NODE, theirs=SERVER.public)


def opened(signed: Signed, name: SealedName = NAME, *, own: Keys = SERVER, sender: Keys = NODE) -> bytes:
    return sealed.unseal(signed, name, own=own, sender=sender.public)


def test_what_was_sealed_is_read_by_its_destination_and_by_nobody_else(paper: Signed) -> None:
    assert opened(paper) == b"what was in the box"
    assert b"box" not in paper.data
    for own, sender, why in ((STRANGER, NODE, "not for us"), (SERVER, STRANGER, "not its sender's")):
        with pytest.raises(FormatError, match=why):
            opened(paper, own=own, sender=sender)


@pytest.mark.parametrize("name", [replace(NAME, node="field-08"), replace(NAME, id=UUID(int=8))])
def test_a_paper_under_another_name_is_refused(paper: Signed, name: SealedName) -> None:
    with pytest.raises(FormatError, match="another file"):
        opened(paper, name)


@pytest.mark.parametrize("place", [0, 40, 200, -1])
def test_a_flipped_bit_anywhere_is_found(paper: Signed, place: int) -> None:
    data = bytearray(paper.data)
    data[place] ^= 1
    with pytest.raises(FormatError):
        opened(replace(paper, data=bytes(data)))


@pytest.mark.parametrize("line", [1, 2, 3])
def test_a_changed_signature_is_found(paper: Signed, line: int) -> None:
    lines = paper.signature.splitlines(keepends=True)
    place = sum(map(len, lines[:line])) + 20
    changed = bytearray(paper.signature)
    changed[place] ^= 1
    with pytest.raises(FormatError):
        opened(replace(paper, signature=bytes(changed)))


def test_one_that_is_not_whole_is_told_from_one_that_is(paper: Signed, tmp_path: Path) -> None:
    assert sealed.found(tmp_path, Kind.LIST) == []
    sealed.write(tmp_path, NAME, paper)
    assert sealed.found(tmp_path, Kind.LIST, "field-07") == [NAME]
    assert sealed.found(tmp_path, Kind.LIST, "field-08") == []
    assert sealed.is_whole(tmp_path, NAME, NODE.public)
    path = tmp_path / NAME.file()
    path.write_bytes(paper.data[:-1])
    assert not sealed.is_whole(tmp_path, NAME, NODE.public)
    path.with_name(path.name + SIGNATURE).unlink()
    assert not sealed.is_whole(tmp_path, NAME, NODE.public)
    with pytest.raises(FormatError, match="not finished"):
        sealed.read(tmp_path, NAME)
    sealed.write(tmp_path, NAME, paper)
    assert opened(sealed.read(tmp_path, NAME)) == b"what was in the box"
    sealed.remove(tmp_path, NAME)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
@pytest.mark.parametrize("turn", range(7))
@pytest.mark.parametrize("number", [5, 28])
def test_a_stick_that_is_pulled_or_full_at_any_step_has_it_whole_or_not_at_all(
    paper: Signed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, turn: int, number: int
) -> None:
    real, calls = getattr(os, call), iter(range(1000))

    def broken(*given: object, **named: object) -> object:
        if next(calls) >= turn:
            raise OSError(number, os.strerror(number))
        return real(*given, **named)

    with monkeypatch.context() as failing:
        failing.setattr(os, call, broken)
        try:
            sealed.write(tmp_path, NAME, paper)
        except DbsyncError as error:
            assert error.try_again, error
            assert isinstance(error, Exhausted) == (number == 28)
    for name in sealed.found(tmp_path, Kind.LIST):
        assert not sealed.is_whole(tmp_path, name, NODE.public) or opened(sealed.read(tmp_path, name))
    sealed.write(tmp_path, NAME, paper)
    assert sealed.is_whole(tmp_path, NAME, NODE.public)


def test_a_link_in_its_place_is_not_followed(paper: Signed, tmp_path: Path) -> None:
    stick, elsewhere = tmp_path / "stick", tmp_path / "elsewhere"
    stick.mkdir()
    elsewhere.write_bytes(paper.data)
    sealed.write(stick, NAME, paper)
    (stick / NAME.file()).unlink()
    (stick / NAME.file()).symlink_to(elsewhere)
    with pytest.raises(DbsyncError, match="symbolic link"):
        sealed.read(stick, NAME)


def test_a_list_comes_out_as_it_was_signed(paper: Signed) -> None:
    assert unpack_list(pack_list(paper)) == paper
    for bad in (b"", b"{}", b"[" * 9000, b'{"data":"x","signature":"!"}', pack_list(paper)[:-1]):
        with pytest.raises(FormatError):
            unpack_list(bad)


def test_which_lists_arrived_is_believed_from_the_destination_for_this_node_only() -> None:
    signed = write_arrived(ARRIVED, SERVER)
    assert read_arrived(signed, node="field-07", keys=SERVER.public) == ARRIVED
    other = signed.data.replace(b"07", b"08", 1)
    for bad, node, keys in (
        (signed, "field-08", SERVER),
        (signed, "field-07", STRANGER),
        (replace(signed, data=other), "field-08", SERVER),
        (replace(signed, signature=SERVER.sign(signed.data, "dbsync receipts 1")), "field-07", SERVER),
        (
            Signed(data=signed.data + b" ", signature=SERVER.sign(signed.data + b" ", "dbsync lists 1")),
            "field-07",
            SERVER,
        ),
    ):
        with pytest.raises(FormatError):
            read_arrived(bad, node=node, keys=keys.public)


@pytest.mark.skipif(
    not (shutil.which("age") and shutil.which("minisign")) and not os.environ.get("DBSYNC_TEST_REQUIRE"),
    reason="needs age and minisign",
)
def test_the_stock_programs_open_and_verify_it(paper: Signed, tmp_path: Path) -> None:
    SERVER.save(tmp_path / "server")
    sealed.write(tmp_path, NAME, paper)
    path = tmp_path / NAME.file()
    subprocess.run(["minisign", "-V", "-P", NODE.public.signing, "-m", path], check=True, capture_output=True)
    plain = subprocess.run(["age", "-d", "-i", tmp_path / "server" / "age.key", path], check=True, capture_output=True)
    assert plain.stdout == b"what was in the box"
