"""The upstream's primary dies, and a standby takes its place: nothing lost, nothing doubled, and the person told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.places import Place
from tests.fault.laptops import add, applied, edit, hold_calm, incarnations, kinds, laptop, own, ship, subjects, told
from tests.support.databases import Database, Databases
from tests.support.service import ServiceProcess, until
from tests.support.standby import catch_up, cut_off, either, promote, standby_of

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]


def reaching(there: Place, upstream: Database, *others: Database) -> Place:
    """Let a laptop know every server that may be the primary."""
    file = there.folder / "dbsync.toml"
    text = file.read_text()
    url = either(upstream.name, upstream.cluster, *(other.cluster for other in others))
    assert upstream.dsn in text
    file.write_text(text.replace(upstream.dsn, url))
    return there


def test_a_service_goes_on_with_the_new_primary_by_itself(databases: Databases, tmp_path: Path) -> None:
    with own(15, "upstream") as old:
        here = laptop(tmp_path, databases.create(18, name="source"), old)
        with standby_of(old.cluster) as standby:
            new = Database(cluster=standby, name=old.name)
            reaching(here, old, new)
            with ServiceProcess(here.folder) as service:
                add(here.source, "a", "b", "c")
                until(lambda: "c" in subjects(old), "nothing arrives")
                catch_up(old.cluster, standby)

                old.cluster.kill()
                add(here.source, "d")
                edit(here.source, "a", "BB")
                promote(standby)

                until(lambda: "d" in subjects(new) and subjects(new)["a"] == "BB", "it does not go on")
                assert service.terminate() == 0
            here.must("verify")
            assert applied(new) == 5
            assert (kinds(here), len(incarnations(new))) == ([], 1)
            hold_calm(new)


def test_a_tail_that_the_standby_never_got_is_noticed_and_sent_again(databases: Databases, tmp_path: Path) -> None:
    """The laptop has receipts of batches that the new primary knows nothing of."""
    with own(15, "upstream") as old:
        here = laptop(tmp_path, databases.create(18, name="source"), old)
        with standby_of(old.cluster) as standby:
            new = Database(cluster=standby, name=old.name)
            reaching(here, old, new)
            add(here.source, "a", "b", "c")
            ship(here)
            catch_up(old.cluster, standby)
            cut_off(standby)
            add(here.source, "d", "e", "f", "g")
            edit(here.source, "a", "BB")
            here.source.sql("DELETE FROM subject WHERE identifier = 'b'")
            ship(here)
            batches = old.sql("SELECT number, hash FROM dbsync.receipt ORDER BY number")
            assert here.status()["pending"] == 0

            old.cluster.kill()
            promote(standby)
            assert set(subjects(new)) == {"a", "b", "c"}
            here.must("run", "--once")

            here.must("verify")
            assert new.sql("SELECT number, hash FROM dbsync.receipt ORDER BY number") == batches
            assert subjects(new) == subjects(here.source)
            assert applied(new) == 9
            assert kinds(here) == ["upstream_restored"]
            assert "nothing is to be decided" in told(here)
            assert len(incarnations(new)) == 1
            hold_calm(new)
