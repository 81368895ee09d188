"""Laptop to community to central, dbsync on each, by the real commands: what the first one captured arrives at the last one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import pytest

from tests.acceptance.places import SCHEMA, Place
from tests.support.databases import Database, Databases

pytestmark = pytest.mark.usefixtures("servers")

SUBJECTS: LiteralString = "SELECT identifier, initials FROM subject ORDER BY 1"
VISITS: LiteralString = """
SELECT s.identifier, v.code, v.note FROM visit v JOIN subject s ON s.id = v.subject_id ORDER BY 1, 2
"""
ORIGINS: LiteralString = """
SELECT DISTINCT c.image[1], c.op::text, coalesce(c.origin, here.name) FROM dbsync.change c, dbsync.node here
WHERE c.layout IN (SELECT id FROM dbsync.layout WHERE relation = 'public.subject') ORDER BY 1, 2
"""


@dataclass(frozen=True, kw_only=True)
class Tiers:
    """Three databases, and a folder for each route between two of them."""

    laptop: Database
    community: Database
    central: Database
    folder: Path

    def route(self, node: str, source: Database, upstream: Database) -> Place:
        """Install dbsync for one route, in a folder of its own."""
        folder = self.folder / f"{source.name} to {upstream.name}"
        folder.mkdir()
        route = Place(folder=folder, source=source, upstream=upstream)
        route.configure(node=node)
        route.install()
        return route

    def beside(self, route: Place, link: str) -> Place:
        """Give another link of the same node to the same upstream."""
        folder = self.folder / link
        folder.mkdir()
        text = (route.folder / "dbsync.toml").read_text()
        named = text.replace('name = "community"\n[service]', f'name = "{link}"\n[service]')
        assert named != text
        (folder / "dbsync.toml").write_text(named)
        return Place(folder=folder, source=route.source, upstream=route.upstream)

    def up(self) -> tuple[Place, Place]:
        """Give the two routes of the ordinary way: to the community, and on to the centre."""
        return (
            self.route("field-07", self.laptop, self.community),
            self.route("community", self.community, self.central),
        )

    def shows(self, query: LiteralString) -> Mapping[str, list[tuple[Any, ...]]]:
        """Ask all three the same."""
        return {
            name: database.sql(query)
            for name, database in (("laptop", self.laptop), ("community", self.community), ("central", self.central))
        }


@pytest.fixture
def tiers(databases: Databases, tmp_path: Path) -> Tiers:
    """Give three databases with one schema, in which no id means the same twice."""
    servers = ((15, "laptop"), (18, "community"), (15, "central"))
    made = [databases.create(version, name=name) for version, name in servers]
    for place, database in enumerate(made):
        database.script(SCHEMA)
        database.sql("SELECT setval(c.oid::regclass, %s) FROM pg_class c WHERE c.relkind = 'S'", [1 + 5000 * place])
    laptop, community, central = made
    return Tiers(laptop=laptop, community=community, central=central, folder=tmp_path)


def ship(*routes: Place) -> None:
    """Ship over some routes, one after the other."""
    for route in routes:
        route.must("run", "--once")


def move(routes: Sequence[Place], there: Database, here: Database) -> None:
    """Let some routes find another database in the place of one."""
    for route in routes:
        file = route.folder / "dbsync.toml"
        file.write_text(file.read_text().replace(there.dsn, here.dsn))


def test_what_laptop_and_community_do_is_the_same_at_the_centre(tiers: Tiers) -> None:
    low, high = tiers.up()
    tiers.community.script("""
        INSERT INTO subject (identifier, initials) VALUES ('both', 'CC'), ('server', 'SS');
        INSERT INTO visit (subject_id, code) SELECT id, 9 FROM subject""")
    tiers.laptop.script("""
        INSERT INTO subject (identifier, initials) VALUES ('both', 'LL'), ('old', 'OO'), ('gone', 'GG'), ('kept', 'KK');
        INSERT INTO visit (subject_id, code) SELECT id, 1 FROM subject""")
    ship(high, low, high)
    tiers.laptop.script("""
        UPDATE subject SET identifier = 'new' WHERE identifier = 'old';
        DELETE FROM visit WHERE subject_id = (SELECT id FROM subject WHERE identifier = 'gone');
        DELETE FROM subject WHERE identifier = 'gone';
        UPDATE visit SET note = 'from the laptop'""")
    tiers.community.script("""
        UPDATE subject SET initials = 'S2' WHERE identifier = 'kept';
        UPDATE visit SET note = 'from the server' WHERE code = 9;
        UPDATE subject SET identifier = 'server-2' WHERE identifier = 'server'""")
    ship(low, high)
    subjects, visits = tiers.shows(SUBJECTS), tiers.shows(VISITS)
    assert subjects["central"] == [("both", "LL"), ("kept", "S2"), ("new", "OO"), ("server-2", "SS")]
    assert subjects["community"] == subjects["central"]
    assert visits["community"] == visits["central"]
    assert [row for row in visits["central"] if row[1] == 1] == visits["laptop"]
    assert tiers.central.value("SELECT count(*) FROM dbsync.conflict") == 0
    for route in (low, high):
        assert route.run("verify").code in (0, 1)
    assert "source and upstream agree" in high.must("verify").out


def test_the_first_origin_is_kept_on_the_way_up(tiers: Tiers) -> None:
    low, high = tiers.up()
    tiers.laptop.sql("INSERT INTO subject (identifier) VALUES ('L')")
    tiers.community.sql("INSERT INTO subject (identifier) VALUES ('C')")
    tiers.route("centre", tiers.central, tiers.laptop)
    ship(low, high)
    assert tiers.community.sql(ORIGINS) == [("C", "I", "community"), ("L", "I", "field-07")]
    assert tiers.central.sql(ORIGINS) == [("C", "I", "community"), ("L", "I", "field-07")]


def test_in_a_ring_every_change_comes_to_all_and_none_returns(tiers: Tiers) -> None:
    low, high = tiers.up()
    once_round = (low, high, tiers.route("centre", tiers.central, tiers.laptop), low)
    everywhere = ("laptop", tiers.laptop), ("community", tiers.community), ("central", tiers.central)
    for name, database in everywhere:
        database.sql("INSERT INTO subject (identifier, initials) VALUES (%s, 'a'), (%s, 'a')", [name, f"{name} old"])
    ship(*once_round)
    for name, database in everywhere:
        database.sql("UPDATE subject SET initials = 'b' WHERE identifier = %s", [name])
        database.sql("UPDATE subject SET identifier = %s WHERE identifier = %s", [f"{name} new", f"{name} old"])
        database.sql("INSERT INTO visit (subject_id, code) SELECT id, 1 FROM subject WHERE identifier = %s", [name])
    ship(*once_round)
    for name, database in everywhere:
        database.sql("DELETE FROM subject WHERE identifier = %s", [f"{name} new"])
    ship(*once_round, high)
    for query, rows in ((SUBJECTS, 3), (VISITS, 3)):
        seen = tiers.shows(query)
        assert seen["laptop"] == seen["community"] == seen["central"]
        assert len(seen["central"]) == rows
    counted = [database.value("SELECT count(*) FROM dbsync.change") for _, database in everywhere]
    ship(high, *once_round)
    assert [database.value("SELECT count(*) FROM dbsync.change") for _, database in everywhere] == counted
    assert [database.value("SELECT count(*) FROM dbsync.conflict") for _, database in everywhere] == [0, 0, 0]


def test_what_waits_at_the_community_flows_on_when_it_is_released(tiers: Tiers) -> None:
    low, high = tiers.up()
    tiers.community.sql("ALTER TABLE subject ADD CONSTRAINT two_letters CHECK (length(initials) = 2)")
    tiers.laptop.script("""
        INSERT INTO subject (identifier, initials) VALUES ('bad', 'BAD'), ('good', 'GD');
        INSERT INTO visit (subject_id, code) SELECT id, 1 FROM subject""")
    ship(low, high)
    assert tiers.central.sql(SUBJECTS) == [("good", "GD")]
    tiers.community.sql("ALTER TABLE subject DROP CONSTRAINT two_letters")
    low.must("quarantine", "retry", "--all")
    ship(high)
    assert tiers.central.sql(VISITS) == tiers.laptop.sql(VISITS)
    assert tiers.central.sql(SUBJECTS) == tiers.laptop.sql(SUBJECTS)
    origins = tiers.community.sql("SELECT DISTINCT origin FROM dbsync.change")
    assert origins == [("field-07",)]


def test_a_conflict_that_is_undone_at_the_community_flows_on(tiers: Tiers) -> None:
    low, high = tiers.up()
    tiers.laptop.sql("INSERT INTO subject (identifier, initials) VALUES ('A', 'first')")
    ship(low, high)
    tiers.community.sql("UPDATE subject SET initials = 'server'")
    tiers.laptop.sql("UPDATE subject SET initials = 'laptop'")
    ship(high, low, high)
    assert tiers.central.sql(SUBJECTS) == [("A", "laptop")]
    assert tiers.central.value("SELECT count(*) FROM dbsync.conflict") == 0
    low.must("conflicts", "undo", str(tiers.community.value("SELECT id FROM dbsync.conflict")))
    ship(high)
    assert tiers.central.sql(SUBJECTS) == [("A", "server")]


def test_what_one_link_brought_a_second_link_to_the_same_server_does_not_bring_again(tiers: Tiers) -> None:
    first = tiers.route("field-07", tiers.laptop, tiers.central)
    second = tiers.beside(first, "by-stick")
    tiers.laptop.sql("INSERT INTO subject (identifier, initials) VALUES ('A', '1'), ('B', '1'), ('C', '1')")
    ship(second)
    tiers.laptop.sql("UPDATE subject SET initials = '2'")
    tiers.laptop.sql("UPDATE subject SET identifier = 'A2' WHERE identifier = 'A'")
    ship(first)
    tiers.laptop.sql("DELETE FROM subject WHERE identifier = 'C'")
    tiers.central.sql("UPDATE subject SET initials = 'changed here' WHERE identifier = 'B'")
    ship(second, first, second)
    assert tiers.central.sql(SUBJECTS) == [("A2", "2"), ("B", "changed here")]
    assert tiers.central.sql("SELECT conflict FROM dbsync.conflict") == []
    changes = tiers.laptop.value("SELECT count(*) FROM dbsync.change")
    assert tiers.central.value("SELECT sum(changes - dropped)::int FROM dbsync.receipt") == changes
    assert tiers.central.value("SELECT sum(dropped)::int FROM dbsync.receipt") == changes


def test_a_community_that_is_restored_gets_what_it_lost_and_the_centre_gets_nothing_twice(
    tiers: Tiers, databases: Databases
) -> None:
    low, high = tiers.up()
    direct = tiers.beside(tiers.route("field-07", tiers.laptop, tiers.central), "direct")
    tiers.laptop.sql("INSERT INTO subject (identifier, initials) VALUES ('A', '1'), ('B', '1')")
    ship(low, high)
    backup = databases.create(tiers.community.version, name="backup", template=tiers.community.name)
    tiers.laptop.sql("UPDATE subject SET identifier = 'A2' WHERE identifier = 'A'")
    tiers.community.sql("INSERT INTO subject (identifier, initials) VALUES ('lost', 'LO')")
    ship(low, high)
    tiers.central.sql("UPDATE subject SET initials = 'changed here' WHERE identifier = 'A2'")
    move((low, high), tiers.community, backup)
    tiers.laptop.sql("DELETE FROM subject WHERE identifier = 'B'")
    backup.sql("INSERT INTO subject (identifier, initials) VALUES ('new', 'NN')")
    ship(low, high, direct)
    assert backup.sql(SUBJECTS) == [("A2", "1"), ("new", "NN")]
    assert tiers.central.sql(SUBJECTS) == [("A2", "changed here"), ("lost", "LO"), ("new", "NN")]
    for database in (backup, tiers.central):
        assert database.value("SELECT count(*) FROM dbsync.quarantine") == 0
        assert database.value("SELECT count(*) FROM dbsync.conflict") == 0
    assert tiers.central.sql("SELECT changes - dropped FROM dbsync.receipt WHERE link = 'direct'") == [(0,)]
