"""A stick in somebody else's hands, or one that fails: whatever was done to it, what is read from it is what was written, or nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import orjson
import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrage import x25519

from dbsync.bundle import files
from dbsync.bundle.files import Unfit
from dbsync.bundle.find import find_bundles
from dbsync.bundle.names import SIGNATURE, BundleName, read_name, read_receipts_name, read_request_name
from dbsync.bundle.papers import write_paper
from dbsync.bundle.read import open_bundle
from dbsync.bundle.receipts import Carried, read_receipts, sign_receipts, write_receipts
from dbsync.bundle.stream import LARGEST_HEAD, MAGIC, NAME, PIECE, Head, write_stream
from dbsync.bundle.write import comment, write_bundle
from dbsync.errors import DbsyncError, Exhausted, FormatError, Unreachable
from dbsync.identity.keys import Keys, Signed
from dbsync.model.batch import Receipt

NODE, SERVER = Keys.generate(), Keys.generate()
LIFE = UUID(int=2)
HEAD = Head(node="field-07", lineage=UUID(int=1), incarnation=LIFE, link="community", destination="community")
BATCHES = [(5, [b"first", b"batch"]), (6, [os.urandom(300_000)])]
PLAIN = [(number, b"".join(chunks)) for number, chunks in BATCHES]
RECEIPTS = "field-07.receipts.json"


def write(stick: Path, limit: int = 100_000) -> list[Path]:
    """Write the batches, in four volumes."""
    return write_bundle(stick, HEAD, BATCHES, recipients=[SERVER.public.sealing], keys=NODE, limit=limit)


def read(stick: Path) -> list[list[tuple[int, bytes]]]:
    """Read every bundle that seems whole. Raises FormatError for one that is not what was written."""
    read: list[list[tuple[int, bytes]]] = []
    for bundle in find_bundles(stick).usable:
        with open_bundle(bundle, own=SERVER, sender=NODE.public) as stream:
            read.append([(number, b"".join(chunks)) for number, chunks in stream.batches()])
    return read


def receipt(number: int) -> Carried:
    """Acknowledge a batch."""
    at = datetime(2026, 11, 23, tzinfo=UTC)
    found = Receipt(node="field-07", incarnation=LIFE, number=number, hash=bytes(32), applied_at=at)
    return Carried(link="community", receipt=found)


def acknowledge(stick: Path, number: int) -> None:
    """Write the receipts, as the destination does."""
    write_receipts(stick, destination="community", node="field-07", receipts=[receipt(number)], keys=SERVER)


def acknowledged(stick: Path) -> int:
    """Give the number that the receipts acknowledge; 0 where there are none."""
    found = read_receipts(stick, node="field-07", keys=SERVER.public)
    return max((one.receipt.number for one in found or ()), default=0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a stick as it should be."""
    stick = tmp_path_factory.mktemp("whole")
    write(stick)
    acknowledge(stick, 6)
    return stick


@given(st.data())
def test_a_bit_flipped_in_any_file_is_found_or_changes_nothing(whole: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(path.name for path in whole.iterdir())))
    place = data.draw(st.integers(0, (whole / name).stat().st_size - 1))
    with changed(whole / name) as contents:
        contents[place] ^= 1 << data.draw(st.integers(0, 7))
        (whole / name).write_bytes(contents)
        with suppress(FormatError):
            assert read(whole) in ([], [PLAIN])
        with suppress(FormatError):
            assert acknowledged(whole) in (0, 6)


@contextmanager
def changed(path: Path) -> Iterator[bytearray]:
    """Give a file's contents to be changed; it is as it was at the end."""
    before = path.read_bytes()
    try:
        yield bytearray(before)
    finally:
        path.write_bytes(before)


