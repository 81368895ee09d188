"""Sticks between laptops and a server that no line connects: lost, brought twice, in any order, and by the wrong people."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, BinaryIO

import pyrage
import pytest

from dbsync import schema
from dbsync.bundle import files
from dbsync.bundle.find import Bundle
from dbsync.bundle.read import open_bundle
from dbsync.errors import Exhausted, Refusal
from dbsync.identity import registry
from dbsync.identity.keys import Keys
from dbsync.service import bundles
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.integration.commands import dbsync
from tests.integration.people import Person, Said
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair
from tests.support.pipeline import Pipeline, piped, prepared
from tests.support.served import admit

pytestmark = ONE_MIXTURE


class Place:
    """A folder with a dbsync.toml and keys, and the database it is for."""

    def __init__(self, folder: Path, name: str, database: Database, upstream: str = "") -> None:
        self.folder, self.name, self.database = folder / name, name, database
        self.folder.mkdir()
        self.keys = Keys.generate()
        self.keys.save(self.folder / "keys")
        (self.folder / "dbsync.toml").write_text(
            f'[node]\nname = "{name}"\nsource = "{database.dsn}"\n{upstream}[batch]\nmax_changes = 2\n{TABLES}'
        )

    def live_in(self, database: Database) -> None:
        """Go on in another database, as one that was restored."""
        config = self.folder / "dbsync.toml"
        config.write_text(config.read_text().replace(self.database.dsn, database.dsn))
        self.database = database

    def type(self, *words: str) -> Said:
        """Type a command there."""
        return Person(config=self.folder / "dbsync.toml").type(*words)

    def must(self, *words: str) -> str:
        """Type one that has to exit 0."""
        return Person(config=self.folder / "dbsync.toml").must(*words).out

    def ship(self) -> str:
        """Ship over the line: in a process of its own, which may set up its logs as it likes."""
        done = dbsync(self.folder, "run", "--once")
        assert done.code == 0, done.err
        return done.out

    def insert(self, *codes: str) -> None:
        """Make sites, a transaction each."""
        with self.database.connect() as session:
            for code in codes:
                session.execute("INSERT INTO site (code) VALUES (%s)", (code,))

    def sites(self) -> set[str]:
        """List the sites."""
        return {code for (code,) in self.database.sql("SELECT code FROM site")}

    def waiting(self) -> int:
        """Count the batches that have left and have no receipt."""
        return int(self.database.value("SELECT count(*) FROM dbsync.sent WHERE acknowledged_at IS NULL"))


class Field:
    """Two laptops, and a server they know and that knows them."""

    def __init__(self, folder: Path, pair: Pair, databases: Databases) -> None:
        other = prepared(databases, pair, SCHEMA).source
        with piped(databases, pair, SCHEMA, TABLES) as both, Pipeline(other, both.upstream, TABLES, node="field-02"):
            pass  # installed
        upstream = f'[upstream]\nurl = "{both.upstream.dsn}"\nname = "community"\n'
        self.server = Place(folder, "server", both.upstream)
        self.laptops = []
        for name, source in (("field-01", both.source), ("field-02", other)):
            laptop = Place(folder, name, source, upstream)
            admit(both.upstream, name, laptop.keys)
            with source.connect() as connection:
                registry.pin(connection, "community", self.server.keys.public)
            self.laptops.append(laptop)


@pytest.fixture
def field(pair: Pair, databases: Databases, tmp_path: Path) -> Field:
    return Field(tmp_path, pair, databases)


def stick(tmp_path: Path, name: str) -> str:
    """Give an empty stick."""
    folder = tmp_path / name
    folder.mkdir()
    return str(folder)


def test_a_lost_stick_costs_nothing_and_receipts_come_home(field: Field, tmp_path: Path) -> None:
    laptop, server, safe = field.laptops[0], field.server, Keys.generate()
    config = laptop.folder / "dbsync.toml"
    config.write_text(config.read_text().replace("[upstream]", f'[upstream]\nrecovery = ["{safe.public.sealing}"]'))
    laptop.insert("a", "b", "c")
    laptop.must("bundle", "export", stick(tmp_path, "lost"))
    (written,) = (tmp_path / "lost").glob("*.dbsync")
    assert pyrage.decrypt(written.read_bytes(), [safe.sealing]), "the key in the safe opens it too"
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(written.read_bytes(), [laptop.keys.sealing])
    laptop.insert("d")
    second = stick(tmp_path, "second")
    exported = json.loads(laptop.must("bundle", "export", second, "--json"))
    assert (exported["batches"], exported["changes"]) == (3, 4)
    assert "3 batches applied" in server.must("bundle", "import", second)
    assert server.sites() == {"a", "b", "c", "d"}
    assert laptop.waiting() == 3
    assert "3 batches acknowledged" in laptop.must("bundle", "receipts", second)
    assert laptop.waiting() == 0
    assert "2 known already" in server.must("bundle", "import", str(tmp_path / "lost"))
    assert json.loads(laptop.must("bundle", "export", second, "--json"))["files"] == []


def test_sticks_of_two_laptops_come_together_in_any_order_and_twice(field: Field, tmp_path: Path) -> None:
    box = Path(stick(tmp_path, "box"))
    for laptop in field.laptops:
        laptop.insert(f"{laptop.name} one")
        laptop.must("bundle", "export", str(box))
        laptop.insert(f"{laptop.name} two")
        laptop.must("bundle", "export", str(box))
    first = json.loads(field.server.must("bundle", "import", str(box), "--json"))
    assert [(one["node"], one["applied"], one["known"]) for one in first["brought"]] == [
        ("field-01", [1], 0),
        ("field-01", [2], 0),
        ("field-02", [1], 0),
        ("field-02", [2], 0),
    ]
    again = json.loads(field.server.must("bundle", "import", str(box), "--json"))
    assert sum(len(one["applied"]) for one in again["brought"]) == 0
    assert len(field.server.sites()) == 4
    for laptop in field.laptops:
        laptop.must("bundle", "receipts", str(box))
        assert laptop.waiting() == 0


def test_a_stick_that_stays_gets_what_is_new_and_is_mended_where_it_is_damaged(field: Field, tmp_path: Path) -> None:
    laptop, box = field.laptops[0], Path(stick(tmp_path, "box"))
    laptop.insert("a")
    (first,) = json.loads(laptop.must("bundle", "export", str(box), "--json"))["files"]
    assert json.loads(laptop.must("bundle", "export", str(box), "--json"))["files"] == []
    laptop.insert("b")
    (second,) = json.loads(laptop.must("bundle", "export", str(box), "--json"))["files"]
    assert second.endswith("000002-000002.dbsync")
    (box / first).write_bytes((box / first).read_bytes()[:-1])
    (box / f"{second}.minisig").unlink()
    again = json.loads(laptop.must("bundle", "export", str(box), "--json"))
    assert (len(again["files"]), again["batches"], again["waiting"]) == (1, 2, 2)
    field.server.must("bundle", "import", str(box))
    laptop.insert("c")
    receipts = box / "field-01.receipts.json"
    good = receipts.read_bytes()
    receipts.write_bytes(good[:-1])
    assert "receipts.json stays" in laptop.must("bundle", "export", str(box))
    receipts.write_bytes(good)
    laptop.must("bundle", "export", str(box))
    assert [path.name.split(".")[2] for path in box.glob("*.dbsync")] == ["000003-000003"]
    assert field.server.sites() == {"a", "b"}


@pytest.mark.parametrize("found_out_by", ["receipts", "the stick", "what the server said"])
def test_a_laptop_that_was_restored_finds_out_from_a_stick_and_goes_on(
    field: Field, databases: Databases, tmp_path: Path, found_out_by: str
) -> None:
    laptop, server = field.laptops[0], field.server
    laptop.insert("a")
    laptop.must("bundle", "export", stick(tmp_path, "early"))
    saved = databases.create(laptop.database.version, name="saved", template=laptop.database.name)
    laptop.insert("b")
    laptop.insert("c")
    box = stick(tmp_path, "box")
    laptop.must("bundle", "export", box)
    laptop.live_in(saved)
    laptop.insert("d")
    if found_out_by != "the stick":
        server.must("bundle", "import", box)
    if found_out_by == "what the server said":
        box = stick(tmp_path, "second")
        laptop.must("bundle", "export", box)
        assert "known already" in server.must("bundle", "import", box)
    laptop.must("bundle", "export", box)
    server.must("bundle", "import", box)
    laptop.must("bundle", "receipts", box)
    assert laptop.waiting() == 0
    assert server.sites() == {"a", "b", "c", "d"}
    assert server.database.value("SELECT count(*) FROM dbsync.conflict") == 0
    assert "restored" in laptop.must("status")
    laptop.insert("e")
    laptop.must("bundle", "export", box)
    server.must("bundle", "import", box)
    assert len(server.sites()) == 5


def test_a_stick_of_before_a_restore_that_comes_late_leaves_the_laptop_its_certificate(
    field: Field, databases: Databases, tmp_path: Path
) -> None:
    laptop, server, box, late = field.laptops[0], field.server, stick(tmp_path, "box"), stick(tmp_path, "late")

    def there_and_back() -> None:
        laptop.must("bundle", "export", box)
        server.must("bundle", "import", box)
        laptop.must("bundle", "receipts", box)

    laptop.insert("a")
    there_and_back()
    saved = databases.create(laptop.database.version, name="saved", template=laptop.database.name)
    laptop.insert("b")
    there_and_back()
    laptop.insert("c")
    laptop.must("bundle", "export", late)
    laptop.live_in(saved)
    laptop.must("bundle", "receipts", box)
    laptop.insert("d")
    there_and_back()
    server.must("bundle", "import", late)
    server.must("bundle", "import", box)
    assert server.sites() == {"a", "b", "c", "d"}
    assert "up to batch 1" in laptop.must("certificate", "--from", box), "the one of the life that it has now"


def test_two_laptops_of_which_one_is_a_copy_each_get_the_certificate_of_what_they_brought_last(
    field: Field, databases: Databases, tmp_path: Path
) -> None:
    laptop, server, box = field.laptops[0], field.server, stick(tmp_path, "box")
    first = laptop.database

    def certified(code: str) -> str:
        laptop.insert(code)
        laptop.must("bundle", "export", box)
        server.must("bundle", "import", box)
        laptop.must("bundle", "receipts", box)
        return laptop.must("certificate", "--from", box)

    assert "up to batch 1" in certified("a")
    copy = databases.create(first.version, name="copy", template=first.name)
    assert "up to batch 2" in certified("b")
    laptop.live_in(copy)
    laptop.must("bundle", "receipts", box)
    assert "up to batch 1" in certified("c")
    laptop.live_in(first)
    assert "up to batch 3" in certified("d")
    laptop.live_in(copy)
    assert "up to batch 2" in certified("e")


@pytest.mark.parametrize("lost", ["the last", "all"])
def test_a_server_that_was_restored_gets_again_what_it_lost(field: Field, tmp_path: Path, lost: str) -> None:
    laptop, server, box = field.laptops[0], field.server, stick(tmp_path, "box")
    for code in ("a", "b"):
        laptop.insert(code)
        laptop.must("bundle", "export", box)
        server.must("bundle", "import", box)
        laptop.must("bundle", "receipts", box)
    server.database.script("DELETE FROM dbsync.receipt WHERE number = 2; DELETE FROM site WHERE code = 'b'")
    if lost == "all":
        server.database.script("DELETE FROM dbsync.receipt; DELETE FROM site")
    laptop.insert("c")
    with pytest.raises(Refusal, match="no receipts"):
        laptop.type("bundle", "receipts", stick(tmp_path, "empty"), "--went-back")
    laptop.must("bundle", "export", box)
    asked = server.type("bundle", "import", box)
    assert asked.code == 1
    assert "is not here yet" in asked.out
    assert "--went-back" in asked.err
    assert "goes with the next export" in laptop.must("bundle", "receipts", box, "--went-back")
    laptop.must("bundle", "export", box)
    server.must("bundle", "import", box)
    laptop.must("bundle", "receipts", box)
    assert server.sites() == {"a", "b", "c"}
    assert laptop.waiting() == 0
    assert "has all that" in laptop.must("bundle", "receipts", box, "--went-back")


def test_a_stick_that_comes_too_early_waits_with_a_reason(field: Field, tmp_path: Path) -> None:
    laptop, server = field.laptops[0], field.server
    laptop.insert("a")
    first, later = stick(tmp_path, "first"), stick(tmp_path, "later")
    laptop.must("bundle", "export", first)
    server.must("bundle", "import", first)
    laptop.must("bundle", "receipts", first)
    laptop.insert("b")
    laptop.must("bundle", "export", later)
    server.database.script("DELETE FROM dbsync.receipt")
    early = server.type("bundle", "import", later)
    assert early.code == 1
    assert "batch 1 is not here yet" in early.out
    assert server.sites() == {"a"}


def test_a_stick_and_the_line_bring_every_change_once(field: Field, tmp_path: Path) -> None:
    laptop, server = field.laptops[0], field.server
    laptop.insert("a", "b", "c")
    by_hand = stick(tmp_path, "stick")
    laptop.must("bundle", "export", by_hand)
    server.must("bundle", "import", by_hand)
    laptop.insert("d")
    assert laptop.ship() == "1 change shipped to community\n"
    assert laptop.waiting() == 0
    assert "restored" not in laptop.must("status")
    assert int(server.database.value("SELECT count(*) FROM dbsync.receipt")) == 3
    laptop.insert("e")
    laptop.must("bundle", "export", by_hand)
    laptop.ship()
    assert "known already" in server.must("bundle", "import", by_hand)
    assert server.sites() == {"a", "b", "c", "d", "e"}


def test_what_strangers_revoked_nodes_and_copies_for_others_bring_stays_outside(field: Field, tmp_path: Path) -> None:
    laptop, other = field.laptops
    laptop.insert("a")
    good = Path(stick(tmp_path, "good"))
    laptop.must("bundle", "export", str(good))
    assert other.type("bundle", "inspect", str(good)).out.count("nobody known here") == 1
    assert "1 batch" in field.server.must("bundle", "inspect", str(good))
    field.server.must("nodes", "revoke", "field-01", "--reason", "stolen")
    refused = field.server.type("bundle", "import", str(good))
    assert refused.code == 1
    assert "revoked" in refused.out
    elsewhere = Place(tmp_path, "elsewhere", _with_schema(other.database))
    admit(other.database, "field-01", laptop.keys)
    sealed_for_another = elsewhere.type("bundle", "import", str(good))
    assert sealed_for_another.code == 1
    assert "not for us" in sealed_for_another.out
    with field.server.database.connect() as connection:
        connection.execute("UPDATE dbsync.peer SET revoked_at = NULL, role = 'upstream' WHERE name = 'field-01'")
    from_above = field.server.type("bundle", "import", str(good))
    assert from_above.code == 1
    assert "toward the centre" in from_above.out
    forged = Path(stick(tmp_path, "forged"))
    for file in good.iterdir():
        shutil.copy(file, forged / file.name.replace("field-01", "field-02"))
    assert field.server.type("bundle", "import", str(forged)).code == 1
    assert field.server.sites() == set()


def test_a_batch_that_unpacks_to_more_than_is_taken_stays_outside(field: Field, tmp_path: Path) -> None:
    laptop, server, box = field.laptops[0], field.server, stick(tmp_path, "box")
    laptop.database.sql(
        "INSERT INTO site (code, name) SELECT i::text, repeat('x', 1000) FROM generate_series(1, 200) i"
    )
    laptop.must("bundle", "export", box)
    assert sum(path.stat().st_size for path in Path(box).iterdir()) < 50_000
    config = server.folder / "dbsync.toml"
    as_it_was = config.read_text()
    config.write_text(f'{as_it_was}[serve]\nmax_payload = "100kB"\n')
    refused = server.type("bundle", "import", box)
    assert (refused.code, "too large" in refused.out, server.sites()) == (1, True, set())
    config.write_text(as_it_was)
    server.must("bundle", "import", box)
    assert len(server.sites()) == 200


def test_a_file_that_cannot_be_read_stays_and_the_others_come_in(
    field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = stick(tmp_path, "box")
    for laptop in field.laptops:
        laptop.insert(laptop.name)
        laptop.must("bundle", "export", box)
    real = files.opened

    def worn(path: Path) -> BinaryIO:
        if path.name.startswith("field-01") and path.name.endswith(".dbsync"):
            raise OSError(5, "Input/output error")
        return real(path)

    with monkeypatch.context() as broken:
        broken.setattr(files, "opened", worn)
        done = field.server.type("bundle", "import", box)
    assert done.code == 1
    assert "input/output error" in done.out
    assert field.server.sites() == {"field-02"}
    assert "1 batch acknowledged" in field.laptops[1].must("bundle", "receipts", box)
    assert "1 batch applied" in field.server.must("bundle", "import", box)


def test_what_was_brought_has_its_receipts_though_the_import_was_broken_off_behind_it(
    field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = stick(tmp_path, "box")
    for laptop in field.laptops:
        laptop.insert(laptop.name)
        laptop.must("bundle", "export", box)
    real = open_bundle

    def full(bundle: Bundle, **named: Any) -> Any:
        if bundle.name.node == "field-02":
            raise Exhausted("there is no room for a copy of the bundle")
        return real(bundle, **named)

    with monkeypatch.context() as broken:
        broken.setattr(bundles, "open_bundle", full)
        with pytest.raises(Exhausted):
            field.server.type("bundle", "import", box)
    assert "1 batch acknowledged" in field.laptops[0].must("bundle", "receipts", box)
    assert "1 batch applied" in field.server.must("bundle", "import", box)


def _with_schema(database: Database) -> Database:
    schema.upgrade(database.dsn, "source")
    return database
