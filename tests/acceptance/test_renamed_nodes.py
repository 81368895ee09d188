"""A node that gets another name: what it brought under the old one is known, by whatever way it comes again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.test_bundle_route import Field, Place, stick
from tests.support.databases import ONE_MIXTURE, Databases, Pair

pytestmark = ONE_MIXTURE


@pytest.fixture
def field(pair: Pair, databases: Databases, tmp_path: Path) -> Field:
    return Field(tmp_path, pair, databases)


def rename(field: Field, laptop: Place, to: str) -> None:
    """Give a node another name at both ends, as the manual says."""
    field.server.must("nodes", "rename", laptop.name, to)
    laptop.database.sql(f"UPDATE dbsync.node SET name = '{to}'")
    config = laptop.folder / "dbsync.toml"
    config.write_text(config.read_text().replace(f'name = "{laptop.name}"', f'name = "{to}"'))
    laptop.name = to


def test_nothing_is_applied_twice_after_a_node_got_another_name(field: Field) -> None:
    laptop, server = field.laptops[0], field.server
    laptop.insert("a", "b")
    laptop.ship()
    server.database.sql("UPDATE site SET name = 'by the lab'")
    rename(field, laptop, "field-70")
    laptop.insert("c")
    laptop.ship()
    named: dict[str, str | None] = dict(server.database.sql("SELECT code, name FROM site"))
    assert named == {"a": "by the lab", "b": "by the lab", "c": None}
    assert laptop.waiting() == 0


def test_by_stick_too_nothing_is_applied_twice_after_a_node_got_another_name(field: Field, tmp_path: Path) -> None:
    laptop, server, box = field.laptops[0], field.server, stick(tmp_path, "box")
    laptop.insert("a", "b")
    laptop.must("bundle", "export", box)
    server.must("bundle", "import", box)
    laptop.must("bundle", "receipts", box)
    server.database.sql("UPDATE site SET name = 'by the lab'")
    laptop.insert("under way")
    laptop.must("bundle", "export", box)
    rename(field, laptop, "field-70")
    laptop.insert("c")
    laptop.must("bundle", "export", box)
    told = server.type("bundle", "import", box)
    assert "field-70 was called field-01 when it wrote this batch" in told.out
    assert "--went-back" in told.err
    laptop.must("bundle", "receipts", box, "--went-back")
    laptop.must("bundle", "export", box)
    assert "2 batches applied" in server.type("bundle", "import", box).out
    named: dict[str, str | None] = dict(server.database.sql("SELECT code, name FROM site"))
    assert named == {"a": "by the lab", "b": "by the lab", "under way": None, "c": None}
    assert "3 batches acknowledged" in laptop.must("bundle", "receipts", box)


def test_whoever_renames_a_node_is_told_what_to_do_there(field: Field) -> None:
    said = field.server.type("nodes", "rename", "field-01", "field-70")
    assert said.out == "field-01 is field-70 now\n"
    assert "UPDATE dbsync.node SET name = 'field-70';" in said.err
