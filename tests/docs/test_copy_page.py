"""The page about a copied disk makes the copy a node of its own, where nodes are known by their keys as well."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.test_bundle_route import Field, Place, field, stick
from tests.docs.manual import ROOT
from tests.docs.test_readme import blocks
from tests.support.databases import ONE_MIXTURE, Databases
from tests.support.served import admit

pytestmark = ONE_MIXTURE
__all__ = ["field"]

PAGE = ROOT / "docs" / "how-to" / "restore-or-clone.md"


def copied(field: Field, databases: Databases, statements: str) -> Place:
    """Make a copy of the first laptop's disk, and let it in with keys and a name of its own."""
    database = field.laptops[0].database
    copy = databases.create(database.version, name="copy", template=database.name)
    copy.script(statements)
    upstream = f'[upstream]\nurl = "{field.server.database.dsn}"\nname = "community"\n'
    place = Place(field.server.folder.parent, "field-08", copy, upstream)
    admit(field.server.database, place.name, place.keys)
    return place


def test_a_copy_and_the_laptop_each_bring_their_own(field: Field, databases: Databases, tmp_path: Path) -> None:
    laptop, server, box = field.laptops[0], field.server, stick(tmp_path, "box")
    laptop.insert("a")
    laptop.ship()
    server.database.sql("UPDATE site SET name = 'by the lab'")
    (statements,) = blocks(PAGE, "sql")
    copy = copied(field, databases, statements)
    for turn in range(2):
        for one in (copy, laptop):
            one.insert(f"{one.name} {turn}")
            one.must("bundle", "export", box)
        server.must("bundle", "import", box)
        for one in (copy, laptop):
            one.must("bundle", "receipts", box)
            assert one.waiting() == 0
    for one in (copy, laptop):
        one.insert(f"{one.name} by line")
        one.ship()
    assert len(server.sites()) == 7
    assert server.database.value("SELECT name FROM site WHERE code = 'a'") == "by the lab"
    assert "restored" not in copy.must("status") + laptop.must("status")


def test_a_copy_that_has_another_name_alone_is_told_why_it_is_not_let_in(
    field: Field, databases: Databases, tmp_path: Path
) -> None:
    laptop, server, box = field.laptops[0], field.server, stick(tmp_path, "box")
    laptop.insert("a")
    laptop.must("bundle", "export", box)
    server.must("bundle", "import", box)
    copy = copied(field, databases, "UPDATE dbsync.node SET name = 'field-08'")
    copy.insert("b")
    copy.must("bundle", "export", box)
    refused = server.type("bundle", "import", box)
    assert (refused.code, "of another node's database" in refused.out) == (1, True)
    assert "restore-or-clone.md" in refused.err
