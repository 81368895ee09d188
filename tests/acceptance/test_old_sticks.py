"""Sticks that lay in a drawer while the upstream was restored, further back than the laptop keeps its changes, or the laptop itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from dbsync.config.load import load
from dbsync.service.post import Post
from dbsync.service.streaming import Streaming
from tests.acceptance.test_bundle_route import Field, Place, field, stick
from tests.integration.commands import dbsync
from tests.support.databases import ONE_MIXTURE, Database, Databases
from tests.support.lives import dump_and_reload
from tests.support.servers import own_cluster

pytestmark = ONE_MIXTURE
__all__ = ["field"]

NAMED = "UPDATE site SET name = '%s' WHERE code = 'b'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawer:
    """A laptop that keeps nothing which has its receipt, its server, and what may be put in their place."""

    laptop: Place
    server: Place
    databases: Databases
    early: Database
    """The server's, of before ``lost`` came."""

    @classmethod
    def of(cls, field: Field, databases: Databases) -> Drawer:
        """Bring a site there, and save the server."""
        laptop, server = field.laptops[0], field.server
        config = laptop.folder / "dbsync.toml"
        config.write_text(config.read_text().replace("[batch]", '[retention]\nkeep = "0"\n[batch]'))
        laptop.insert("a")
        laptop.ship()
        early = databases.create(server.database.version, name="early", template=server.database.name)
        return cls(laptop=laptop, server=server, databases=databases, early=early)

    def save(self, name: str) -> Database:
        """Make a copy of the laptop's database."""
        database = self.laptop.database
        return self.databases.create(database.version, name=name, template=database.name)

    def restore_server(self) -> None:
        """Put the server's early database in its place."""
        config = self.laptop.folder / "dbsync.toml"
        config.write_text(config.read_text().replace(self.server.database.dsn, self.early.dsn))
        self.server.live_in(self.early)

    def repair(self) -> None:
        """Do at the laptop what status tells it to."""
        self.laptop.ship()
        assert "dbsync verify --repair" in self.laptop.must("status")
        dbsync(self.laptop.folder, "verify", "--repair")
        self.laptop.ship()
        assert dbsync(self.laptop.folder, "verify").code == 0


@pytest.fixture
def drawer(field: Field, databases: Databases) -> Drawer:
    return Drawer.of(field, databases)


def test_brings_back_no_row_that_was_deleted_since(drawer: Drawer, tmp_path: Path) -> None:
    laptop, server, old = drawer.laptop, drawer.server, stick(tmp_path, "old")
    laptop.insert("gone")
    laptop.must("bundle", "export", old)
    laptop.ship()
    laptop.database.sql("DELETE FROM site WHERE code = 'gone'")
    laptop.ship()
    laptop.insert("b")
    laptop.ship()
    drawer.restore_server()
    drawer.repair()
    assert server.sites() == {"a", "b"}
    assert "1 known already" in server.must("bundle", "import", old)
    assert server.sites() == laptop.sites() == {"a", "b"}
    laptop.must("bundle", "export", old)
    assert list(Path(old).glob("*.dbsync")) == [], "nobody needs it any more"
    laptop.insert("c")
    laptop.ship()
    assert server.sites() == {"a", "b", "c"}


def test_that_comes_before_the_laptop_does_is_taken(drawer: Drawer, tmp_path: Path) -> None:
    laptop, server, old = drawer.laptop, drawer.server, stick(tmp_path, "old")
    laptop.insert("b", "c")
    laptop.must("bundle", "export", old)
    laptop.ship()
    laptop.insert("d")
    laptop.ship()
    drawer.restore_server()
    assert json.loads(server.must("bundle", "import", old, "--json"))["brought"][0]["applied"] == [2]
    drawer.repair()
    assert server.sites() == laptop.sites() == {"a", "b", "c", "d"}
    assert "1 known already" in server.must("bundle", "import", old)


def test_with_the_last_value_of_a_row_brings_it_not_before_the_one_before(field: Field, tmp_path: Path) -> None:
    """What had no receipt goes anew behind what comes again. The stick comes when only the first of that is there."""
    laptop, server, old = field.laptops[0], field.server, stick(tmp_path, "old")
    for statement in ("INSERT INTO site (code) VALUES ('a')", "INSERT INTO site (code) VALUES ('b')", NAMED % "first"):
        laptop.database.sql(statement)
        laptop.ship()
    laptop.database.sql(NAMED % "second")
    laptop.must("bundle", "export", old)
    laptop.database.sql("DELETE FROM dbsync.sent WHERE number = 1")  # that it had a receipt is too long ago
    server.database.script("DELETE FROM dbsync.receipt; DELETE FROM site")
    looks = iter([False, True])
    with Streaming(Post(config=load(laptop.folder / "dbsync.toml", {}))).link() as link:
        link.ship(lambda: next(looks))
    assert server.sites() == {"b"}
    server.must("bundle", "import", old)
    laptop.ship()
    assert server.database.value("SELECT name FROM site WHERE code = 'b'") == "second"


