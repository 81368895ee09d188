"""/metrics, /healthz and /readyz of the programs that run on and on: a laptop, a driver, a server and a broker's appliers at work."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from dbsync import __version__
from dbsync.bundle.letters import letters
from dbsync.bundle.names import SIGNATURE, BundleName
from dbsync.errors import Unreachable
from dbsync.identity import registry
from dbsync.identity.keys import Keys
from dbsync.identity.registry import Role
from dbsync.meters import COUNTED, METERS
from dbsync.model.program import Program
from dbsync.transport import broker
from dbsync.transport.subjects import Subjects
from tests.integration.clinic_schema import SCHEMA
from tests.support.brokers import shared
from tests.support.certificates import DAY, Authority
from tests.support.databases import MIXTURE, Databases, EmptyPair, Pair
from tests.support.pipeline import Pipeline, prepared
from tests.support.promtool import promtool
from tests.support.relayed import Relay
from tests.support.scrape import Page, asked, scrape
from tests.support.served import admit, free_port, serving
from tests.support.servers import Servers
from tests.support.service import ServiceProcess, until

SECRET = "the patient's own words"
TABLES = '[[tables]]\nname = "site"\n\n[[tables]]\nname = "subject"\n'
OF = {"node": "field-01", "link": "community"}


@dataclass(kw_only=True)
class World:
    """A laptop whose upstream is away, a driver who comes by, and then the server is in reach."""

    both: Pair
    folder: Path
    ports: dict[Program, int]
    relay: Relay
    authority: Authority
    keys: Keys
    port: int

    @property
    def laptop(self) -> Path:
        """Give the laptop's folder."""
        return self.folder / "laptop"

    def prepare(self) -> None:
        """Let everybody know everybody else."""
        own = Keys.generate()
        own.save(self.laptop / "keys")
        url, ca = f"https://127.0.0.1:{self.port}", f'ca = "{self.authority.file}"'
        (self.laptop / "dbsync.toml").write_text(
            f'[node]\nname = "field-01"\nsource = "{self.both.source.dsn}"\n'
            f'[upstream]\nurl = "{url}"\nname = "community"\n{ca}\n'
            f'[[relays]]\nurl = "{self.relay.url}"\nname = "driver"\n'
            f'[metrics]\nlisten = "127.0.0.1:{self.ports[Program.RUN]}"\n'
            f"[service]\nretry_max = 0.2\n{TABLES}"
        )
        admit(self.both.upstream, "field-01", own)
        with self.both.source.connect() as connection:
            registry.pin(connection, "community", self.keys.public)
            registry.pin(connection, "driver", self.relay.admit("field-01", own), role=Role.RELAY)
        self.relay.upstream_is(url, self.keys.public)
        admit(self.both.upstream, "driver", Keys.load(self.relay.folder / "keys"), role=Role.RELAY)
        with (self.relay.folder / "relay.toml").open("a") as file:
            file.write(f'{ca}\n[metrics]\nlisten = "127.0.0.1:{self.ports[Program.RELAY]}"\n')

    def page(self, program: Program) -> Page:
        """Ask one of the programs."""
        return scrape(self.ports[program])

    def insert(self, *codes: str) -> None:
        """Make sites on the laptop."""
        self.both.source.sql("INSERT INTO site (code, name) SELECT unnest(%s::text[]), %s", (list(codes), SECRET))


@dataclass(frozen=True, kw_only=True)
class Told:
    """What was told while the server was away, and afterwards."""

    away: dict[Program, Page]
    there: dict[Program, Page]
    pages: dict[str, tuple[int, dict[str, object]]]
    logs: tuple[Path, ...]


