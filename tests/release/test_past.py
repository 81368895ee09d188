"""What earlier versions left behind, with work under way, goes on under this one: nothing lost, nothing doubled."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dbsync import schema
from dbsync.batch.codec import decode
from dbsync.batch.header import write_header
from dbsync.bundle.find import find_bundles
from dbsync.bundle.read import open_bundle
from dbsync.errors import SchemaVersionError
from dbsync.identity.keys import Keys
from dbsync.statements import folder
from tests.integration.people import Person
from tests.release import past
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair

ROLES = """
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['dbsync', 'dbsync_capture', 'dbsync_replicator', 'dbsync_reader', 'dbsync_web'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        END IF;
    END LOOP;
END
$$
"""
LATER = """
DO $$ BEGIN WHILE pg_current_xact_id()::text::bigint < 5000 LOOP COMMIT; END LOOP; END $$
"""
"""The transactions that a dump names have to be past ones here too: then it is the database it was, and not one that was reloaded."""
REVISIONS = sorted(file.name[:4] for file in (folder() / "migrations").glob("*.sql"))
COUNTED = ("node", "relation", "layout", "change", "row_key", "link", "sent", "backfill", "receipt")
OWN_FUNCTIONS = "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.proname ~ '^(capture|truncate)_[0-9a-f]+$'"


def restored(database: Database, revision: str, name: str) -> None:
    """Fill a database with what a version left, as if it had been here all the time."""
    database.script(ROLES)
    database.sql(LATER)
    with database.connect() as session:
        session.execute(past.dump(revision, name).encode())
        session.execute(
            "UPDATE dbsync.node SET system_identifier = (SELECT system_identifier FROM pg_control_system())"
        )
        highest = session.execute("SELECT coalesce(max(xid::text::bigint), 0) FROM dbsync.change").fetchone()
    assert highest is not None
    assert highest[0] < 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """A node and its upstream as a version left them, and people there who have this version."""

    revision: str
    pair: Pair
    folder: Path

    @property
    def node(self) -> Person:
        """Give somebody at the node."""
        return Person(config=self.folder / "node" / "dbsync.toml")

    @property
    def community(self) -> Person:
        """Give somebody at the upstream."""
        return Person(config=self.folder / "community" / "dbsync.toml")

    def upgrade(self) -> None:
        """Install this version at both ends."""
        self.node.must("install-upstream")
        self.node.must("install-triggers")

    def stick(self, name: str = "stick") -> str:
        """Give a copy of the stick, as it was before or after the upstream had it."""
        return str(shutil.copytree(past.FOLDER / self.revision / name, self.folder / name))

    def keys(self, place: str) -> Keys:
        """Give the keys of the node or of the upstream."""
        return Keys.load(self.folder / place / "keys")

    def agree(self) -> bool:
        """Compare the two."""
        return "source and upstream agree" in self.node.must("verify", "--ignore-extra").out


@pytest.fixture(params=past.recorded())
def place(request: pytest.FixtureRequest, pair: Pair, tmp_path: Path) -> Iterator[Restored]:
    """Bring a recorded version back."""
    revision = str(request.param)
    restored(pair.source, revision, "source")
    restored(pair.upstream, revision, "upstream")
    written = {"node": past.node(pair.source.dsn, pair.upstream.dsn), "community": past.community(pair.upstream.dsn)}
    for name, config in written.items():
        kept = past.FOLDER / revision / name
        shutil.copytree(kept, tmp_path / name) if kept.is_dir() else (tmp_path / name).mkdir()
        for key in (tmp_path / name).rglob("*.key"):
            key.chmod(0o600)
        (tmp_path / name / "dbsync.toml").write_text(config)
    yield Restored(revision=revision, pair=pair, folder=tmp_path)


by_stick = pytest.mark.parametrize("place", [name for name in past.recorded() if name >= past.STICKS], indirect=True)


@ONE_MIXTURE
def test_a_node_and_its_upstream_go_on_where_they_were(place: Restored) -> None:
    pair, person = place.pair, place.node
    shipped = pair.upstream.value("SELECT max(number) FROM dbsync.receipt")
    if place.revision < schema.head():
        with pytest.raises(SchemaVersionError) as refused:
            person.type("run", "--once")
        assert refused.value.hint == "dbsync install-triggers"
    place.upgrade()
    person.must("check")
    assert person.must("status", "--json").json["events"] == []
    person.must("run", "--once")
    if place.revision >= past.QUARANTINE:
        the_quarantine_goes_in(person)
    assert place.agree()
    names = "SELECT identifier FROM subject ORDER BY 1"
    assert [name for (name,) in pair.upstream.sql(names)] == ["S-0", "S-1", "S-2b", "S-3", "S-9"]
    lines = "SELECT text FROM line ORDER BY 1"
    assert pair.upstream.sql(lines) == pair.source.sql(lines)
    numbers = [number for (number,) in pair.upstream.sql("SELECT number FROM dbsync.receipt ORDER BY 1")]
    assert numbers == list(range(1, numbers[-1] + 1))
    assert numbers[-1] > shipped


def the_quarantine_goes_in(person: Person) -> None:
    """Mend what the earlier version put aside, and see what it decided."""
    (case,) = person.must("quarantine", "list", "--json").json["cases"]
    assert (case["table"], case["conflict"], case["waits"]) == ("visit", "reference_missing", 1)
    person.must("resend", "subject", "--key", "S-3")
    person.must("run", "--once")
    person.type("quarantine", "retry", "--all")
    assert person.must("quarantine", "list", "--json").json["cases"] == []
    ledger = person.must("conflicts", "list", "--json").json["conflicts"]
    (conflict,) = (entry for entry in ledger if entry["key"] == ["S-1"])
    assert (conflict["conflict"], conflict["decision"]) == ("update_origin_differs", "source")
    assert "'YY'" in person.must("conflicts", "show", str(conflict["id"]), "--show-values").out


@ONE_MIXTURE
@by_stick
def test_a_batch_that_left_under_an_earlier_version_is_written_again_byte_for_byte(place: Restored) -> None:
    place.upgrade()
    again = place.folder / "another stick"
    again.mkdir()
    assert place.node.must("bundle", "export", str(again), "--json").json["batches"] >= 1
    first, *later = batches(place, again)
    assert [first] == batches(place, Path(place.stick()))
    assert [header["number"] for header, _ in later] == ["5"]


def batches(place: Restored, stick: Path) -> list[tuple[dict[str, object], str]]:
    """Read what is on a stick: of each batch the header, and the hash of the payload."""
    read: list[tuple[dict[str, object], str]] = []
    for bundle in find_bundles(stick).usable:
        with open_bundle(bundle, own=place.keys("community"), sender=place.keys("node").public) as stream:
            for _, pieces in stream.batches():
                batch = decode(pieces)
                header = json.loads(write_header(batch.header))
                read.append((header, hashlib.sha256(b"".join(batch.payload)).hexdigest()))
    return read


@ONE_MIXTURE
@by_stick
def test_an_upstream_takes_in_the_stick_of_an_earlier_version(place: Restored) -> None:
    schema.upgrade(place.pair.upstream.dsn, "upstream")
    done = place.community.must("bundle", "import", place.stick(), "--json").json
    assert [one["applied"] for one in done["brought"]] == [[4]]
    assert place.pair.upstream.value("SELECT text FROM line WHERE text LIKE '%stick'") == "by stick"
    place.upgrade()
    assert "acknowledged" in place.node.must("bundle", "receipts", str(place.folder / "stick")).out
    place.node.must("run", "--once")
    the_quarantine_goes_in(place.node)
    assert place.agree()


@ONE_MIXTURE
@by_stick
def test_a_node_believes_the_receipts_and_the_certificate_of_an_earlier_version(place: Restored) -> None:
    place.upgrade()
    assert "1 batch acknowledged" in place.node.must("bundle", "receipts", place.stick("answered")).out
    certified = place.node.type("certificate", "--from", str(place.folder / "answered"))
    assert (certified.code, "community certifies" in certified.out) == (1, True), "what came later is not in it"


@ONE_MIXTURE
@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_every_revision_becomes_what_is_installed_today(revision: str, pair: Pair, databases: Databases) -> None:
    left = max(recorded for recorded in past.recorded() if recorded <= revision)
    restored(pair.source, left, "source")
    with pair.source.connect() as session, session.transaction():
        session.execute("SET LOCAL ROLE dbsync")
        for file in sorted((folder() / "migrations").glob("*.sql")):
            if left < file.name[:4] <= revision:
                session.execute(file.read_bytes())
        session.execute("UPDATE dbsync.alembic_version SET version_num = %s", [revision])
    before = counts(pair.source)
    assert schema.upgrade(pair.source.dsn, "source")
    assert counts(pair.source) == before
    fresh = databases.create(pair.source.version)
    schema.upgrade(fresh.dsn, "source")
    for (name,) in pair.source.sql(OWN_FUNCTIONS):
        pair.source.sql(f"DROP FUNCTION {name} CASCADE".encode())
    assert shape(pair.source) == shape(fresh)


def counts(database: Database) -> dict[str, int]:
    return {table: database.value(f"SELECT count(*) FROM dbsync.{table}".encode()) for table in COUNTED}


def shape(database: Database) -> list[str]:
    """Give the dbsync schema as pg_dump tells it: tables, columns, defaults, indexes, constraints, functions, rights, words."""
    dump = [str(database.cluster.binaries.bindir / "pg_dump"), "--schema-only", "--schema=dbsync", "-d", database.dsn]
    said = subprocess.run(dump, check=True, capture_output=True, text=True).stdout
    return [line for line in said.splitlines() if line and not line.startswith(("--", "\\"))]


def test_what_is_recorded_is_what_it_says() -> None:
    assert past.recorded()[0] == "0001"
    assert past.STICKS in past.recorded()
    for revision in past.recorded():
        for name in ("source", "upstream"):
            assert f"INSERT INTO dbsync.alembic_version VALUES\n\t('{revision}');" in past.dump(revision, name)
