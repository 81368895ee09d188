"""An upstream that lost its keys: what was sealed for them opens nobody, and is written anew for those that it has now."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyrage
import pytest

from dbsync.bundle.marks import marked
from dbsync.identity import registry
from dbsync.identity.keys import Keys
from tests.acceptance.remote import Remote, box, boxes
from tests.support.databases import ONE_MIXTURE, Databases, Pair

pytestmark = ONE_MIXTURE


@pytest.fixture
def remote(pair: Pair, databases: Databases, tmp_path: Path) -> Remote:
    found = Remote(tmp_path, pair, databases)
    found.enrol()
    found.laptop.must("bundle", "export", str(found.stick))
    found.server.must("bundle", "import", str(found.stick))
    return found


def lose_keys(remote: Remote) -> None:
    """Give the server other keys, which the laptop takes by ``dbsync enrol --replace``."""
    shutil.rmtree(remote.server.folder / "keys")
    remote.server.keys = Keys.generate()
    remote.server.keys.save(remote.server.folder / "keys")
    with remote.laptop.database.connect() as connection:
        registry.pin(connection, "community", remote.server.keys.public, replace=True)


def written_by_an_older_version(remote: Remote) -> None:
    """Take away what tells for whom something was sealed."""
    for path in remote.stick.glob("*.minisig"):
        lines = path.read_bytes().split(b"\n")
        path.write_bytes(b"\n".join([b"untrusted comment: signature from minisign secret key", *lines[1:]]))
        assert marked(path.read_bytes()) is None


@pytest.mark.parametrize("old", [False, True])
def test_a_stick_is_written_anew_for_an_upstream_with_new_keys_and_then_stays(remote: Remote, *, old: bool) -> None:
    laptop, server, stick = remote.laptop, remote.server, str(remote.stick)
    laptop.insert("a")
    checked = box(laptop, 1)
    laptop.must("bundle", "export", stick)
    lose_keys(remote)
    if old:
        written_by_an_older_version(remote)
    assert server.type("bundle", "import", stick).code == 1
    again = json.loads(laptop.must("bundle", "export", stick, "--json"))
    assert (again["batches"], again["lists"]) == (1, 1)
    assert json.loads(laptop.must("bundle", "export", stick, "--json"))["files"] == []
    server.must("bundle", "import", stick)
    assert server.sites() == {"a"}
    assert boxes(server) == {str(checked.id): True}


def test_a_stick_of_the_version_before_stays_as_it_is_while_the_upstream_has_its_keys(remote: Remote) -> None:
    laptop = remote.laptop
    laptop.insert("a")
    laptop.must("bundle", "export", str(remote.stick))
    written_by_an_older_version(remote)
    assert json.loads(laptop.must("bundle", "export", str(remote.stick), "--json"))["files"] == []


def test_who_is_to_read_a_stick_from_now_on_can_read_what_was_there(remote: Remote) -> None:
    laptop, safe = remote.laptop, Keys.generate()
    laptop.insert("a")
    laptop.must("bundle", "export", str(remote.stick))
    config = laptop.folder / "dbsync.toml"
    config.write_text(config.read_text().replace("[upstream]", f'[upstream]\nrecovery = ["{safe.public.sealing}"]'))
    laptop.must("bundle", "export", str(remote.stick))
    (written,) = remote.stick.glob("*.dbsync")
    assert pyrage.decrypt(written.read_bytes(), [safe.sealing])


def test_a_question_to_lost_keys_is_asked_anew(remote: Remote) -> None:
    laptop, server, stick = remote.laptop, remote.server, str(remote.stick)
    assert laptop.type("verify").code == 75
    lose_keys(remote)
    assert server.type("bundle", "import", stick).code == 1
    laptop.must("bundle", "export", stick)
    assert len(json.loads(server.must("bundle", "import", stick, "--json"))["answered"]) == 1
    assert "source and upstream agree" in laptop.must("verify")
