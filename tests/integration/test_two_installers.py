"""Several people install into one database at the same moment: each is told that it is done."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from dbsync import schema
from tests.support.databases import Databases

TOGETHER = 4


def test_the_schema_is_made_once_and_nobody_meets_an_error(databases: Databases, version: int) -> None:
    database = databases.create(version)
    begin = Barrier(TOGETHER)

    def install(_: int) -> None:
        begin.wait()
        schema.upgrade(database.dsn, "upstream")

    with ThreadPoolExecutor(TOGETHER) as people:
        list(people.map(install, range(TOGETHER)))
    with database.connect() as connection:
        assert schema.version(connection) == schema.head()
