"""What a destination certifies: before a laptop is wiped, a supervisor knows what would be lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dbsync.errors import FormatError
from dbsync.identity import registry
from dbsync.identity.certificate import Certificate, read_certificate
from dbsync.identity.keys import Keys, Signed
from dbsync.service.certificate import issue
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.integration.commands import Done, dbsync
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair
from tests.support.pipeline import LINK, Pipeline, prepared
from tests.support.served import admit, serving

pytestmark = ONE_MIXTURE

SERVER = Keys.generate()


class Tiers:
    """A laptop, a community that passes on, and a centre."""

    def __init__(self, low: Pipeline, high: Pipeline) -> None:
        self.low, self.high = low, high

    def write(self, *codes: str) -> None:
        """Make sites on the laptop, and bring each to the community in a batch of its own."""
        for code in codes:
            self.low.source.sql("INSERT INTO site (code) VALUES (%s)", (code,))
            self.low.ship()

    def certified(self) -> Certificate:
        """Let the community certify what it has of the laptop."""
        with self.high.source.connect() as connection:
            node = self.low.node
            signed = issue(
                connection,
                destination="community",
                node=node.name,
                incarnation=node.incarnation,
                link=LINK,
                keys=SERVER,
            )
        assert signed is not None
        return read_certificate(signed, SERVER.public)


@pytest.fixture
def tiers(databases: Databases, pair: Pair) -> Iterator[Tiers]:
    first, second = prepared(databases, pair, SCHEMA), prepared(databases, pair, SCHEMA)
    with ExitStack() as stack:
        high = stack.enter_context(Pipeline(second.source, second.upstream, TABLES, node="community"))
        yield Tiers(stack.enter_context(Pipeline(first.source, second.source, TABLES)), high)


def test_a_tier_tells_what_the_tier_above_has(tiers: Tiers) -> None:
    tiers.write("a", "b")
    assert (tiers.certified().number, tiers.certified().above) == (2, {LINK: None})
    tiers.high.ship()
    tiers.write("c", "d")
    assert (tiers.certified().number, tiers.certified().above) == (4, {LINK: 2})
    tiers.high.ship_one(1)
    assert tiers.certified().above == {LINK: 3}
    tiers.high.ship()
    assert tiers.certified().above == {LINK: 4}


def test_a_batch_of_which_nothing_was_captured_is_above_when_what_was_before_it_is(tiers: Tiers) -> None:
    tiers.write("a")
    tiers.low.source.sql("UPDATE site SET code = 'a'")
    tiers.low.source.sql("INSERT INTO site (code) VALUES ('b')")
    tiers.high.source.sql("UPDATE dbsync.node SET capture_off_since = now()")
    tiers.low.ship()
    assert tiers.certified().above == {LINK: None}
    tiers.high.ship()
    tiers.high.source.sql("UPDATE dbsync.node SET capture_off_since = NULL")
    tiers.write("c")
    tiers.high.ship()
    assert tiers.certified().above == {LINK: tiers.certified().number}


def test_what_waits_in_quarantine_is_counted(tiers: Tiers) -> None:
    tiers.high.source.sql("ALTER TABLE site ADD CHECK (code <> 'bad')")
    tiers.write("good", "bad")
    assert (tiers.certified().number, tiers.certified().waiting) == (2, 1)


def test_a_certificate_is_believed_as_it_was_signed(tiers: Tiers) -> None:
    tiers.write("a")
    node = tiers.low.node
    with tiers.high.source.connect() as connection:
        signed = issue(
            connection, destination="community", node=node.name, incarnation=node.incarnation, link=LINK, keys=SERVER
        )
        nothing = issue(
            connection, destination="community", node="field-99", incarnation=node.incarnation, link=LINK, keys=SERVER
        )
    assert nothing is None
    assert signed is not None
    forged = signed.data.replace(b'"number":"1"', b'"number":"9"')
    assert forged != signed.data
    for data, signature in (
        (forged, signed.signature),
        (signed.data, Keys.generate().sign(signed.data, "dbsync certificate 1")),
        (signed.data, SERVER.sign(signed.data, "dbsync receipts 1")),
        (signed.data + b" ", SERVER.sign(signed.data + b" ", "dbsync certificate 1")),
        (b"{}", SERVER.sign(b"{}", "dbsync certificate 1")),
    ):
        with pytest.raises(FormatError):
            read_certificate(Signed(data=data, signature=signature), SERVER.public)


def laptop(folder: Path, source: Database, url: str) -> Keys:
    """Make the laptop's folder; give its keys."""
    keys = Keys.generate()
    keys.save(folder / "keys")
    (folder / "dbsync.toml").write_text(
        f'[node]\nname = "field-01"\nsource = "{source.dsn}"\n[upstream]\nurl = "{url}"\nname = "{LINK}"\n{TABLES}'
    )
    return keys


def test_a_laptop_asks_for_its_certificate_and_is_told_what_is_missing(
    pair: Pair, databases: Databases, tmp_path: Path
) -> None:
    both = prepared(databases, pair, SCHEMA)
    with (
        Pipeline(both.source, both.upstream, TABLES) as pipeline,
        serving(tmp_path / "server", both.upstream, keys=SERVER) as (_, url),
    ):
        admit(both.upstream, "field-01", laptop(tmp_path, both.source, url))
        with both.source.connect() as connection:
            registry.pin(connection, LINK, SERVER.public)

        def certificate(*words: str) -> Done:
            return dbsync(tmp_path, "certificate", *words)

        pipeline.source.sql("INSERT INTO site (code) VALUES ('a')")
        before = certificate("--json")
        assert (before.code, before.json["certificate"], before.json["missing"]) == (1, None, {"public.site": 1})
        assert dbsync(tmp_path, "run", "--once").code == 0
        done = certificate("--out", str(tmp_path / "laptop.json"))
        assert done.code == 0, done.err
        assert "community certifies: everything of field-01 up to batch 1" in done.out
        assert "every change captured here up to" in done.out
        told = json.loads((tmp_path / "laptop.json").read_text())
        assert (told["node"], told["number"], told["waiting"]) == ("field-01", "1", 0)
        SERVER.public.verify((tmp_path / "laptop.json").read_bytes(), (tmp_path / "laptop.json.minisig").read_bytes())
        pipeline.source.sql("INSERT INTO site (code) VALUES ('b'), ('c')")
        missing = certificate()
        assert missing.code == 1
        assert "2 changes captured here are missing there: public.site 2" in missing.out
        assert "do not wipe" in missing.err
    there = dbsync(tmp_path / "server", "certificate", "field-01", "--json")
    assert (there.code, there.json["certificate"]["number"]) == (0, 1)
    assert dbsync(tmp_path / "server", "certificate", "field-99").code == 1
