"""A community that is restored, between its laptops and the centre: nothing lost, nothing applied twice, at none of the three."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.places import SCHEMA, TABLES, Place
from tests.fault.laptops import SMALL, add, edit, kinds, laptop, own, ship, subjects
from tests.support.databases import Database, Databases
from tests.support.lives import back_up, restore

pytestmark = [pytest.mark.fault, pytest.mark.timeout(300)]


@contextmanager
def tiers(databases: Databases, folder: Path, *, passes: str = TABLES) -> Iterator[tuple[Place, Place]]:
    """Give a laptop with its community, and that community with a centre; ``passes`` is what the community ships."""
    with own(15, "community") as community:
        central = databases.create(18, name="central")
        field = laptop(folder, databases.create(15, name="field"), community)
        (folder / "community").mkdir()
        middle = Place(folder=folder / "community", source=community, upstream=central)
        central.script(SCHEMA)
        middle.configure(SMALL + passes, node="community")
        middle.install()
        yield field, middle


def _begin(field: Place, middle: Place, *names: str) -> Path:
    """Let the laptop's subjects be at all three; give a backup of the community from then."""
    add(field.source, *names)
    ship(field)
    ship(middle)
    return back_up(middle.source.cluster)


def _edit_with_a_visit(database: Database, name: str, initials: str, *, code: int) -> None:
    with database.connect() as session, session.transaction():
        session.execute("UPDATE subject SET initials = %s WHERE identifier = %s", (initials, name))
        session.execute(
            "INSERT INTO visit (subject_id, code) SELECT id, %s FROM subject WHERE identifier = %s", (code, name)
        )


def _exchange(field: Place, middle: Place) -> dict[str, str]:
    """Let two subjects exchange their identifiers and a third be edited, all the way up; then restore the community."""
    add(field.source, "a", "b", "c")
    edit(field.source, "b", "BB")
    edit(field.source, "c", "CC")
    ship(field)
    ship(middle)
    saved = back_up(middle.source.cluster)
    with field.source.connect() as session, session.transaction():
        for new, old in (("other", "b"), ("b", "c"), ("c", "other")):
            session.execute("UPDATE subject SET identifier = %s WHERE identifier = %s", (new, old))
        session.execute("UPDATE subject SET initials = 'XX' WHERE identifier = 'a'")
    ship(field)
    ship(middle)
    exchanged = {"a": "XX", "b": "CC", "c": "BB"}
    assert subjects(middle.upstream) == exchanged
    restore(middle.source.cluster, saved)
    return exchanged


def test_restored_from_a_backup_heals_towards_both_sides(databases: Databases, tmp_path: Path) -> None:
    with tiers(databases, tmp_path) as (field, middle):
        community, central = middle.source, middle.upstream

        def ship_all() -> None:
            for there in (field, middle):
                ship(there)

        add(field.source, "a", "b")
        ship_all()
        add(field.source, "pending in the middle")
        ship(field)
        saved = back_up(community.cluster)
        add(field.source, "c", "d")
        edit(field.source, "a", "BB")
        ship_all()
        restore(community.cluster, saved)
        add(field.source, "e")
        add(community, "of the community")
        ship_all()

        field.must("verify", "--ignore-extra")
        middle.must("verify")
        expected = subjects(field.source) | {"of the community": "AA"}
        assert subjects(community) == subjects(central) == expected
        assert kinds(field) == ["upstream_restored"]
        assert kinds(middle) == ["restored"]
        assert community.sql("SELECT state FROM dbsync.quarantine") == []
        assert central.sql("SELECT state FROM dbsync.quarantine") == []


def test_what_comes_again_and_overrules_what_its_people_did_since_goes_up_again(
    databases: Databases, tmp_path: Path
) -> None:
    """The centre has it already, from the life that was lost; but not on top of what came after."""
    with tiers(databases, tmp_path) as (field, middle):
        community, central = middle.source, middle.upstream
        saved = _begin(field, middle, "a")
        edit(field.source, "a", "BB")
        ship(field)
        ship(middle)
        assert subjects(central) == {"a": "BB"}
        restore(community.cluster, saved)
        edit(community, "a", "CC")
        ship(middle)
        ship(field)
        assert subjects(community) == {"a": "BB"}
        ship(middle)
        assert subjects(central) == {"a": "BB"}
        assert kinds(middle) == ["restored"]


