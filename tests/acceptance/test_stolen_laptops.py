"""Laptops that were stolen with their keys: what they bring stays outside, also once others have come in their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from dbsync.identity.keys import Keys
from tests.acceptance.test_bundle_route import Field, stick
from tests.support.databases import ONE_MIXTURE, Databases, Pair
from tests.support.served import admit

pytestmark = ONE_MIXTURE


@pytest.fixture
def field(pair: Pair, databases: Databases, tmp_path: Path) -> Field:
    return Field(tmp_path, pair, databases)


def test_what_a_thief_brings_by_stick_stays_outside_though_the_node_came_back_with_new_keys(
    field: Field, tmp_path: Path
) -> None:
    stolen, other = field.laptops
    field.server.must("nodes", "revoke", "field-01", "--reason", "stolen")
    bought = Keys.generate()
    admit(field.server.database, "field-01", bought)
    stolen.insert("forged")
    box = stick(tmp_path, "box")
    stolen.must("bundle", "export", box)
    refused = field.server.type("bundle", "import", box)
    assert (refused.code, "its sender is not known here" in refused.out) == (1, True)
    assert field.server.sites() == set()
    assert field.server.database.value("SELECT count(*) FROM dbsync.peer WHERE lineage IS NOT NULL") == 0, (
        "the name is free for the new laptop's database"
    )
    other.insert("honest")
    other.must("bundle", "export", box)
    assert field.server.type("bundle", "import", box).code == 1
    assert field.server.sites() == {"honest"}
