"""One node's changes at the centre by two ways, directly and through the community: each is applied once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import LiteralString

import pytest

from dbsync.apply.load import Released
from dbsync.changelog import lives
from dbsync.changelog.compact import compact
from dbsync.model.batch import Header
from dbsync.service import node as nodes
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair
from tests.support.pipeline import LINK, Pipeline, prepared
from tests.support.service import until

pytestmark = ONE_MIXTURE

SCHEMA: LiteralString = """
CREATE TABLE subject (id bigserial PRIMARY KEY, name text NOT NULL UNIQUE, note text, n int NOT NULL DEFAULT 0);
CREATE TABLE visit (
    id bigserial PRIMARY KEY, subject_id bigint NOT NULL REFERENCES subject DEFERRABLE INITIALLY DEFERRED,
    code int NOT NULL, n int NOT NULL DEFAULT 0, UNIQUE (subject_id, code));
"""
SUBJECT = '[[tables]]\nname = "subject"\n'
TABLES = SUBJECT + '[[tables]]\nname = "visit"\n'
SUBJECTS: LiteralString = "SELECT name, n FROM subject ORDER BY 1"
VISITS: LiteralString = "SELECT s.name, v.code, v.n FROM visit v JOIN subject s ON s.id = v.subject_id ORDER BY 1, 2"


@dataclass(frozen=True, kw_only=True)
class Ways:
    """Laptop to community, community to centre, and laptop to centre."""

    low: Pipeline
    high: Pipeline
    direct: Pipeline

    @property
    def laptop(self) -> Database:
        """Give where the changes are made."""
        return self.low.source

    @property
    def community(self) -> Database:
        """Give the tier between."""
        return self.high.source

    @property
    def central(self) -> Database:
        """Give where both ways end."""
        return self.high.upstream

    def does(self, *statements: LiteralString) -> None:
        """Do something on the laptop and bring it to the community: each statement a transaction and a batch."""
        for statement in statements:
            self.laptop.sql(statement)
            self.low.ship()

    def told(self) -> list[int]:
        """Ship from the community to the centre; give how many whole transactions of the laptop each batch told of."""
        found = []
        while (cut := self.high.reader.next_cut(20_000)) is not None:
            batch = self.high.reader.batch(cut)
            again = self.high.reader.batch(cut)
            assert again.header == batch.header
            found.append(told_of(batch.header).get(self.low.node.lineage, 0))
            self.high.reader.acknowledge(cut, self.high.apply(batch))
        return found

    def both_say_the_same(self) -> None:
        """Hold that laptop and centre have the same rows, and that nothing waits or was in conflict."""
        for query in (SUBJECTS, VISITS):
            assert self.central.sql(query) == self.laptop.sql(query)
        assert quiet(self.central)


def quiet(upstream: Database) -> bool:
    """Say whether no change met a row that was not what it took it for."""
    asked = "SELECT (SELECT count(*) FROM dbsync.quarantine) + (SELECT count(*) FROM dbsync.conflict)"
    return bool(upstream.value(asked) == 0)


def applied(upstream: Database, node: str) -> int:
    """Count the changes of a node that were not left out."""
    counted = "SELECT coalesce(sum(changes - dropped), 0)::int FROM dbsync.receipt WHERE node = %s"
    return int(upstream.value(counted, [node]))


@pytest.fixture
def bases(databases: Databases, pair: Pair) -> tuple[Database, Database, Database]:
    """Give a laptop, a community and a centre with one schema."""
    first, second = prepared(databases, pair, SCHEMA), prepared(databases, pair, SCHEMA)
    second.source.sql("SELECT setval('subject_id_seq', 4000)")
    return first.source, second.source, first.upstream


def opened(
    stack: ExitStack, bases: tuple[Database, Database, Database], *, passes: str = TABLES, rules: str = ""
) -> Ways:
    """Open the three ways; ``passes`` is what the community ships, ``rules`` its rules for what it gets."""
    laptop, community, central = bases
    low = stack.enter_context(Pipeline(laptop, community, TABLES.replace('"subject"\n', f'"subject"\n{rules}\n')))
    high = stack.enter_context(Pipeline(community, central, passes, node="community"))
    direct = stack.enter_context(Pipeline(laptop, central, TABLES))
    direct.reader = direct.reads(direct.reader.connection, "central")
    return Ways(low=low, high=high, direct=direct)


@pytest.fixture
def ways(bases: tuple[Database, Database, Database]) -> Iterator[Ways]:
    """Give the three ways, where the community passes everything on."""
    with ExitStack() as stack:
        yield opened(stack, bases)


STORY: tuple[LiteralString, ...] = (
    "INSERT INTO subject (name) VALUES ('A'), ('B'), ('C')",
    "INSERT INTO visit (subject_id, code) SELECT id, 1 FROM subject",
    "UPDATE subject SET name = 'A2' WHERE name = 'A'",
    "UPDATE subject SET n = 1",
    "WITH gone AS (DELETE FROM visit WHERE subject_id = (SELECT id FROM subject WHERE name = 'B')) "
    "DELETE FROM subject WHERE name = 'B'",
)


def test_what_came_directly_is_left_out_when_the_community_brings_it(ways: Ways) -> None:
    ways.does(*STORY)
    ways.direct.ship()
    before = ways.central.sql("SELECT name, xmin::text FROM subject ORDER BY 1")
    assert ways.told() == [len(STORY)]
    ways.both_say_the_same()
    assert applied(ways.central, "community") == 0
    assert ways.central.sql("SELECT name, xmin::text FROM subject ORDER BY 1") == before


def test_what_the_community_brought_is_left_out_when_it_comes_directly(ways: Ways) -> None:
    ways.does(*STORY)
    assert ways.told() == [len(STORY)]
    ways.direct.ship()
    ways.both_say_the_same()
    assert applied(ways.central, "field-01") == 0


def test_each_way_may_be_ahead_in_turn(ways: Ways) -> None:
    for ahead, statement in enumerate(STORY):
        ways.does(statement)
        if ahead % 2:
            ways.direct.ship()
        ways.told()
        ways.direct.ship()
        ways.both_say_the_same()
    changes = ways.laptop.value("SELECT count(*)::int FROM dbsync.change")
    assert applied(ways.central, "field-01") + applied(ways.central, "community") == changes


def test_an_older_update_that_comes_second_changes_nothing(ways: Ways) -> None:
    ways.does("INSERT INTO subject (name, n) VALUES ('A', 1)", "UPDATE subject SET n = 2", "UPDATE subject SET n = 3")
    ways.direct.ship()
    ways.central.sql("UPDATE subject SET n = 100")
    while (cut := ways.high.reader.next_cut(1)) is not None:
        ways.high.reader.acknowledge(cut, ways.high.apply(ways.high.reader.batch(cut)))
        assert ways.central.sql(SUBJECTS) == [("A", 100)]
    assert quiet(ways.central)


def test_a_row_that_was_renamed_does_not_come_back_under_its_first_name(ways: Ways) -> None:
    ways.does("INSERT INTO subject (name) VALUES ('A')", "UPDATE subject SET name = 'B'")
    ways.direct.ship()
    cut = ways.high.reader.next_cut(1)
    assert cut is not None
    ways.high.reader.acknowledge(cut, ways.high.apply(ways.high.reader.batch(cut)))
    assert ways.central.sql(SUBJECTS) == [("B", 0)]
    ways.told()
    ways.both_say_the_same()


def test_what_the_community_changed_itself_arrives_beside_it(ways: Ways) -> None:
    ways.does("INSERT INTO subject (name, n) VALUES ('A', 1)")
    ways.direct.ship()
    ways.community.script("INSERT INTO subject (name) VALUES ('S'); UPDATE subject SET note = 'seen' WHERE name = 'A'")
    ways.does("UPDATE subject SET n = 2")
    ways.told()
    ways.direct.ship()
    assert ways.central.sql("SELECT name, n, note FROM subject ORDER BY 1") == [("A", 2, "seen"), ("S", 0, None)]
    assert quiet(ways.central)


def test_a_batch_of_which_the_centre_has_a_part_is_applied_whole(ways: Ways) -> None:
    ways.laptop.sql("INSERT INTO subject (name, n) VALUES ('A', 1)")
    ways.direct.ship()
    ways.does("UPDATE subject SET n = 2")
    assert ways.told() == [2]
    ways.direct.ship()
    assert ways.central.sql(SUBJECTS) == ways.laptop.sql(SUBJECTS)
    assert applied(ways.central, "field-01") == 1


def test_a_batch_of_which_a_table_comes_to_nothing_is_told_of(ways: Ways) -> None:
    """A visit that was made and taken back on the laptop is never written at the community."""
    ways.does("INSERT INTO subject (name) VALUES ('A')")
    with ways.laptop.connect() as session, session.transaction():
        session.execute("INSERT INTO visit (subject_id, code) SELECT id, 1 FROM subject")
        session.execute("DELETE FROM visit")
        session.execute("UPDATE subject SET name = 'B'")
    ways.low.ship()
    assert ways.told() == [2]
    ways.direct.ship()
    ways.both_say_the_same()
    assert applied(ways.central, "field-01") == 0


@pytest.mark.parametrize("direct_first", [True, False])
def test_both_ways_at_the_same_moment_wait_for_each_other(ways: Ways, direct_first: bool) -> None:
    ways.does("INSERT INTO subject (name, n) VALUES ('A', 1)")
    ways.direct.ship()
    ways.told()
    ways.does("UPDATE subject SET n = 2")
    first, second = (ways.direct, ways.high) if direct_first else (ways.high, ways.direct)
    with ThreadPoolExecutor(2) as pool, ways.central.connect() as other:
        with other.transaction():
            other.execute("SELECT FROM subject FOR UPDATE")
            shipping = [pool.submit(first.ship)]
            until(lambda: waiting(ways.central) == 1, "the first does not wait for the row")
            shipping.append(pool.submit(second.ship))
            until(lambda: waiting(ways.central) == 2, "the second does not wait for the first")
        assert [way.result(60) for way in shipping] == [1, 1]
    ways.both_say_the_same()
    last_two = "SELECT changes - dropped FROM dbsync.receipt ORDER BY applied_at DESC LIMIT 2"
    assert sorted(ways.central.sql(last_two)) == [(0,), (1,)]


def waiting(upstream: Database) -> int:
    """Count the sessions that wait for a lock."""
    asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return int(upstream.value(asked))


class TestWhatIsNotPassedOnIsNotTold:
    """A claim too many would leave something out for good."""

    def test_a_table_that_the_community_does_not_ship(self, bases: tuple[Database, Database, Database]) -> None:
        with ExitStack() as stack:
            ways = opened(stack, bases, passes=SUBJECT)
            ways.does("WITH s AS (INSERT INTO subject (name) VALUES ('A') RETURNING id) "
                      "INSERT INTO visit (subject_id, code) SELECT id, 1 FROM s")  # fmt: skip
            assert ways.told() == [0]
            ways.direct.ship()
            ways.both_say_the_same()

    def test_a_table_whose_triggers_are_switched_off_at_the_community(self, ways: Ways) -> None:
        ways.community.sql("ALTER TABLE visit DISABLE TRIGGER dbsync_insert")
        ways.does("WITH s AS (INSERT INTO subject (name) VALUES ('A') RETURNING id) "
                  "INSERT INTO visit (subject_id, code) SELECT id, 1 FROM s")  # fmt: skip
        assert ways.told() == [0]
        ways.direct.ship()
        ways.both_say_the_same()

    def test_a_column_that_the_community_leaves_out(self, bases: tuple[Database, Database, Database]) -> None:
        with ExitStack() as stack:
            ways = opened(stack, bases, passes=SUBJECT + 'exclude = ["note"]\n')
            ways.does("INSERT INTO subject (name, note) VALUES ('A', 'said')")
            assert ways.told() == [0]
            ways.direct.ship()
            assert ways.central.sql("SELECT name, note FROM subject") == [("A", "said")]

    def test_what_waits_at_the_community(self, ways: Ways) -> None:
        ways.community.sql("ALTER TABLE subject ADD CONSTRAINT small CHECK (n < 10)")
        ways.does("INSERT INTO subject (name, n) VALUES ('A', 1), ('B', 10)")
        assert ways.told() == [0]
        ways.direct.ship()
        ways.both_say_the_same()
        ways.community.sql("ALTER TABLE subject DROP CONSTRAINT small")
        assert ways.low.applier.release().released == 1
        assert ways.told() == [0]
        ways.both_say_the_same()

    def test_a_change_that_lost_at_the_community(self, bases: tuple[Database, Database, Database]) -> None:
        with ExitStack() as stack:
            ways = opened(stack, bases, rules='on_conflict = "upstream"')
            ways.does("INSERT INTO subject (name, n) VALUES ('A', 1), ('B', 1)")
            assert ways.told() == [1]
            ways.laptop.sql("UPDATE subject SET n = 2")
            ways.community.sql("UPDATE subject SET n = 9 WHERE name = 'A'")
            ways.low.ship()
            assert ways.community.sql(SUBJECTS) == [("A", 9), ("B", 2)]
            assert ways.told() == [0]

    def test_a_delete_that_the_community_lets_be(self, bases: tuple[Database, Database, Database]) -> None:
        with ExitStack() as stack:
            ways = opened(stack, bases, rules='on_delete = "ignore"')
            ways.does("INSERT INTO subject (name) VALUES ('A'), ('B')")
            ways.laptop.sql("UPDATE subject SET n = 1")
            ways.does("DELETE FROM subject WHERE name = 'A'")
            assert ways.told() == [1]
            ways.direct.ship()
            assert ways.central.sql(SUBJECTS) == [("B", 1)]

    def test_what_a_trigger_at_the_community_adds_in_another_table(self, ways: Ways) -> None:
        ways.community.script("""
            CREATE FUNCTION first_visit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO visit (subject_id, code) VALUES (NEW.id, 77);
                RETURN NULL;
            END $$;
            CREATE TRIGGER first_visit AFTER INSERT ON subject FOR EACH ROW EXECUTE FUNCTION first_visit()""")
        ways.does("INSERT INTO subject (name) VALUES ('A')")
        ways.direct.ship()
        assert ways.told() == [0]
        assert ways.central.sql(VISITS) == [("A", 77, 0)]

    def test_transactions_that_compaction_joined(self, ways: Ways) -> None:
        ways.does("INSERT INTO subject (name, n) VALUES ('A', 1)", "UPDATE subject SET n = 2")
        with ways.community.connect() as session:
            assert compact(session, LINK).changes_after == 1
        ways.direct.ship()
        assert ways.told() == [0]
        ways.both_say_the_same()


def test_a_log_that_was_given_new_transaction_ids_tells_the_same(ways: Ways) -> None:
    ways.does("INSERT INTO subject (name) VALUES ('A')", "UPDATE subject SET name = 'B'")
    ways.direct.ship()
    ways.community.script("""
        INSERT INTO dbsync.restamp (last_seq, first_seq, xid) SELECT max(seq), min(seq), xid FROM dbsync.change GROUP BY xid;
        """)
    while ways.community.value("SELECT dbsync.restamp_next(-1)") is not None:
        pass
    assert ways.told() == [2]
    ways.both_say_the_same()
    assert applied(ways.central, "community") == 0


def test_it_is_told_over_any_number_of_tiers(ways: Ways, databases: Databases) -> None:
    top = databases.create(ways.central.version, name="top")
    top.script(SCHEMA)
    with Pipeline(ways.central, top, TABLES, node="central") as highest, Pipeline(ways.laptop, top, TABLES) as skipping:
        skipping.reader = skipping.reads(skipping.reader.connection, "top")
        ways.community.sql("INSERT INTO subject (name) VALUES ('S')")
        ways.does("INSERT INTO subject (name) VALUES ('A')", "UPDATE subject SET name = 'B' WHERE name = 'A'")
        ways.told()
        cut = highest.reader.next_cut(20_000)
        assert cut is not None
        header = highest.reader.batch(cut).header
        assert told_of(header) == {ways.low.node.lineage: 2, ways.high.node.lineage: 1}
        highest.reader.acknowledge(cut, highest.apply(highest.reader.batch(cut)))
        skipping.ship()
        assert top.sql(SUBJECTS) == [("B", 0), ("S", 0)]
        assert applied(top, "field-01") == 0
        assert quiet(top)


def told_of(header: Header) -> dict[object, int]:
    """Count the transactions that a header tells of, by lineage."""
    found: dict[object, int] = {}
    for passed in header.passed:
        found[passed.lineage] = found.get(passed.lineage, 0) + len(passed.transactions)
    return found


def test_a_node_with_nobody_below_it_tells_nothing(ways: Ways) -> None:
    ways.laptop.sql("INSERT INTO subject (name) VALUES ('A')")
    cut = ways.direct.reader.next_cut(20_000)
    assert cut is not None
    assert ways.direct.reader.batch(cut).header.passed == ()
    assert not ways.direct.reader.position().has_nodes_below


def begins_another_life(ways: Ways) -> None:
    """Let the community be one that was restored."""
    node = ways.high.node
    with ways.community.connect() as connection:
        lives.begin_life(connection, node.incarnation)
    with ways.community.connect() as connection:
        ways.high.node = nodes.read(connection)
    ways.high.restart()


def test_what_came_and_went_while_it_waited_goes_above_too(ways: Ways) -> None:
    ways.community.sql("ALTER TABLE visit ADD CONSTRAINT plausible CHECK (code <> 1)")
    ways.does(
        "INSERT INTO subject (name) VALUES ('A'), ('B')",
        "INSERT INTO visit (subject_id, code) SELECT id, g FROM subject, generate_series(1, 2) g",
    )
    ways.direct.ship()  # as the community brought it before it was restored
    begins_another_life(ways)
    ways.does("DELETE FROM visit", "DELETE FROM subject WHERE name = 'A'")
    assert ways.community.value("SELECT count(*) FROM dbsync.quarantine WHERE state = 'waiting'") == 5
    ways.community.sql("ALTER TABLE visit DROP CONSTRAINT plausible")
    assert ways.low.applier.release() == Released(released=5)
    ways.told()
    ways.both_say_the_same()


def test_what_was_refused_and_was_mended_or_deleted_waits_no_longer(ways: Ways) -> None:
    ways.community.sql("ALTER TABLE subject ADD CONSTRAINT plausible CHECK (n >= 0)")
    ways.does(
        "INSERT INTO subject (name, n) VALUES ('A', -1), ('B', 1), ('D', -1)",
        "DELETE FROM subject WHERE name = 'A'",
        "INSERT INTO subject (name, n) VALUES ('A', -2)",
        "UPDATE subject SET n = 2 WHERE name = 'A'",
        "DELETE FROM subject WHERE name = 'D'",
    )
    assert ways.low.applier.release() == Released(released=6)
    assert ways.community.sql(SUBJECTS) == [("A", 2), ("B", 1)]