def test_what_comes_again_and_deletes_what_its_people_changed_since_is_deleted_above_too(
    databases: Databases, tmp_path: Path
) -> None:
    with tiers(databases, tmp_path) as (field, middle):
        saved = _begin(field, middle, "a", "b")
        field.source.sql("DELETE FROM subject WHERE identifier = 'a'")
        ship(field)
        ship(middle)
        restore(middle.source.cluster, saved)
        edit(middle.source, "a", "CC")
        ship(middle)
        assert subjects(middle.upstream) == {"a": "CC", "b": "AA"}
        ship(field)
        ship(middle)
        assert subjects(field.source) == subjects(middle.source) == subjects(middle.upstream) == {"b": "AA"}


def test_of_what_comes_again_only_what_overrules_goes_up_so_that_rows_do_not_exchange_their_keys_twice(
    databases: Databases, tmp_path: Path
) -> None:
    with tiers(databases, tmp_path) as (field, middle):
        community, central = middle.source, middle.upstream
        exchanged = _exchange(field, middle)
        edit(community, "a", "YY")
        ship(middle)
        ship(field)
        ship(middle)
        assert subjects(field.source) == subjects(community) == exchanged
        assert subjects(central) == exchanged
        assert central.sql("SELECT state FROM dbsync.quarantine") == []


def test_of_what_comes_again_nothing_goes_up_a_third_time(databases: Databases, tmp_path: Path) -> None:
    """It is restored once more, to when it had taken in what overrules and had not passed it on."""
    with tiers(databases, tmp_path) as (field, middle):
        community, central = middle.source, middle.upstream
        exchanged = _exchange(field, middle)
        edit(community, "a", "YY")
        ship(middle)
        ship(field)
        saved = back_up(community.cluster)
        ship(middle)
        edit(community, "a", "ZZ")
        ship(middle)
        restore(community.cluster, saved)
        ship(middle)
        assert subjects(central) == exchanged | {"a": "ZZ"}


def test_where_it_cannot_be_told_what_overrules_all_of_it_goes_up_again(databases: Databases, tmp_path: Path) -> None:
    """A key that the community spells otherwise than the laptop is not found among what it captured."""
    with tiers(databases, tmp_path) as (field, middle):
        community, central = middle.source, middle.upstream
        for database in (field.source, community, central):
            database.sql("CREATE EXTENSION citext")
            database.sql("ALTER TABLE subject ALTER identifier TYPE citext")
        for there in (middle, field):
            there.install()
        saved = _begin(field, middle, "a")
        edit(field.source, "a", "BB")
        ship(field)
        ship(middle)
        restore(community.cluster, saved)
        community.sql("UPDATE subject SET initials = 'CC', identifier = 'A'")
        ship(middle)
        ship(field)
        ship(middle)
        assert community.sql("SELECT overruling FROM dbsync.receipt ORDER BY applied_at DESC LIMIT 1") == [(None,)]
        assert subjects(community) == subjects(central) == {"A": "BB"}


def test_of_what_comes_again_the_last_value_stays_though_an_older_one_overruled(
    databases: Databases, tmp_path: Path
) -> None:
    """What overrules goes up again, and with it all that came to the same row after it."""
    with tiers(databases, tmp_path) as (field, middle):
        community, central = middle.source, middle.upstream
        saved = _begin(field, middle, "a", "b")
        for initials in ("BB", "CC"):
            edit(field.source, "a", initials)
            edit(field.source, "b", initials)
            ship(field)
        ship(middle)
        restore(community.cluster, saved)
        edit(community, "a", "YY")
        ship(middle)
        ship(field)
        ship(middle)
        assert subjects(community) == subjects(central) == {"a": "CC", "b": "CC"}
        assert central.value("SELECT sum(dropped)::int FROM dbsync.receipt WHERE node = 'community'") == 2


def test_of_what_comes_again_an_older_value_does_not_stay_at_the_centre(databases: Databases, tmp_path: Path) -> None:
    """The community does not pass visits on; so of a batch that holds one it cannot say that the centre has it all."""
    with tiers(databases, tmp_path, passes='[[tables]]\nname = "subject"\n') as (field, middle):
        community, central = middle.source, middle.upstream
        saved = _begin(field, middle, "a")
        _edit_with_a_visit(field.source, "a", "BB", code=1)
        ship(field)
        edit(field.source, "a", "CC")
        ship(field)
        ship(middle)
        assert subjects(central) == {"a": "CC"}
        restore(community.cluster, saved)
        ship(field)
        ship(middle)
        assert subjects(community) == {"a": "CC"}
        assert subjects(central) == {"a": "CC"}


