"""The statements of the page about erasing a person find what dbsync remembers of him."""

from __future__ import annotations

from dbsync import schema
from tests.docs.manual import ROOT
from tests.docs.test_readme import blocks
from tests.release.test_past import restored
from tests.support.databases import Database, Databases

PAGE = ROOT / "docs" / "how-to" / "erase-a-person.md"
WRITTEN_DOWN = """
INSERT INTO dbsync.list (id, made_by, made_at, paper, signature, own, sent_at)
VALUES (gen_random_uuid(), 'field-07', now(), '{"both": ["S-1", "S-2"]}', 'x', false, NULL),
       (gen_random_uuid(), 'field-07', now(), '{"both": ["S-11"]}', 'x', false, NULL);
INSERT INTO dbsync.audit (who, address, what, command) VALUES ('ann', '::1', 'resend', 'dbsync resend subject --key S-1');
UPDATE dbsync.quarantine SET state = 'skipped' WHERE behind IS NULL;
"""


def about(page_sql: str, who: str) -> str:
    """Put a person into the page's statements."""
    return page_sql.replace("S-1001", who)


def found(database: Database, look: str) -> list[int]:
    """Count what each statement finds."""
    statements = [one for one in look.split(";") if one.strip()]
    return [len(database.sql(one.encode())) for one in statements]


def test_what_dbsync_remembers_of_a_person_is_found(databases: Databases) -> None:
    (look,) = blocks(PAGE, "sql")
    database = databases.create(15)
    restored(database, "0010", "upstream")
    schema.upgrade(database.dsn, "upstream")
    database.script(WRITTEN_DOWN)
    assert found(database, about(look, "S-1")) == [0, 1, 1, 1]
    assert found(database, about(look, "S-2")) == [0, 1, 1, 0]
    assert found(database, about(look, "S-3"))[0] == 2, "a case, and what waits behind it"