@pytest.fixture(scope="module")
def told(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Let them work, and ask them."""
    databases, folder = Databases(servers), tmp_path_factory.mktemp("watched")
    (folder / "laptop").mkdir()
    both = prepared(databases, EmptyPair(databases, MIXTURE), SCHEMA)
    both.upstream.sql("ALTER TABLE site ADD CONSTRAINT plausible CHECK (code <> 'impossible')")
    world = World(
        both=both,
        folder=folder,
        ports={program: free_port() for program in Program},
        relay=Relay(folder),
        authority=Authority(folder / "tls"),
        keys=Keys.generate(),
        port=free_port(),
    )
    with Pipeline(both.source, both.upstream, TABLES), ExitStack() as stack:
        world.prepare()
        yield _live(world, stack)
    databases.drop_all()


def _live(world: World, stack: ExitStack) -> Told:
    laptop = stack.enter_context(ServiceProcess(world.laptop))
    driver = stack.enter_context(world.relay.open())
    world.insert("a", "b")
    until(lambda: world.page(Program.RELAY).series("dbsync_relay_bundles") == {("field-01",): 1}, "no bundle")
    until(lambda: world.page(Program.RUN).series("dbsync_custody_changes") != {}, "no custody")
    away = {program: world.page(program) for program in (Program.RUN, Program.RELAY)}
    pages = {"away": asked(world.ports[Program.RUN], "/readyz")}
    listen = f'[metrics]\nlisten = "127.0.0.1:1"\nserve_listen = "127.0.0.1:{world.ports[Program.SERVE]}"'
    listen += f'\napply_listen = "127.0.0.1:{world.ports[Program.APPLY]}"\n[broker]\nurl = "{shared().url}"\nreplicas = 1\nroom = "50MB"'
    tls = world.authority.certificate(until=30 * DAY)
    where = (world.folder / "server", world.both.upstream)
    stack.enter_context(serving(*where, keys=world.keys, port=world.port, tls=tls, more=listen))
    _work(world)
    ghost = Keys.generate()
    shared().admit(f"T{uuid4().hex[:12]}", "community", world.keys.public, {"ghost": ghost.public})
    stack.enter_context(ServiceProcess(world.folder / "server", command=("apply",)))
    _leave_as_a_stranger(world, ghost)
    there = {program: world.page(program) for program in Program}
    for name, program in (
        ("laptop", Program.RUN),
        ("server", Program.SERVE),
        ("driver", Program.RELAY),
        ("apply", Program.APPLY),
    ):
        for page in ("/healthz", "/readyz", "/nothing"):
            pages[f"{name} {page}"] = asked(world.ports[program], page)
    return Told(away=away, there=there, pages=pages, logs=(laptop.log, driver.log))


def _work(world: World) -> None:
    """Ship what waited; then one row that both sides have, and one that cannot be applied."""
    world.both.upstream.sql("INSERT INTO site (code, name) VALUES ('both', 'another name')")
    until(lambda: world.both.upstream.value("SELECT count(*) FROM site") == 3, "nothing arrives")
    world.insert("both")
    world.insert("impossible")
    held = (("check_violation", "field-01"), 1.0)
    until(lambda: held in world.page(Program.SERVE).series("dbsync_quarantine_changes").items(), "nothing is held")
    until(lambda: world.page(Program.SERVE).series("dbsync_conflicts_total") != {}, "no conflict")
    until(lambda: world.page(Program.RUN).value("dbsync_link_quarantined_changes", **OF) == 1, "the node is not told")
    until(lambda: world.page(Program.RELAY).series("dbsync_relay_bundles") == {("field-01",): 0}, "it is not delivered")
    # A reading is good for a while: the one that told of the conflict may be older than the driver's visit.
    contact = "dbsync_node_last_contact_timestamp_seconds"
    until(lambda: ("driver", "relay") in world.page(Program.SERVE).series(contact), "the driver was not there")


def _leave_as_a_stranger(world: World, ghost: Keys) -> None:
    """Leave something at the broker that nobody takes in: by a node that it knows, and the server does not."""
    subjects = Subjects("community")
    path = world.folder / BundleName.of("ghost", uuid4(), 1, 1).file()
    path.write_bytes(b"sealed")
    path.with_name(path.name + SIGNATURE).write_bytes(ghost.sign(b"sealed", "x"))
    (letter,) = letters(path, 1000)

    def left() -> bool:
        with suppress(Unreachable), broker.opened(shared().url, ghost, node="ghost", ca=None, silence=5) as there:
            there.publish(subjects.batches("ghost"), letter.data, letter.headers)
            return True
        return False

    until(left, "nobody keeps it")
    page = partial(world.page, Program.APPLY)
    until(lambda: page().series("dbsync_broker_messages") == {("ghost",): 1}, "the backlog is not told")


def test_a_brokers_appliers_tell_what_lies_there(told: Told) -> None:
    page = told.there[Program.APPLY]
    assert page.series("dbsync_broker_messages") == {("ghost",): 1}
    assert page.value("dbsync_database_up") == 1
    assert page.series("dbsync_quarantine_changes") == told.there[Program.SERVE].series("dbsync_quarantine_changes")


def test_what_is_told_is_what_the_page_lists_with_these_kinds_and_labels(told: Told) -> None:
    seen: dict[str, tuple[str, frozenset[str] | None]] = {}
    for program, page in (*told.away.items(), *told.there.items()):
        assert set(page.told()) <= {meter.name for meter in METERS if program in meter.told}, program
        seen |= {name: found for name, found in page.told().items() if found[1] is not None or name not in seen}
    assert seen == {meter.name: (meter.kind.value, frozenset(meter.labels)) for meter in METERS}


@pytest.mark.parametrize("program", list(Program))
def test_a_program_lists_what_it_counts_also_before_there_was_any(told: Told, program: Program) -> None:
    page = told.there[program]
    listed = {meter.name for meter in METERS if program in meter.told and meter in COUNTED}
    assert listed <= set(page.told())


def test_a_laptop_tells_that_its_upstream_is_away_and_what_waits_with_whom(told: Told) -> None:
    page = told.away[Program.RUN]
    assert page.value("dbsync_link_state", **OF, state="unreachable") == 1
    assert sum(page.series("dbsync_link_state").values()) == 1
    assert page.value("dbsync_link_pending_changes", **OF) == 2
    assert 0 < (page.value("dbsync_link_lag_seconds", **OF) or 0) < 3600
    assert page.value("dbsync_custody_changes", **OF, relay="driver") == 2
    assert page.value("dbsync_carried_changes_total", **OF, by="relay") == 2
    assert (page.value("dbsync_link_retries_total", **OF) or 0) >= 1
    assert page.value("dbsync_link_acknowledged_batch", **OF) == 0
    assert page.value("dbsync_link_last_receipt_timestamp_seconds", **OF) is None
    assert told.pages["away"] == (
        200,
        {"status": "ok", "node": "field-01", "link": "community", "state": "unreachable"},
    )


def test_a_laptop_tells_what_it_shipped_and_how_its_link_is(told: Told) -> None:
    page = told.there[Program.RUN]
    assert page.value("dbsync_build_info", version=__version__, python=_python(), node="field-01", program="run") == 1
    assert page.value("dbsync_link_state", **OF, state="streaming") == 1
    assert page.value("dbsync_link_pending_changes", **OF) == 0
    assert page.value("dbsync_link_lag_seconds", **OF) == 0
    batches = page.value("dbsync_shipped_batches_total", **OF)
    assert batches is not None
    assert batches >= 2
    assert page.value("dbsync_shipped_batch_seconds_count", **OF) == batches
    assert page.value("dbsync_shipped_held_changes_total", **OF) == 1
    assert (page.value("dbsync_shipped_bytes_total", **OF) or 0) > 100
    assert (page.value("dbsync_link_acknowledged_batch", **OF) or 0) >= 2
    for name in ("state_since", "last_receipt", "last_contact"):
        assert abs((page.value(f"dbsync_link_{name}_timestamp_seconds", **OF) or 0) - time.time()) < 3600
    assert abs(page.value("dbsync_link_clock_skew_seconds", **OF) or 9) < 5
    assert page.value("dbsync_capture_enabled", node="field-01") == 1
    assert page.value("dbsync_shipping_paused", node="field-01") == 0
    assert page.value("dbsync_drifted_triggers", node="field-01") == 0
    assert (page.value("dbsync_change_log_bytes", node="field-01") or 0) > 8192
    ends = page.series("dbsync_certificate_expiry_timestamp_seconds")
    assert [round((end - time.time()) / 86_400) for end in ends.values()] == [30]


def test_a_server_tells_who_came_when_and_what_waits(told: Told) -> None:
    page = told.there[Program.SERVE]
    assert page.series("dbsync_quarantine_changes") == {("check_violation", "field-01"): 1}
    assert (page.value("dbsync_quarantine_oldest_age_seconds") or 0) > 0
    assert page.series("dbsync_conflicts_total") == {("insert_exists", "field-01"): 1}
    assert set(page.series("dbsync_node_last_contact_timestamp_seconds")) == {("field-01", "node"), ("driver", "relay")}
    assert set(page.series("dbsync_node_last_batch_timestamp_seconds")) == {("field-01",)}
    applied = page.value("dbsync_applied_batches_total", node="field-01")
    assert applied == page.value("dbsync_applied_batch_seconds_count")
    assert page.value("dbsync_applied_changes_total", node="field-01") == 4
    assert page.value("dbsync_applied_held_changes_total", node="field-01") == 1
    assert (page.value("dbsync_requests_total", operation="batch_part", code="200") or 0) >= 2
    assert page.value("dbsync_certificate_expiry_timestamp_seconds", of="own") is not None


def test_a_driver_tells_what_he_has_and_when_he_was_at_the_server(told: Told) -> None:
    before, after = told.away[Program.RELAY], told.there[Program.RELAY]
    assert before.series("dbsync_relay_bundles") == {("field-01",): 1}
    assert (before.value("dbsync_relay_oldest_bundle_age_seconds") or 0) > 0
    assert before.series("dbsync_relay_last_visit_timestamp_seconds") == {}
    assert after.series("dbsync_relay_bundles") == {("field-01",): 0}
    assert after.value("dbsync_relay_delivered_bundles_total") == 1
    assert set(after.series("dbsync_relay_last_visit_timestamp_seconds")) == {("community",)}


def test_no_value_of_a_row_and_no_key_is_in_the_metrics(told: Told) -> None:
    for page in (*told.away.values(), *told.there.values()):
        assert SECRET not in page.text
        assert "impossible" not in page.text


def test_each_program_says_that_it_is_alive_and_ready(told: Told) -> None:
    for name, more in (
        ("laptop", {"node": "field-01", "link": "community", "state": "streaming"}),
        ("server", {"node": "community"}),
        ("apply", {"node": "community"}),
        ("driver", {"node": "driver", "bundles": 0}),
    ):
        code, alive = told.pages[f"{name} /healthz"]
        assert (code, alive["status"]) == (200, "ok")
        assert told.pages[f"{name} /readyz"] == (200, {"status": "ok", **more})
        assert told.pages[f"{name} /nothing"][0] == 404


def test_promtool_finds_nothing_to_say_against_the_names(told: Told) -> None:
    for page in told.there.values():
        assert promtool("check", "metrics", given=page.text) == ""


def _python() -> str:
    return platform.python_version()
