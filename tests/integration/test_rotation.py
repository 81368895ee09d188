"""A node changes its own keys: nobody at the upstream does anything, and wherever it breaks off it can be gone on with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import orjson
import pytest

from dbsync.config.load import load
from dbsync.errors import ConfigError, DbsyncError, FormatError, NotAdmitted, Unreachable
from dbsync.identity import registry, rotation
from dbsync.identity.keys import SIGNING_FILE, Keys, PublicKeys
from dbsync.identity.registry import Role
from dbsync.service import bundles
from dbsync.service.export import export
from dbsync.service.rotate import rotate
from dbsync.service.run import Service
from dbsync.transport.exchange import Exchange
from dbsync.transport.line import Line
from tests.integration.clinic_schema import SCHEMA, TABLES
from tests.support.databases import ONE_MIXTURE, Database, Databases, Pair
from tests.support.pipeline import Pipeline, prepared
from tests.support.relayed import Relay
from tests.support.served import admit, free_port, serving

pytestmark = ONE_MIXTURE

SERVER = Keys.generate()


class Laptop:
    """A laptop that is enrolled with a server and a driver."""

    def __init__(self, folder: Path, both: Pair) -> None:
        self.folder, self.source, self.upstream = folder / "laptop", both.source, both.upstream
        self.folder.mkdir()
        self.port, self.server = free_port(), folder / "server"
        Keys.generate().save(self.keys)
        self.relay = Relay(folder)
        (self.folder / "dbsync.toml").write_text(
            f'[node]\nname = "field-01"\nsource = "{self.source.dsn}"\n'
            f'[upstream]\nurl = "http://127.0.0.1:{self.port}"\nname = "community"\n'
            f'[[relays]]\nurl = "{self.relay.url}"\nname = "driver"\n{TABLES}'
        )
        admit(self.upstream, "field-01", self.own)
        with self.source.connect() as connection:
            registry.pin(connection, "community", SERVER.public)
            registry.pin(connection, "driver", self.relay.admit("field-01", self.own), role=Role.RELAY)

    @property
    def keys(self) -> Path:
        """Give the folder of its keys."""
        return self.folder / "keys"

    @property
    def own(self) -> Keys:
        """Give its keys."""
        return Keys.load(self.keys)

    def rotate(self) -> PublicKeys:
        """Change them."""
        return rotate(load(self.folder / "dbsync.toml", {}))

    def ship(self, code: str) -> int:
        """Make a site and ship it."""
        self.source.sql("INSERT INTO site (code) VALUES (%s)", (code,))
        return Service(config=load(self.folder / "dbsync.toml", {})).run_once()


@pytest.fixture
def laptop(databases: Databases, pair: Pair, tmp_path: Path) -> Iterator[Laptop]:
    both = prepared(databases, pair, SCHEMA)
    with ExitStack() as stack:
        stack.enter_context(Pipeline(both.source, both.upstream, TABLES))
        yield Laptop(tmp_path, both)


def known(database: Database) -> str | None:
    """Say which key the upstream knows."""
    with database.connect() as connection:
        peer = registry.find(connection, "field-01")
    return peer.keys.key_id if peer and peer.keys else None


def test_new_keys_are_known_everywhere_and_a_stick_under_way_is_still_taken(laptop: Laptop, tmp_path: Path) -> None:
    before = laptop.own.public
    laptop.source.sql("INSERT INTO site (code) VALUES ('on the stick')")
    stick = tmp_path / "stick"
    stick.mkdir()
    export(load(laptop.folder / "dbsync.toml", {}), stick)
    with serving(laptop.server, laptop.upstream, keys=SERVER, port=laptop.port):
        with pytest.raises(Unreachable):
            laptop.rotate()  # the driver is away
        assert (known(laptop.upstream), laptop.own.public) == (before.key_id, before)
        with laptop.relay.within():
            found = laptop.rotate()
        assert found != before
        assert (known(laptop.upstream), laptop.own.public) == (found.key_id, found)
        assert [path.name for path in laptop.folder.iterdir() if path.is_dir()].count(f"keys.{before.key_id}") == 1
        old = Keys.load(laptop.folder / f"keys.{before.key_id}")
        with Line(f"http://127.0.0.1:{laptop.port}", silence=5.0) as line, pytest.raises(NotAdmitted):
            Exchange(line=line, keys=old, theirs=SERVER.public).ask("GET", "/v1/time")
        left = bundles.bring_in(load(laptop.server / "dbsync.toml", {}), stick).left
        assert left == ()
        assert laptop.ship("after") >= 1
    assert {code for (code,) in laptop.upstream.sql("SELECT code FROM site")} == {"on the stick", "after"}


@pytest.mark.parametrize("step", ["nobody was told", "the driver was told", "all were told", "the old ones are away"])
def test_where_it_breaks_off_it_goes_on(laptop: Laptop, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    before = laptop.own.public
    told: list[object] = []
    tell, rename = Exchange.ask, Path.rename

    def breaking(self: Exchange, method: str, path: str, body: bytes = b"", **more: object) -> object:
        answer = tell(self, method, path, body, **more)  # type: ignore[arg-type]  # passed on as it came
        if path == "/v1/rotate":
            told.append(path)
            if step == "the driver was told" or (step == "all were told" and len(told) > 1):
                raise Unreachable("the line broke before the answer was heard")
        elif step == "nobody was told" and len(told) == 0 and self.theirs == SERVER.public:
            raise Unreachable("the line broke")
        return answer

    def crashing(self: Path, target: Path) -> Path:
        if step == "the old ones are away" and self.name == "keys.next":
            raise KeyboardInterrupt
        return rename(self, target)

    with serving(laptop.server, laptop.upstream, keys=SERVER, port=laptop.port), laptop.relay.within():
        with monkeypatch.context() as patched:
            patched.setattr(Exchange, "ask", breaking)
            patched.setattr(Path, "rename", crashing)
            with pytest.raises((DbsyncError, KeyboardInterrupt)):
                laptop.rotate()
        if step == "the old ones are away":
            with pytest.raises(ConfigError) as missing:
                _ = laptop.own
            assert "dbsync nodes rotate" in missing.value.hint
        found = laptop.rotate()
        assert found != before
        assert (known(laptop.upstream), laptop.own.public) == (found.key_id, found)
        assert laptop.ship("after") >= 1


@pytest.mark.parametrize("left", [None, b"", b"untrusted comment: minisign"], ids=["killed", "power cut", "disk full"])
def test_next_keys_that_were_not_finished_are_made_anew_for_nobody_was_told_of_them(
    laptop: Laptop, left: bytes | None
) -> None:
    beside = laptop.folder / "keys.next"
    Keys.generate().save(beside)
    if left is None:
        (beside / SIGNING_FILE).unlink()
    else:
        (beside / SIGNING_FILE).write_bytes(left)
    with serving(laptop.server, laptop.upstream, keys=SERVER, port=laptop.port), laptop.relay.within():
        found = laptop.rotate()
        assert (known(laptop.upstream), laptop.own.public) == (found.key_id, found)
        assert laptop.ship("after") == 1


def test_next_keys_that_others_may_read_are_kept_for_the_upstream_may_know_them(laptop: Laptop) -> None:
    beside = laptop.folder / "keys.next"
    Keys.generate().save(beside)
    made = Keys.load(beside).public
    (beside / SIGNING_FILE).chmod(0o644)
    with serving(laptop.server, laptop.upstream, keys=SERVER, port=laptop.port), laptop.relay.within():
        with pytest.raises(ConfigError, match="others can read"):
            laptop.rotate()
        (beside / SIGNING_FILE).chmod(0o600)
        assert laptop.rotate() == made


def test_keys_that_are_not_at_hand_are_not_taken(laptop: Laptop) -> None:
    own, new, stranger = laptop.own, Keys.generate(), Keys.generate()
    good = rotation.proof(own.public, new)
    rotation.verify_proof(own.public, new.public, good)
    for old, keys, proof in (
        (stranger.public, new.public, good),
        (own.public, stranger.public, good),
        (own.public, new.public, rotation.proof(own.public, stranger)),
        (own.public, new.public, new.sign(b"else", rotation.COMMENT)),
    ):
        with pytest.raises(FormatError):
            rotation.verify_proof(old, keys, proof)
    with serving(laptop.server, laptop.upstream, keys=SERVER, port=laptop.port):
        said = {"signing": stranger.public.signing, "sealing": stranger.public.sealing, "proof": "bm9uZQ=="}
        with Line(f"http://127.0.0.1:{laptop.port}", silence=5.0) as line, pytest.raises(DbsyncError):
            Exchange(line=line, keys=own, theirs=SERVER.public).ask("POST", "/v1/rotate", orjson.dumps(said))
    assert known(laptop.upstream) == own.public.key_id
