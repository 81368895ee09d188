"""References that no constraint holds, compared as what they mean."""

from __future__ import annotations

from typing import LiteralString

import psycopg
import pytest

from dbsync.model.registration import (
    GenericReference,
    KeyTree,
)
from tests.integration.comparing import SUBJECT, Plan, both, columns, found, name, of, run, to
from tests.support.databases import ONE_MIXTURE, Pair


def test_generic_references_are_compared_by_type_and_target(pair: Pair) -> None:
    both(
        pair,
        """
        CREATE TABLE kind (id int PRIMARY KEY, app_label text NOT NULL, model text NOT NULL, UNIQUE (app_label, model));
        CREATE TABLE subject (id int PRIMARY KEY, identifier text NOT NULL UNIQUE);
        CREATE TABLE site (id int PRIMARY KEY, name text NOT NULL UNIQUE);
        CREATE TABLE file (id int PRIMARY KEY, sha text NOT NULL UNIQUE, kind_id int REFERENCES kind, object_id text);
        """,
    )
    fill: LiteralString = """
        INSERT INTO kind VALUES (%(n)s + 1, 'clinic', 'subject'), (%(n)s + 2, 'clinic', 'site');
        INSERT INTO subject VALUES (%(n)s + 1, 'S-1'), (%(n)s + 2, 'S-2');
        INSERT INTO site VALUES (%(n)s + 1, 'north'), (%(n)s + 2, 'south');
        INSERT INTO file VALUES (1, 'a', %(n)s + 1, (%(n)s + 1)::text), (2, 'b', %(n)s + 2, (%(n)s + 1)::text),
            (3, 'c', NULL, NULL), (4, 'd', %(n)s + 1, 'nonsense');
        """
    for database, offset in ((pair.source, 0), (pair.upstream, 70)):
        with psycopg.connect(database.dsn, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
            connection.execute(fill, {"n": offset})
    kind = KeyTree(table=name("kind"), parts=columns("app_label", "model"))
    site = KeyTree(table=name("site"), parts=columns("name"))
    targets = {"clinic.subject": SUBJECT, "clinic.site": site}
    plan = Plan(
        key=KeyTree(table=name("file"), parts=columns("sha")),
        references=(to("kind_id", kind),),
        values=("sha", "object_id"),
        generics=(GenericReference(type_column="kind_id", id_column="object_id", targets=targets),),
    )
    assert run(pair, [plan]).agrees()
    pair.upstream.script(
        "UPDATE file SET object_id = '72' WHERE sha = 'a'; UPDATE file SET kind_id = 71 WHERE sha = 'b'"
    )
    assert found(run(pair, [plan])) == [
        ("file", "different", ("a",), ("object_id",)),
        ("file", "different", ("b",), ("kind_id", "object_id")),
    ]


@ONE_MIXTURE
def test_soft_reference_to_a_row_that_is_gone_counts_as_null(pair: Pair) -> None:
    both(pair, "CREATE TABLE subject (id int PRIMARY KEY, identifier text NOT NULL UNIQUE)")
    both(pair, "CREATE TABLE history (history_id int PRIMARY KEY, id int)")
    pair.source.script("INSERT INTO history VALUES (1, 5)")
    pair.upstream.script("INSERT INTO history VALUES (1, NULL)")
    key = KeyTree(table=name("history"), parts=columns("history_id"))
    assert run(pair, [Plan(key=key, references=(to("id", SUBJECT, soft=True),), values=("history_id",))]).agrees()


HISTORY = Plan(
    key=KeyTree(table=name("history"), parts=columns("history_id")),
    references=(to("id", SUBJECT, soft=True), to("mother_id", SUBJECT, soft=True)),
    values=("history_id", "note"),
)


@pytest.fixture
def recreated(pair: Pair) -> Pair:
    """Give a history whose first subject is gone at the source, its key taken by another row."""
    both(pair, "CREATE TABLE subject (id int PRIMARY KEY, identifier text NOT NULL UNIQUE)")
    both(pair, "CREATE TABLE history (history_id int PRIMARY KEY, id int, mother_id int, note text)")
    pair.source.script("INSERT INTO subject VALUES (6, 'S-1'), (7, 'S-2')")
    pair.upstream.script("INSERT INTO subject VALUES (76, 'S-1'), (77, 'S-2')")
    pair.source.script("INSERT INTO history VALUES (1, 5, 7, 'old'), (2, 6, 7, 'new'), (3, 6, NULL, 'alone')")
    pair.upstream.script("INSERT INTO history VALUES (1, 76, 77, 'old'), (2, 76, 77, 'new'), (3, 76, NULL, 'alone')")
    return pair


def test_soft_reference_to_a_row_created_again_under_its_key_is_no_difference(recreated: Pair) -> None:
    report = run(recreated, [HISTORY])
    assert (report.agrees(), report.differing(), report.differences) == (True, 0, ())
    assert of(report, "history").source_rows == 3


@pytest.mark.parametrize(
    ("change", "row", "column"),
    [
        ("UPDATE history SET mother_id = 76 WHERE history_id = 1", "1", "mother_id"),
        ("UPDATE history SET note = '!' WHERE history_id = 1", "1", "note"),
        ("UPDATE history SET id = NULL WHERE history_id = 2", "2", "id"),
        ("UPDATE history SET id = 77 WHERE history_id = 2", "2", "id"),
        ("UPDATE history SET mother_id = 77 WHERE history_id = 3", "3", "mother_id"),
    ],
)
@ONE_MIXTURE
def test_soft_reference_to_a_row_that_is_there_must_agree(
    recreated: Pair, change: LiteralString, row: str, column: str
) -> None:
    recreated.upstream.script(change)
    assert found(run(recreated, [HISTORY])) == [("history", "different", (row,), (column,))]


@ONE_MIXTURE
def test_generic_reference_to_a_row_created_again_under_its_key_is_no_difference(recreated: Pair) -> None:
    both(recreated, "CREATE TABLE kind (id int PRIMARY KEY, model text NOT NULL UNIQUE)")
    both(recreated, "INSERT INTO kind VALUES (1, 'clinic.subject')")
    both(recreated, "CREATE TABLE file (sha text PRIMARY KEY, kind_id int REFERENCES kind, object_id text)")
    recreated.source.script("INSERT INTO file VALUES ('a', 1, '5'), ('b', 1, '6'), ('c', 1, NULL)")
    recreated.upstream.script("INSERT INTO file VALUES ('a', 1, '76'), ('b', 1, '76'), ('c', 1, NULL)")
    generic = GenericReference(type_column="kind_id", id_column="object_id", targets={"clinic.subject": SUBJECT})
    kind = KeyTree(table=name("kind"), parts=columns("model"))
    sha = KeyTree(table=name("file"), parts=columns("sha"))
    plan = Plan(key=sha, references=(to("kind_id", kind),), values=("sha", "object_id"), generics=(generic,))
    assert run(recreated, [plan]).agrees()
    recreated.upstream.script("UPDATE file SET object_id = '77'")
    assert found(run(recreated, [plan])) == [
        ("file", "different", ("b",), ("object_id",)),
        ("file", "different", ("c",), ("object_id",)),
    ]