@pytest.mark.parametrize("taken", [False, True], ids=["held back before too", "taken before"])
def test_of_what_comes_again_what_waits_at_the_community_waits_and_the_rest_is_above_already(
    databases: Databases, tmp_path: Path, *, taken: bool
) -> None:
    """What the community took before it was restored it may not take now: a rule that was lifted since is back."""
    with tiers(databases, tmp_path) as (field, middle):
        community, central = middle.source, middle.upstream
        community.sql("ALTER TABLE visit ADD CONSTRAINT plausible CHECK (code < 10)")
        saved = _begin(field, middle, "a")
        if taken:
            community.sql("ALTER TABLE visit DROP CONSTRAINT plausible")
        _edit_with_a_visit(field.source, "a", "BB", code=10)
        ship(field)
        edit(field.source, "a", "CC")
        ship(field)
        ship(middle)
        restore(community.cluster, saved)
        ship(field)
        ship(middle)
        assert subjects(community) == subjects(central) == {"a": "CC"}
        assert central.value("SELECT count(*) FROM dbsync.conflict") == 0
        community.sql("ALTER TABLE visit DROP CONSTRAINT plausible")
        field.must("quarantine", "retry", "--all")
        ship(middle)
        visits = "SELECT s.identifier, v.code FROM visit v JOIN subject s ON s.id = v.subject_id"
        assert community.sql(visits) == central.sql(visits) == [("a", 10)]


def test_of_what_comes_again_what_a_trigger_of_the_community_adds_goes_up_and_nothing_else(
    databases: Databases, tmp_path: Path
) -> None:
    with tiers(databases, tmp_path) as (field, middle):
        community, central = middle.source, middle.upstream
        community.script("""
            CREATE FUNCTION visited() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO visit (subject_id, code, note) VALUES (NEW.id, 7, pg_backend_pid())
                ON CONFLICT (subject_id, code) DO UPDATE SET note = excluded.note;
                RETURN NULL;
            END $$;
            CREATE TRIGGER visited AFTER UPDATE ON subject FOR EACH ROW WHEN (NEW.initials = 'XX')
                EXECUTE FUNCTION visited()""")
        exchanged = _exchange(field, middle)
        for there in (field, middle):
            ship(there)
        assert subjects(central) == exchanged
        notes = "SELECT s.identifier, v.code, v.note FROM visit v JOIN subject s ON s.id = v.subject_id"
        assert central.sql(notes) == community.sql(notes)
        assert len(central.sql(notes)) == 1


def test_of_what_comes_again_what_is_gone_above_already_does_not_wait_there(
    databases: Databases, tmp_path: Path
) -> None:
    """The centre has heard that the rows came and that they went; the community holds them back now, and lets them go later."""
    with tiers(databases, tmp_path) as (field, middle):
        community, central = middle.source, middle.upstream
        community.sql("ALTER TABLE visit ADD CONSTRAINT plausible CHECK (code < 10)")
        saved = _begin(field, middle, "a")
        community.sql("ALTER TABLE visit DROP CONSTRAINT plausible")
        with field.source.connect() as session, session.transaction():
            session.execute("INSERT INTO subject (identifier) VALUES ('b')")
            session.execute("INSERT INTO visit (subject_id, code) SELECT id, 10 FROM subject WHERE identifier = 'b'")
        ship(field)
        field.source.script("BEGIN; DELETE FROM visit; DELETE FROM subject WHERE identifier = 'b'; COMMIT")
        ship(field)
        ship(middle)
        assert subjects(central).keys() == {"a"}
        restore(community.cluster, saved)
        ship(field)
        ship(middle)
        community.sql("ALTER TABLE visit DROP CONSTRAINT plausible")
        field.must("quarantine", "retry", "--all")
        ship(middle)
        assert subjects(community).keys() == subjects(central).keys() == {"a"}
        for place in (community, central):
            assert place.sql("SELECT conflict, reason FROM dbsync.quarantine WHERE state = 'waiting'") == []
