"""Bundles on a stick: opened by their destination alone, believed by their signature alone, finished or not there."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbsync.bundle import files
from dbsync.bundle.find import Bundle, find_bundles
from dbsync.bundle.names import SIGNATURE
from dbsync.bundle.read import open_bundle
from dbsync.bundle.receipts import Carried, read_receipts, write_receipts
from dbsync.bundle.stream import Head, Stream, write_stream
from dbsync.bundle.write import _Volumes, write_bundle
from dbsync.errors import Exhausted, FormatError, Unreachable
from dbsync.identity.keys import Keys
from dbsync.model.batch import Receipt

NODE, SERVER, STRANGER = Keys.generate(), Keys.generate(), Keys.generate()
HEAD = Head(node="field-07", lineage=UUID(int=1), incarnation=UUID(int=2), link="community", destination="community")
BATCHES = [(5, [b"first", b"", b"batch"]), (6, [os.urandom(3_000_000)]), (7, [])]


def written(folder: Path, *, limit: int = 1 << 30, keys: Keys = NODE, to: Keys = SERVER) -> list[Path]:
    """Write the batches into a folder."""
    return write_bundle(folder, HEAD, BATCHES, recipients=[to.public.sealing], keys=keys, limit=limit)


def only(folder: Path) -> Bundle:
    """Find the only bundle."""
    found = find_bundles(folder)
    assert not found.left, found.left
    (bundle,) = found.usable
    return bundle


def opened(bundle: Bundle, *, own: Keys = SERVER, sender: Keys = NODE) -> list[tuple[int, bytes]]:
    """Read all of it."""
    with open_bundle(bundle, own=own, sender=sender.public) as stream:
        assert stream.head == HEAD
        return [(number, b"".join(chunks)) for number, chunks in stream.batches()]


def plain() -> list[tuple[int, bytes]]:
    """Give what was written."""
    return [(number, b"".join(chunks)) for number, chunks in BATCHES]


@pytest.mark.parametrize("limit", [1 << 30, 1_000_000])
def test_what_was_written_is_read_whole_or_in_volumes(tmp_path: Path, limit: int) -> None:
    paths = written(tmp_path, limit=limit)
    assert paths[0].name.startswith("field-07.00000000.000005-000007.dbsync")
    assert len(paths) == (1 if limit > 3_000_000 else 4)
    assert only(tmp_path).key_id == NODE.public.key_id
    assert opened(only(tmp_path)) == plain()


def test_what_a_node_did_not_finish_in_a_life_before_leaves_its_stick(tmp_path: Path) -> None:
    own, others = (tmp_path / name for name in (".field-07.3f2a9c1d-1.partial", ".field-07.b.3f2a9c1d-1.partial"))
    for path in (own, others):
        path.touch()
    written(tmp_path)
    assert (own.exists(), others.exists()) == (False, True)


@settings(max_examples=30)
@given(st.lists(st.lists(st.binary(max_size=300), max_size=4), max_size=4))
def test_any_batches_come_out_of_the_stream_as_they_went_in(batches: list[list[bytes]]) -> None:
    data = b"".join(write_stream(HEAD, enumerate(batches, start=1)))
    stream = Stream([data[:7], data[7:]])
    assert [(n, b"".join(chunks)) for n, chunks in stream.batches()] == [
        (n, b"".join(chunks)) for n, chunks in enumerate(batches, start=1)
    ]


@settings(max_examples=60)
@given(st.data())
def test_a_stream_that_was_cut_or_has_more_behind_it_is_refused(data: st.DataObject) -> None:
    whole = b"".join(write_stream(HEAD, [(1, [b"some", b"bytes"])]))
    cut = data.draw(st.integers(0, len(whole) - 1))
    for broken in (whole[:cut], whole + b"x"):
        with pytest.raises(FormatError):
            for _ in Stream([broken]).batches():
                pass


def test_nobody_but_the_destination_opens_it_and_nobody_but_the_node_signs_it(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(FormatError, match="unsealed"):
        opened(only(tmp_path), own=STRANGER)
    with pytest.raises(FormatError, match="signature"):
        opened(only(tmp_path), sender=STRANGER)


def test_nothing_readable_is_on_the_stick(tmp_path: Path) -> None:
    written(tmp_path)
    assert not any(b"first" in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize("place", [0, 60, 300, 1_500_000, -1])
def test_a_flipped_bit_anywhere_is_found_before_anything_is_used(tmp_path: Path, place: int) -> None:
    (path,) = written(tmp_path)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match="signature"):
        opened(only(tmp_path))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.with_name(path.name + SIGNATURE).unlink(),
        lambda path: path.with_name(path.name + SIGNATURE).write_text("no signature"),
        lambda path: path.unlink(),
        lambda path: (path.rename(path.with_suffix(".x")), path.symlink_to(path.with_suffix(".x"))),
    ],
    ids=["no signature", "nonsense", "a volume is missing", "a symbolic link"],
)
def test_what_is_not_whole_stays_with_a_reason(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    damage(written(tmp_path, limit=1_000_000)[1])
    found = find_bundles(tmp_path)
    assert found.usable == ()
    assert all(bad.why and bad.hint for bad in found.left)
    assert found.left


def test_what_this_account_may_not_read_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path) -> BinaryIO:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    written(tmp_path)
    monkeypatch.setattr(files, "opened", forbidden)
    (left,) = find_bundles(tmp_path).left
    assert (left.why, left.hint.partition("   ")[0]) == ("this account may not read it", f"chmod a+r {tmp_path}/*")


def test_a_bundle_under_another_name_is_refused(tmp_path: Path) -> None:
    (path,) = written(tmp_path)
    renamed = tmp_path / path.name.replace("000005", "000004")
    path.with_name(path.name + SIGNATURE).rename(renamed.with_name(renamed.name + SIGNATURE))
    path.rename(renamed)
    with pytest.raises(FormatError, match="another file"):
        opened(only(tmp_path))


def test_nothing_is_signed_that_the_stick_has_made_something_else_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = files.finish

    def swapped(partial: Path, path: Path) -> None:
        if path.name.endswith(".dbsync"):
            data = bytearray(partial.read_bytes())
            data[len(data) // 2] ^= 1
            partial.write_bytes(data)
        real(partial, path)

    with monkeypatch.context() as device:
        device.setattr(files, "finish", swapped)
        with pytest.raises(Unreachable, match="other bytes"):
            written(tmp_path)
    assert find_bundles(tmp_path).usable == ()
    written(tmp_path)
    assert opened(only(tmp_path)) == plain()


def test_no_batches_make_no_bundle(tmp_path: Path) -> None:
    assert write_bundle(tmp_path, HEAD, [], recipients=[SERVER.public.sealing], keys=NODE) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limits", [(1_000_000, 2_000_000), (1_000_000, 1 << 30), (1 << 30, 1_000_000)])
def test_a_bundle_that_is_written_again_in_other_volumes_takes_the_place_of_the_first(
    tmp_path: Path, limits: tuple[int, int]
) -> None:
    for limit in limits:
        paths = written(tmp_path, limit=limit)
    assert {path.name for path in tmp_path.iterdir()} == {p.name + end for p in paths for end in ("", SIGNATURE)}
    assert opened(only(tmp_path)) == plain()


def test_a_signature_larger_than_any_spoils_its_own_bundle_only(tmp_path: Path) -> None:
    (good,) = written(tmp_path)
    bad = tmp_path / good.name.replace("field-07", "field-08")
    shutil.copy(good, bad)
    bad.with_name(bad.name + SIGNATURE).write_bytes(b"x" * 10_000_000)
    found = find_bundles(tmp_path)
    assert [bundle.name.node for bundle in found.usable] == ["field-07"]
    assert [left.name for left in found.left] == [bad.name]


def test_a_full_disk_of_this_computer_is_not_told_as_a_full_stick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path)
    bundle, real = only(tmp_path), Path.open

    def full(path: Path, mode: str = "r") -> object:
        if mode == "xb":
            raise OSError(28, "No space left on device")
        return real(path, mode)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(Exhausted, match="this computer's own disk") as told:
        opened(bundle)
    assert "TMPDIR" in told.value.hint


def test_what_goes_wrong_while_a_bundle_is_used_is_not_told_as_the_sticks(tmp_path: Path) -> None:
    written(tmp_path)
    with (
        pytest.raises(OSError, match="another thing"),
        open_bundle(only(tmp_path), own=SERVER, sender=NODE.public),
    ):
        raise OSError(5, "another thing")


def test_a_full_stick_is_told_and_nothing_stays_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(Exhausted, match="not written"):
            write_bundle(tmp_path, HEAD, BATCHES, recipients=[SERVER.public.sealing], keys=NODE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [3, 100_000, 1_000_000])
@pytest.mark.parametrize("turn", range(5))
def test_a_stick_that_is_full_at_any_write_has_no_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, turn: int
) -> None:
    calls, real = iter(range(1000)), _Volumes._write

    def full(volumes: _Volumes, data: memoryview) -> None:
        if next(calls) == turn:
            raise OSError(28, "No space left on device")
        real(volumes, data)

    monkeypatch.setattr(_Volumes, "_write", full)
    batches = [(1, [os.urandom(size)])]
    try:
        write_bundle(tmp_path, HEAD, batches, recipients=[SERVER.public.sealing], keys=NODE)
    except Exhausted:
        assert list(tmp_path.iterdir()) == []
    for bundle in find_bundles(tmp_path).usable:
        assert opened(bundle) == [(1, b"".join(batches[0][1]))]


@pytest.mark.parametrize("inside", [False, True])
def test_what_breaks_where_the_batches_come_from_is_told_as_it_is(tmp_path: Path, inside: bool) -> None:
    def payload() -> object:
        yield b"one"
        if inside:
            raise Unreachable("the source is away")

    def batches() -> object:
        yield 1, payload()
        raise Unreachable("the source is away")

    with pytest.raises(Unreachable, match="the source is away"):
        write_bundle(tmp_path, HEAD, batches(), recipients=[SERVER.public.sealing], keys=NODE)  # type: ignore[arg-type]  # a generator of what belongs there
    assert list(tmp_path.iterdir()) == []


def receipt(number: int = 7) -> Carried:
    """A receipt for a batch."""
    return Carried(
        link="community",
        receipt=Receipt(
            node="field-07",
            incarnation=UUID(int=2),
            number=number,
            hash=bytes(32),
            applied_at=datetime(2026, 11, 23, tzinfo=UTC),
        ),
    )


def test_receipts_are_believed_from_the_destination_for_this_node_only(tmp_path: Path) -> None:
    path = write_receipts(tmp_path, destination="community", node="field-07", receipts=[receipt()], keys=SERVER)
    assert read_receipts(tmp_path, node="field-07", keys=SERVER.public) == (receipt(),)
    assert read_receipts(tmp_path, node="field-08", keys=SERVER.public) is None
    with pytest.raises(FormatError):
        read_receipts(tmp_path, node="field-07", keys=STRANGER.public)
    for name in (path.name, path.name + SIGNATURE):
        shutil.copy(tmp_path / name, tmp_path / name.replace("07", "08"))
    with pytest.raises(FormatError):
        read_receipts(tmp_path, node="field-08", keys=SERVER.public)
    path.write_bytes(path.read_bytes().replace(b'"7"', b'"9"'))
    with pytest.raises(FormatError):
        read_receipts(tmp_path, node="field-07", keys=SERVER.public)


@pytest.mark.skipif(
    not (shutil.which("age") and shutil.which("minisign")) and not os.environ.get("DBSYNC_TEST_REQUIRE"),
    reason="needs age and minisign",
)
def test_the_stock_programs_open_and_verify_it(tmp_path: Path) -> None:
    NODE.save(tmp_path / "node")
    SERVER.save(tmp_path / "server")
    stick = tmp_path / "stick"
    stick.mkdir()
    paths = written(stick, limit=1_000_000)
    for path in paths:
        subprocess.run(["minisign", "-V", "-P", NODE.public.signing, "-m", path], check=True, capture_output=True)
    sealed = b"".join(path.read_bytes() for path in paths)
    unsealed = subprocess.run(
        ["age", "-d", "-i", tmp_path / "server" / "age.key"], input=sealed, check=True, capture_output=True
    )
    assert [(n, b"".join(chunks)) for n, chunks in Stream([unsealed.stdout]).batches()] == plain()