def test_that_has_what_a_restored_laptop_lost_is_taken(drawer: Drawer, tmp_path: Path) -> None:
    """The stick follows what both had when the laptop was saved; nobody else has what is on it."""
    laptop, server, only = drawer.laptop, drawer.server, stick(tmp_path, "only")
    for code in ("b", "c"):
        laptop.insert(code)
        laptop.ship()
    saved = drawer.save("saved")
    laptop.insert("only here")
    laptop.must("bundle", "export", only)
    laptop.live_in(saved)
    drawer.restore_server()
    laptop.insert("d")
    drawer.repair()
    server.must("bundle", "import", only)
    assert server.sites() == {"a", "b", "c", "d", "only here"}


@pytest.mark.parametrize("way", ["line", "stick"])
def test_a_laptop_that_is_restored_to_the_life_that_is_over_goes_on_in_another(
    drawer: Drawer, tmp_path: Path, way: str
) -> None:
    laptop, server, box = drawer.laptop, drawer.server, stick(tmp_path, "box")
    laptop.insert("b")
    laptop.must("bundle", "export", stick(tmp_path, "never brought"))
    early = drawer.save("earlier")
    laptop.ship()
    laptop.insert("c")
    laptop.ship()
    drawer.restore_server()
    drawer.repair()
    laptop.live_in(early)
    laptop.insert("d")
    if way == "line":
        laptop.ship()
    else:
        for _ in range(2):
            laptop.must("bundle", "export", box)
            server.must("bundle", "import", box)
        laptop.must("bundle", "receipts", box)
    assert laptop.waiting() == 0
    assert server.sites() == {"a", "b", "c", "d"}
    assert laptop.sites() == {"a", "b", "d"}


def test_that_has_what_a_restored_laptop_lost_is_taken_though_its_numbers_were_given_again(
    field: Field, databases: Databases, tmp_path: Path
) -> None:
    """The laptop met its server before the stick did, and neither could know that there was one."""
    laptop, server, only, late = field.laptops[0], field.server, stick(tmp_path, "only"), stick(tmp_path, "late")
    laptop.insert("a")
    laptop.ship()
    saved = databases.create(laptop.database.version, name="saved", template=laptop.database.name)
    laptop.insert("lost 1", "lost 2")
    laptop.must("bundle", "export", only)
    laptop.insert("lost 3", "lost 4", "lost 5")
    laptop.must("bundle", "export", late)
    laptop.live_in(saved)
    for code in ("b", "c", "d"):
        laptop.insert(code)
        laptop.ship()
    laptop.must("bundle", "export", only)
    lost = {f"lost {i}" for i in range(1, 6)}
    assert "1 batch applied" in server.must("bundle", "import", only)
    assert "2 batches applied, 1 known" in server.must("bundle", "import", late)
    assert server.sites() == {"a", "b", "c", "d"} | lost
    laptop.insert("e")
    laptop.ship()
    assert "3 known already" in server.must("bundle", "import", late)
    assert server.sites() == {"a", "b", "c", "d", "e"} | lost
    assert server.database.value("SELECT count(*) FROM dbsync.conflict") == 0
    assert "up to batch 5" in laptop.must("certificate", "--from", late)
    laptop.must("bundle", "export", late)
    assert list(Path(late).glob("*.dbsync")) == []


def test_of_before_a_reload_holds_nothing_that_was_compacted_since(field: Field, tmp_path: Path) -> None:
    laptop, server, old = field.laptops[0], field.server, stick(tmp_path, "old")
    laptop.insert("a")
    laptop.ship()
    laptop.insert("b")
    laptop.database.sql("INSERT INTO erased (code) VALUES ('gone')")
    laptop.must("bundle", "export", old)
    with own_cluster(laptop.database.version) as cluster:
        laptop.live_in(dump_and_reload(laptop.database, cluster, tmp_path))
        laptop.must("bundle", "receipts", stick(tmp_path, "empty"))
        laptop.database.sql("DELETE FROM erased")
        for name in ("first", "second"):
            laptop.database.sql(NAMED % name)
        laptop.must("compact")
        laptop.ship()
        server.must("bundle", "import", old)
        laptop.ship()
    assert server.database.sql("SELECT code FROM erased") == []
    assert server.database.value("SELECT name FROM site WHERE code = 'b'") == "second"
