"""A database all of whose tables are published, for a logical standby or a stream of changes."""

from __future__ import annotations

from tests.integration.test_retention import purge
from tests.support.pipeline import Pipeline


def test_changes_are_shipped_and_purged_where_all_tables_are_published(clinic: Pipeline) -> None:
    for side in (clinic.source, clinic.upstream):
        side.sql("CREATE PUBLICATION everything FOR ALL TABLES")
    clinic.source.script("""
        INSERT INTO visit (id, subject_id, code) VALUES (900, 800, '1000');
        INSERT INTO subject (id, identifier) VALUES (800, 'comes behind its visit');
        INSERT INTO note (text) VALUES ('x'), ('y'); DELETE FROM note WHERE text = 'x'""")
    clinic.agree()
    assert purge(clinic.source) > 0
