"""Every table, view, column and function of the dbsync schema says what it means, in the database and on its page."""

from __future__ import annotations

import pytest

from dbsync import schema
from tests.docs.catalogue import PAGE, VERSION, Catalogue
from tests.docs.test_readme import blocks
from tests.support.databases import Databases


def test_everything_in_the_schema_says_what_it_means(databases: Databases) -> None:
    database = databases.create(VERSION)
    schema.upgrade(database.dsn, "source")
    with database.connect() as connection:
        found = Catalogue.read(connection)
        assert list(found.without_words()) == [], "COMMENT ON it, in the migration that makes it"
        assert PAGE.read_text() == found.page(), "python -m tests.docs.manual"
        (examples,) = blocks(PAGE, "sql")
        for example in examples.strip().splitlines():
            assert connection.execute(example.encode()).description is not None


@pytest.mark.parametrize("name", ["status", "batch"])
def test_the_views_come_first(name: str) -> None:
    assert PAGE.read_text().index(f"## dbsync.{name}\n") < PAGE.read_text().index("## dbsync.alembic_version\n")