@dataclass
class Failing:
    """A stick on which everything goes wrong from one operation on, tidying up as well."""

    good: int
    """How many go well."""
    number: int
    """The error then."""
    for_good: bool
    """Whether everything goes wrong from then on, or only that one."""
    met: bool = field(default=False, init=False)

    def step(self) -> None:
        """Go on, or fail."""
        self.good -= 1
        if self.good == -1 or (self.good < -1 and self.for_good):
            self.met = True
            raise OSError(self.number, os.strerror(self.number))

    @contextmanager
    def used(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Have every call that touches the stick, and each write, pass here first."""
        with monkeypatch.context() as patched:
            for call in ("open", "fsync", "replace", "unlink", "scandir"):
                patched.setattr(os, call, self._before(getattr(os, call)))
            begun = files.begun

            @contextmanager
            def writing(path: Path) -> Iterator[Failing._Written]:
                with begun(path) as file:
                    yield Failing._Written(self, file)

            patched.setattr(files, "begun", writing)
            yield

    def _before(self, real: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **named: object) -> object:
            if str(given[0]) == "/dev/urandom":
                return real(*given, **named)
            self.step()
            return real(*given, **named)

        return call

    @dataclass
    class _Written:
        """A file of it; half of what it fails to write is there."""

        stick: Failing
        file: object

        def write(self, data: bytes | memoryview) -> int:
            try:
                self.stick.step()
            except OSError:
                self.file.write(data[: len(data) // 2])  # type: ignore[attr-defined]  # a file
                raise
            return int(self.file.write(data))  # type: ignore[attr-defined]  # a file

        def flush(self) -> None:
            self.file.flush()  # type: ignore[attr-defined]  # a file


PULLED, FULL = (5, True), (28, False)


@pytest.mark.parametrize("fault", [PULLED, FULL], ids=["pulled", "full"])
def test_a_stick_that_fails_at_any_operation_has_the_bundle_whole_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: tuple[int, bool]
) -> None:
    def at_once(stick: Path) -> None:
        with suppress(FormatError):
            assert read(stick) in ([], [PLAIN])

    assert failing_everywhere(tmp_path, monkeypatch, fault, write, at_once) > 40


@pytest.mark.parametrize("fault", [PULLED, FULL], ids=["pulled", "full"])
def test_a_stick_that_fails_at_any_operation_has_the_receipts_before_or_after_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: tuple[int, bool]
) -> None:
    def again(stick: Path) -> None:
        acknowledge(stick, 6)

    def at_once(stick: Path) -> None:
        with suppress(FormatError):
            assert acknowledged(stick) in (0, 5, 6)

    def begin(stick: Path) -> None:
        acknowledge(stick, 5)

    assert failing_everywhere(tmp_path, monkeypatch, fault, again, at_once, begin) > 8


def failing_everywhere(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: tuple[int, bool],
    done: Callable[[Path], object],
    holds: Callable[[Path], None],
    begin: Callable[[Path], None] = lambda _: None,
) -> int:
    """Do something once for each operation that it takes, which fails; what is there then holds, and it can be done again."""
    for good in range(1000):
        stick, failing = folder / str(good), Failing(good, *fault)
        stick.mkdir()
        begin(stick)
        with failing.used(monkeypatch):
            try:
                done(stick)
            except DbsyncError as error:
                assert isinstance(error, Exhausted if fault == FULL else Unreachable), (good, error)
        holds(stick)
        done(stick)
        assert find_bundles(stick).left == ()
        shutil.rmtree(stick)
        if not failing.met:
            return good
    pytest.fail("it never comes to an end")


def sealed_as(stick: Path, plain: bytes, version: str = "1") -> None:
    """Put a bundle of any plaintext onto a stick, sealed and signed as a node does it."""
    name = BundleName.of("field-07", LIFE, 1, 1)
    data = bytes(pyrage.encrypt(plain, [x25519.Recipient.from_str(SERVER.public.sealing)]))
    said = comment(name, 1, 1).replace("dbsync bundle 1", f"dbsync bundle {version}")
    write_paper(stick / name.file(), Signed(data=data, signature=NODE.sign(data, said)), "not written")


HONEST = b"".join(write_stream(HEAD, [(1, [b"a batch"])]))
LONG = (LARGEST_HEAD + 1).to_bytes(4, "big")
BODY = HONEST.index(b"}") + 1


@pytest.mark.parametrize(
    ("plain", "why"),
    [
        *((NAME + number + b"\n" + HONEST[len(MAGIC) :], "another version") for number in (b"0", b"2")),
        (MAGIC + LONG + bytes(LARGEST_HEAD + 1), "head is too large"),
        (HONEST[:BODY] + b"B" + (1).to_bytes(8, "big") + (PIECE + 1).to_bytes(4, "big"), "piece of it is too large"),
        (HONEST.replace(b"field-07", b"field-08"), "not what its name says"),
        (HONEST.replace(b'"link"', b'"sink"'), "head cannot be read"),
        (HONEST.replace(b"field-07", b"../../07"), "not what its name says"),
    ],
    ids=["version 0", "version 2", "a huge head", "a huge piece", "another's", "an unknown member", "a path"],
)
def test_what_its_own_sender_signed_and_is_not_of_version_1_is_refused(tmp_path: Path, plain: bytes, why: str) -> None:
    sealed_as(tmp_path, HONEST)
    assert read(tmp_path) == [[(1, b"a batch")]]
    sealed_as(tmp_path, plain)
    with pytest.raises(FormatError, match=why):
        read(tmp_path)


def test_a_signature_of_another_version_is_refused(tmp_path: Path) -> None:
    for version in ("0", "2"):
        sealed_as(tmp_path, HONEST, version)
        with pytest.raises(FormatError, match="for another file"):
            read(tmp_path)
    signed = sign_receipts(destination="community", node="field-07", receipts=[receipt(5)], keys=SERVER)
    for data, said in (
        (signed.data, "dbsync receipts 0"),
        (orjson.dumps({**orjson.loads(signed.data), "version": 0}), "dbsync receipts 1"),
        (orjson.dumps({**orjson.loads(signed.data), "version": 2}), "dbsync receipts 1"),
    ):
        write_paper(tmp_path / RECEIPTS, Signed(data=data, signature=SERVER.sign(data, said)), "not written")
        with pytest.raises(FormatError):
            acknowledged(tmp_path)


def test_receipts_larger_than_any_are_not_read_and_keep_nothing_waiting(tmp_path: Path) -> None:
    acknowledge(tmp_path, 5)
    for name in (RECEIPTS, RECEIPTS + SIGNATURE):
        with changed(tmp_path / name):
            (tmp_path / name).write_bytes(b"x" * (3 << 20))
            with pytest.raises(FormatError, match="too large"):
                acknowledged(tmp_path)
    assert acknowledged(tmp_path) == 5


@given(st.text(max_size=40) | st.from_regex(r"[./A-Za-z0-9_-]{0,20}\.[0-9a-f]{8}\.\d{6}-\d{6}\.dbsync(\.\d{3})?"))
def test_a_name_that_is_read_leads_nowhere_but_into_its_folder(text: str) -> None:
    stick = Path("/media/stick")
    if read_name(text) or read_receipts_name(text) or read_request_name(text):
        assert (stick / text).parent == stick
        assert Path(os.path.normpath(stick / text)).parent == stick
        assert "\0" not in text


def test_a_link_on_the_stick_that_stands_before_the_folder_is_not_followed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "dbsync").mkdir(parents=True)
    (tmp_path / "media").symlink_to(home)
    write(tmp_path / "media" / "dbsync", 1 << 30)  # this computer's own link, as some have one for /media
    assert len(find_bundles(tmp_path / "media" / "dbsync").usable) == 1
    with tempfile.TemporaryDirectory(dir="/dev/shm") as mounted:
        stick = Path(mounted)
        assert stick.stat().st_dev != Path("/").stat().st_dev, "it is to be another file system"
        (stick / "a").symlink_to(home)
        with pytest.raises(Unfit, match="symbolic link"):
            acknowledge(stick / "a" / "dbsync", 5)
        for look in (find_bundles, acknowledged):
            with pytest.raises(Unfit, match="symbolic link"):
                look(stick / "a" / "dbsync")


@pytest.mark.parametrize("name", ["field-07.00000000.000005-000006.dbsync", RECEIPTS, ".field-07.00000000-1.partial"])
@pytest.mark.parametrize("end", ["", SIGNATURE])
def test_a_link_laid_where_a_file_will_be_is_never_written_through(tmp_path: Path, name: str, end: str) -> None:
    stick, home = tmp_path / "stick", tmp_path / "home"
    stick.mkdir()
    home.write_bytes(b"mine")
    (stick / f"{name}{end}").symlink_to(home)
    with suppress(DbsyncError):
        write(stick, 1 << 30)
    with suppress(DbsyncError):
        acknowledge(stick, 5)
    assert home.read_bytes() == b"mine"
    assert not (stick / name).is_symlink() or not find_bundles(stick).usable
