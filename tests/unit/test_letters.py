"""A bundle goes in letters, and comes out as it was or not at all."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from dbsync.bundle.letters import IDENTITY, Gathering, Letter, letters, read_stamp
from dbsync.bundle.names import SIGNATURE, BundleName
from dbsync.errors import FormatError
from dbsync.identity.keys import Keys

NAME = BundleName.of("field-01", UUID(int=1 << 127), 5, 5)
WHOLE = bytes(range(256)) * 10


def written(folder: Path, whole: bytes = WHOLE, size: int = 1000) -> list[Letter]:
    """Give a bundle in letters."""
    folder.mkdir(exist_ok=True)
    path = folder / NAME.file()
    path.write_bytes(whole)
    path.with_name(path.name + SIGNATURE).write_bytes(Keys.generate().sign(whole, "x"))
    return list(letters(path, size))


def gathered(gathering: Gathering, sent: list[Letter]) -> list[bytes]:
    """Give the bundles that come out."""
    found = []
    for seq, letter in enumerate(sent):
        stamp = read_stamp(letter.headers)
        assert stamp is not None
        if gathering.follows(stamp):
            gathering.seqs.append(seq)
        else:
            gathering.begin(seq)
        bundle = gathering.add(stamp, letter.headers, letter.data)
        if bundle is not None:
            found.append(bundle.paths[0].read_bytes())
            gathering.end()
    return found


@pytest.fixture
def gathering(tmp_path: Path) -> Gathering:
    """Give where letters come out."""
    (tmp_path / "there").mkdir()
    return Gathering(folder=tmp_path / "there", node="field-01", most=10_000)


@pytest.mark.parametrize("size", [1, 1000, len(WHOLE), 10_000])
def test_it_comes_out_as_it_was(tmp_path: Path, gathering: Gathering, size: int) -> None:
    assert gathered(gathering, written(tmp_path / "here", size=size)) == [WHOLE]


def test_each_letter_has_an_identity_of_its_own_that_another_sealing_does_not_have(tmp_path: Path) -> None:
    one, other = written(tmp_path / "a"), written(tmp_path / "b", WHOLE[::-1])
    identities = [letter.headers[IDENTITY] for letter in (*one, *other)]
    assert len(set(identities)) == len(identities) == 6
    assert [letter.headers[IDENTITY] for letter in written(tmp_path / "c")] == identities[:3]


def test_one_that_broke_off_is_put_down_when_it_is_begun_anew(tmp_path: Path, gathering: Gathering) -> None:
    torn, again = written(tmp_path / "a", WHOLE[::-1]), written(tmp_path / "b")
    assert gathered(gathering, torn[:2] + again) == [WHOLE]


def test_a_letter_that_is_missing_in_the_middle_is_noticed(tmp_path: Path, gathering: Gathering) -> None:
    first, _, last = written(tmp_path / "a")
    with pytest.raises(FormatError):
        gathered(gathering, [first, last])


def test_another_nodes_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        gathered(Gathering(folder=tmp_path, node="field-02", most=10_000), written(tmp_path / "a"))


def test_one_without_an_end_is_refused_before_it_fills_the_disk(tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        gathered(Gathering(folder=tmp_path, node="field-01", most=2_000), written(tmp_path / "a"))


@pytest.mark.parametrize("part", ["0/3", "4/3", "1", "x/3", ""])
def test_what_is_no_letter_is_none(tmp_path: Path, part: str) -> None:
    headers = dict(written(tmp_path / "a")[0].headers)
    assert read_stamp({**headers, "Dbsync-Part": part}) is None
    assert read_stamp({**headers, "Dbsync-Bundle": "../" + headers["Dbsync-Bundle"]}) is None
