"""A node or its upstream is restored, copied, reloaded or upgraded: nothing lost, nothing doubled, and the person told."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest

from dbsync.service.post import Post
from dbsync.service.streaming import Streaming
from tests.acceptance.places import TABLES, place
from tests.fault.laptops import (
    SMALL,
    add,
    applied,
    at,
    config,
    edit,
    hold_calm,
    incarnations,
    kinds,
    laptop,
    own,
    ship,
    subjects,
    told,
)
from tests.support.databases import Database, Databases
from tests.support.lives import back_up, copied, restore

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]


class TestARestoredLaptop:
    def test_goes_on_and_what_was_pending_arrives_once(self, databases: Databases, tmp_path: Path) -> None:
        with own(15, "clinic") as source:
            here = laptop(tmp_path, source, databases.create(18, name="upstream"))
            add(source, "shipped")
            here.must("run", "--once")
            add(source, "pending 1", "pending 2", "pending 3")
            edit(source, "pending 1", "BB")
            saved = back_up(source.cluster)
            add(source, "lost")
            edit(source, "shipped", "lost")
            here.must("run", "--once")
            here.upstream.sql("UPDATE subject SET initials = 'upstream' WHERE identifier = 'pending 2'")
            restore(source.cluster, saved)
            add(source, "after")

            here.must("run", "--once")

            assert subjects(here.upstream) == {
                "after": "AA", "lost": "AA", "pending 1": "BB", "pending 2": "upstream", "pending 3": "AA",
                "shipped": "lost",
            }  # fmt: skip
            assert applied(here.upstream) == 8
            hold_calm(here.upstream)
            assert kinds(here) == ["restored"]
            assert "dbsync verify" in told(here)
            verified = here.run("verify")
            assert verified.code == 1
            assert "lost" in verified.out
            add(source, "later")
            here.must("run", "--once")
            assert "later" in subjects(here.upstream)
            assert kinds(here) == ["restored"]
            assert len(incarnations(here.upstream)) == 2

    def test_is_noticed_by_a_batch_of_the_same_number_with_other_content(
        self, databases: Databases, tmp_path: Path
    ) -> None:
        """As far as numbers go both remember the same: the batch that is open arrived as another one."""
        with own(15, "clinic") as source:
            here = laptop(tmp_path, source, databases.create(18, name="upstream"))
            add(source, "shipped")
            ship(here)
            saved = back_up(source.cluster)
            add(source, "lost")
            ship(here)
            restore(source.cluster, saved)
            add(source, "instead")
            upstream = here.upstream.sql("SELECT number, hash FROM dbsync.receipt ORDER BY number DESC LIMIT 1")
            assert upstream[0][0] == 2
            ship(here)
            assert set(subjects(here.upstream)) == {"shipped", "lost", "instead"}
            assert kinds(here) == ["restored"]
            hold_calm(here.upstream)

    def test_that_lost_nothing_is_not_spoken_of(self, databases: Databases, tmp_path: Path) -> None:
        with own(15, "clinic") as source:
            here = laptop(tmp_path, source, databases.create(18, name="upstream"))
            add(source, "a", "b", "c")
            ship(here)
            saved = back_up(source.cluster)
            add(source, "never shipped")
            restore(source.cluster, saved)
            add(source, "d")
            ship(here)
            assert set(subjects(here.upstream)) == {"a", "b", "c", "d"}
            assert kinds(here) == []
            assert len(incarnations(here.upstream)) == 1
            here.must("verify")


class TestACopyOfALaptop:
    @pytest.mark.parametrize("first", ["original", "copy"])
    def test_and_the_original_both_ship_what_was_pending_once(
        self, databases: Databases, tmp_path: Path, first: str
    ) -> None:
        with own(15, "clinic") as source:
            one = laptop(tmp_path, source, databases.create(18, name="upstream"))
            add(source, "shipped")
            ship(one)
            add(source, "pending 1", "pending 2", "pending 3")
            edit(source, "pending 1", "BB")
            with copied(source.cluster, back_up(source.cluster)) as twin:
                two = at(one, Database(cluster=twin, name="clinic"), tmp_path / "copy")
                places = [one, two] if first == "original" else [two, one]
                for there in places:
                    add(there.source, f"only {places.index(there)}")
                    ship(there)
                    there.upstream.sql("UPDATE subject SET initials = 'upstream' WHERE identifier = 'pending 2'")
                for turn in range(2):
                    for there in places:
                        add(there.source, f"turn {turn} of {places.index(there)}")
                        ship(there)
                assert subjects(one.upstream) == {
                    "only 0": "AA", "only 1": "AA", "pending 1": "BB", "pending 2": "upstream", "pending 3": "AA",
                    "shipped": "AA", "turn 0 of 0": "AA", "turn 0 of 1": "AA", "turn 1 of 0": "AA", "turn 1 of 1": "AA",
                }  # fmt: skip
                assert applied(one.upstream) == 11
                hold_calm(one.upstream)
                assert [kinds(there) for there in places] == [[], ["restored"]]

    def test_that_begins_to_send_in_the_middle_of_a_session_is_found_out(
        self, databases: Databases, tmp_path: Path
    ) -> None:
        with own(15, "clinic") as source:
            one = laptop(tmp_path, source, databases.create(18, name="upstream"))
            add(source, "shipped")
            ship(one)
            add(source, "pending")
            with copied(source.cluster, back_up(source.cluster)) as twin:
                two = at(one, Database(cluster=twin, name="clinic"), tmp_path / "copy")
                ways = [Streaming(Post(config=config(there))) for there in (one, two)]
                with ways[0].link() as first, ways[1].link() as second:
                    for turn in range(2):
                        for there, link in ((one, first), (two, second)):
                            add(there.source, f"{there.folder.name} {turn}")
                            link.ship(lambda: False)
                assert applied(one.upstream) == 6
                assert len(subjects(one.upstream)) == 6
                hold_calm(one.upstream)
                assert (kinds(one), kinds(two)) == ([], ["copied"])
                assert "stop one of them" in told(two)

    def test_and_the_original_ship_at_the_same_time(self, databases: Databases, tmp_path: Path) -> None:
        with own(15, "clinic") as source:
            one = laptop(tmp_path, source, databases.create(18, name="upstream"))
            add(source, "shipped")
            ship(one)
            add(source, *(f"pending {i}" for i in range(100)))
            with copied(source.cluster, back_up(source.cluster)) as twin:
                two = at(one, Database(cluster=twin, name="clinic"), tmp_path / "copy")
                with one.service() as first, two.service() as second:
                    for service in (first, second):
                        service.wait_for("batch_applied")
                    writers = [
                        threading.Thread(target=add, args=(there.source, *(f"{name} {i}" for i in range(60))))
                        for there, name in ((one, "one"), (two, "two"))
                    ]
                    for writer in writers:
                        writer.start()
                    for writer in writers:
                        writer.join()
                    one.see("subject", 221)
                    assert first.terminate() == 0
                    assert second.terminate() == 0
                assert applied(one.upstream) == 221
                hold_calm(one.upstream)
                assert len(incarnations(one.upstream)) == 2
                assert Counter(kinds(one) + kinds(two)) in (Counter(["copied"]), Counter(["restored"]))


class TestAnUpstreamThatWentBackInTime:
    def test_gets_again_what_it_lost(self, databases: Databases, tmp_path: Path) -> None:
        with own(18, "upstream") as upstream:
            here = laptop(tmp_path, databases.create(15, name="source"), upstream)
            with here.source.connect() as slow:
                add(here.source, "a", "b", "c", "d", "e")
                slow.execute("BEGIN; INSERT INTO subject (identifier, initials) VALUES ('slow', 'AA')")
                here.must("run", "--once")
                saved = back_up(upstream.cluster)
                add(here.source, "f", "g", "h", "i")
                edit(here.source, "a", "BB")
                here.must("run", "--once")
                slow.execute("COMMIT")
            add(here.source, "j")
            here.must("run", "--once")
            here.source.sql("DELETE FROM subject WHERE identifier = 'b'")
            batches = upstream.sql("SELECT number, hash FROM dbsync.receipt ORDER BY number")
            restore(upstream.cluster, saved)

            here.must("run", "--once")

            again = upstream.sql("SELECT number, hash FROM dbsync.receipt ORDER BY number")
            assert again[: len(batches)] == batches, "the very same batches come again"

            here.must("verify")
            assert subjects(upstream) == subjects(here.source)
            assert applied(upstream) == 13
            hold_calm(upstream)
            assert kinds(here) == ["upstream_restored"]
            assert "nothing is to be decided" in told(here)
            assert len(incarnations(upstream)) == 1

    def test_in_the_middle_of_a_window_gets_again_what_it_lost(self, databases: Databases, tmp_path: Path) -> None:
        """A backup from between two batches of what was pending together."""
        with own(18, "upstream") as upstream:
            here = laptop(tmp_path, databases.create(15, name="source"), upstream)
            add(here.source, "a", "b", "c", "d", "e", "f", "g")
            looks = iter([False, False, True])
            with Streaming(Post(config=config(here))).link() as link:
                link.ship(lambda: next(looks))
            assert set(subjects(upstream)) == {"a", "b", "c", "d"}
            saved = back_up(upstream.cluster)
            ship(here)
            add(here.source, "h")
            ship(here)
            restore(upstream.cluster, saved)
            ship(here)
            here.must("verify")
            assert applied(upstream) == 8
            hold_calm(upstream)
            assert kinds(here) == ["upstream_restored"]

    def test_to_before_the_node_was_known_gets_everything_again(self, databases: Databases, tmp_path: Path) -> None:
        with own(18, "upstream") as upstream:
            here = place(tmp_path, databases.create(15, name="source"), upstream, tables=SMALL + TABLES)
            here.must("install-upstream")
            saved = back_up(upstream.cluster)
            here.install()
            add(here.source, "a", "b", "c")
            ship(here)
            restore(upstream.cluster, saved)
            here.must("install-upstream")
            ship(here)
            here.must("verify")
            assert kinds(here) == ["upstream_restored"]

    def test_further_than_changes_are_held_is_mended_by_verify_repair(
        self, databases: Databases, tmp_path: Path
    ) -> None:
        with own(18, "upstream") as upstream:
            tables = SMALL + '[retention]\nkeep = "0"\n' + TABLES
            here = laptop(tmp_path, databases.create(15, name="source"), upstream, tables=tables)
            add(here.source, "a")
            here.must("run", "--once")
            saved = back_up(upstream.cluster)
            add(here.source, "b", "c", "d")
            here.must("run", "--once")
            add(here.source, "e")
            here.must("run", "--once")
            restore(upstream.cluster, saved)
            add(here.source, "f")
            here.must("run", "--once")
            assert "f" in subjects(upstream)
            assert kinds(here) == ["upstream_restored"]
            assert "dbsync verify --repair" in told(here)
            assert here.run("verify", "--repair").code == 1
            here.must("run", "--once")
            here.must("verify")
            assert subjects(upstream) == subjects(here.source)

    def test_to_a_life_of_the_laptop_that_is_not_on_record_any_more_says_what_to_type(self, tmp_path: Path) -> None:
        with own(18, "upstream") as upstream, own(15, "clinic") as source:
            here = laptop(tmp_path, source, upstream)
            add(source, "a")
            ship(here)
            older = back_up(upstream.cluster)
            add(source, "b")
            ship(here)
            laptops = back_up(source.cluster)
            add(source, "of the lost time")
            ship(here)
            restore(source.cluster, laptops)
            add(source, "c")
            ship(here)
            source.sql("DELETE FROM dbsync.sent s USING dbsync.node n WHERE s.incarnation <> n.incarnation")
            restore(upstream.cluster, older)
            ship(here)
            assert kinds(here) == ["restored", "upstream_restored"]
            assert "dbsync verify --repair" in told(here), "b is not there, and nothing sends it again"
            assert here.run("verify", "--repair").code == 1
            ship(here)
            here.must("verify")
            assert subjects(upstream) == subjects(source)
            assert kinds(here) == ["restored", "upstream_restored"]

    def test_and_a_laptop_that_did_too_come_together(self, tmp_path: Path) -> None:
        with own(18, "upstream") as upstream, own(15, "clinic") as source:
            here = laptop(tmp_path, source, upstream)
            add(source, "a")
            ship(here)
            add(source, "pending")
            older, laptops = back_up(upstream.cluster), back_up(source.cluster)
            add(source, "b", "c", "d")
            ship(here)
            restore(source.cluster, laptops)
            add(source, "e")
            ship(here)
            restore(upstream.cluster, older)
            add(source, "f")
            ship(here)
            here.must("verify")
            assert set(subjects(upstream)) == {"a", "pending", "e", "f"}
            hold_calm(upstream)
            assert kinds(here) == ["restored", "upstream_restored"]

    def test_to_a_past_in_which_a_copy_had_sent_instead(self, tmp_path: Path) -> None:
        """A number that both remember, with other content: they part before it."""
        with own(18, "upstream") as upstream, own(15, "clinic") as source:
            here = laptop(tmp_path, source, upstream)
            add(source, "a")
            ship(here)
            add(source, "pending 1", "pending 2", "pending 3")
            before = back_up(upstream.cluster, "before")
            with copied(source.cluster, back_up(source.cluster)) as twin:
                there = at(here, Database(cluster=twin, name="clinic"), tmp_path / "copy")
                add(there.source, "of the copy")
                edit(there.source, "a", "CC")
                ship(there)
            with_copy = back_up(upstream.cluster, "with copy")
            restore(upstream.cluster, before)
            add(source, "b")
            with here.source.connect() as session, session.transaction():
                session.execute("UPDATE subject SET initials = 'BB' WHERE identifier LIKE 'pending%'")
                ship(here)
            for name in ("c", "d", "e"):
                add(source, name)
                ship(here)
            restore(upstream.cluster, with_copy)
            add(source, "f")
            ship(here)
            assert subjects(upstream) == subjects(source) | {"of the copy": "AA", "a": "CC"}
            assert applied(upstream) == 1 + 3 + 2 + 1 + 3 + 3 + 1
            hold_calm(upstream)
            assert kinds(here) == ["upstream_restored"]
            assert len(incarnations(upstream)) == 2


class TestTwoWays:
    def test_of_one_node_to_one_upstream_apply_its_changes_once(self, databases: Databases, tmp_path: Path) -> None:
        one = laptop(tmp_path, databases.create(15, name="source"), databases.create(18, name="upstream"))
        two = at(one, one.source, tmp_path / "two")
        file = two.folder / "dbsync.toml"
        file.write_text(file.read_text().replace('name = "community"', 'name = "other"'))
        for turn, there in enumerate([one, two, one, two, two]):
            add(one.source, f"first {turn}", f"second {turn}", f"third {turn}")
            edit(one.source, "first 0", f"{turn}")
            ship(there)
            one.upstream.sql("UPDATE subject SET initials = 'up' WHERE identifier = 'second 0'")
        ship(one)
        assert subjects(one.upstream) == subjects(one.source) | {"second 0": "up"}
        assert applied(one.upstream) == 20
        assert one.upstream.value("SELECT sum(dropped) FROM dbsync.receipt") == 20
        hold_calm(one.upstream)
        assert (kinds(one), len(incarnations(one.upstream))) == ([], 1)
