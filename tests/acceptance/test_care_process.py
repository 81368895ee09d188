"""A table was migrated: what ``dbsync run`` does about its triggers, and what ``status`` says."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.places import Place, place
from tests.integration.test_least_rights import folder_as, login
from tests.support.databases import ONE_MIXTURE, Pair
from tests.support.service import until


def triggers(of: Place) -> dict[str, str]:
    return {table["table"]: table["trigger"] for table in of.status()["tables"]}


@ONE_MIXTURE
def test_drift_is_loud_where_the_service_may_not_mend_it_and_mended_where_it_may(pair: Pair, tmp_path: Path) -> None:
    here = place(tmp_path, pair.source, pair.upstream)
    here.install()
    for database in (here.upstream, here.source):
        database.sql("ALTER TABLE subject ADD mother_id int REFERENCES subject")
    with (
        login(here.source, "service", "dbsync_replicator") as mine,
        login(here.upstream, "service", "dbsync_replicator") as theirs,
    ):
        limited = folder_as(here, tmp_path / "service", mine, theirs)
        with limited.service() as service:
            service.wait_for("triggers_drifted")
            here.source.sql("INSERT INTO subject (identifier) VALUES ('S-1')")
            until(lambda: limited.status()["link"]["last_batch"] > 0, "it ships nothing any more")
            assert "triggers need care on subject: dbsync install-triggers" in limited.must("status").out
            assert triggers(limited) == {"subject": "outdated", "visit": "installed"}
            assert service.terminate() == 0
        assert [said["tables"] for said in service.said("triggers_drifted")] == [["subject"]]
    with here.service() as service:
        service.wait_for("triggers_renewed")
        here.source.sql("INSERT INTO subject (identifier, mother_id) SELECT 'S-2', id FROM subject")
        here.see("subject", 2)
        assert "triggers need care" not in here.must("status").out
        here.source.sql("ALTER TABLE visit ADD room text")
        here.upstream.sql("ALTER TABLE visit ADD room text")
        service.reload()
        until(lambda: set(triggers(here).values()) == {"installed"}, "a hangup does not renew the triggers")
        assert service.terminate() == 0
    here.must("verify")
