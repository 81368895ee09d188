"""What the dashboard says, without a database: one sentence, two plots, pages that no name can break."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import cast
from uuid import UUID, uuid4

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbsync.config.load import parse
from dbsync.dashboard.door import Visitor
from dbsync.dashboard.facts import Facts, History, LastBatch, Moment, Sender, Told, Waiting
from dbsync.dashboard.passwords import fits, hashed
from dbsync.dashboard.plot import HEIGHT, WIDTH, plot
from dbsync.dashboard.sentence import Level, health
from dbsync.dashboard.users import Role as UserRole
from dbsync.dashboard.visit import Frame, Visit
from dbsync.errors import UsageError
from dbsync.identity.registry import Role
from dbsync.model.greeting import Carried, Greeting
from dbsync.model.names import TableName
from dbsync.service.backlog import LogStatus
from dbsync.service.link import LinkState
from dbsync.service.node import Node
from dbsync.service.nodes import State
from dbsync.service.status import Custody, LinkStatus, Status, TableStatus
from dbsync.transport.exchange import Exchange
from dbsync.transport.https import Https
from dbsync.web import greeted
from dbsync.web.says import Malformed

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)  # a Thursday
SUBJECT = TableName("public", "clinic_subject")


def sender(
    name: str = "field-01", *, hours: float | None = 1.0, state: State = State.ENROLLED, cases: int = 0
) -> Sender:
    """Make a node that was here so many hours ago."""
    seen = None if hours is None else NOW - timedelta(hours=hours)
    return Sender(name=name, role=Role.NODE, state=state, seen_at=seen, cases=cases)


def own(  # noqa: PLR0913 - what a test wants otherwise
    state: str = LinkState.STREAMING,
    *,
    pending: int = 0,
    oldest: float = 1.0,
    trigger: str = "installed",
    custody: tuple[Custody, ...] = (),
    quarantined: int = 0,
    clock: float | None = 0.0,
) -> Status:
    """Make the status of a laptop."""
    since = NOW - timedelta(seconds=oldest)
    table = TableStatus(
        table=SUBJECT,
        pending=pending,
        oldest=since if pending else None,
        today=0,
        trigger=trigger,
        quarantined=quarantined,
    )
    link = LinkStatus(
        name="community", state=state, since=NOW - timedelta(hours=2), reason=None, last_batch=7, last_changes=3, last_at=NOW,
        custody=custody, clock_off=clock,
    )  # fmt: skip
    log = LogStatus(bytes=1, waiting_bytes=1, oldest=None, kept=0, keep="7d", max_size=None, compact_over=None)
    node = Node(
        name="field-07", lineage=UUID(int=1), incarnation=UUID(int=2), capture_off_since=None, paused_since=None
    )
    return Status(node=node, link=link, tables=(table,), log=log, exact=True, now=NOW)


def facts(*senders: Sender, status: Status | None = None, cases: int = 0) -> Facts:
    """Make what the pages tell."""
    waiting = (Waiting(node="field-01", relation="public.clinic_subject", cases=cases, behind=0),) if cases else ()
    return Facts(
        revision="0012",
        place="here",
        now=NOW,
        upstream="community" if status else None,
        own=status,
        senders=senders,
        waiting=waiting,
        tables=(),
    )


DRIVER = Custody(relay="driver", batches=2, changes=43, since=NOW - timedelta(days=2), until=NOW)


@pytest.mark.parametrize(
    ("told", "level", "said"),
    [
        (facts(), Level.GOOD, "No node brings its changes here yet; nothing waits for a person."),
        (facts(sender()), Level.GOOD, "field-01 was here 60 min ago; nothing waits for a person."),
        (facts(sender(hours=0)), Level.GOOD, "field-01 was here just now; nothing waits for a person."),
        (
            facts(*(sender(f"field-{n:02}") for n in range(12)), cases=3),
            Level.NOTE,
            "3 changes wait for a person; all 12 nodes were here within a day.",
        ),
        (facts(sender(), sender("field-07", hours=216)), Level.NOTE, "field-07 was not here for 9 days."),
        (facts(sender(hours=None)), Level.NOTE, "field-01 was never here."),
        (
            facts(sender(), sender("field-07", hours=216), sender("field-08", hours=48)),
            Level.NOTE,
            "2 of 3 nodes were not here within a day: field-07 was not here for 9 days.",
        ),
        (facts(sender(hours=900, state=State.REVOKED)), Level.GOOD, "No node brings its changes here yet; nothing waits for a person."),
        (facts(status=own()), Level.GOOD, "Everything captured here is at community; nothing waits for a person."),
        (facts(status=own(pending=1)), Level.GOOD, "1 change is on the way to community; nothing waits for a person."),
        (facts(status=own(pending=9, oldest=3000)), Level.NOTE, "9 changes are on the way to community, the oldest for 50 min."),
        (
            facts(status=own(LinkState.UNREACHABLE, pending=50, custody=(DRIVER,))),
            Level.NOTE,
            "community is out of reach since 10:00 UTC, 50 changes wait safely here,"
            " 43 of them are with driver since Tuesday.",
        ),
        (
            facts(status=own(LinkState.HALTED, pending=2, trigger="disabled", quarantined=1)),
            Level.BAD,
            "The triggers of clinic_subject need care; the link to community is halted since 10:00 UTC, 2 changes wait safely here;"
            " 1 change waits in quarantine at community.",
        ),
        (
            facts(sender(), status=own(clock=-90.0), cases=1),
            Level.NOTE,
            "This clock is 90 s behind that of community; 1 change waits for a person; everything captured here is at community;"
            " field-01 was here 60 min ago.",
        ),
        (facts(status=own(LinkState.UP_TO_DATE)), Level.GOOD, "community: up to date, nothing is pending; nothing waits for a person."),
    ],
)  # fmt: skip
def test_one_sentence_says_how_everything_is(told: Facts, level: Level, said: str) -> None:
    found = health(told)
    assert (found.level, found.text) == (level, said)


def greeting(*, pending: int = 0, off: float = 0.0, carried: tuple[Carried, ...] = ()) -> Greeting:
    """Make what a node says of itself."""
    return Greeting(
        program="0.1.0", schema="0012", clock_off=off, pending=pending, exact=True, oldest=None, carried=carried
    )


def test_what_a_node_still_had_is_told_when_it_stays_away() -> None:
    away = sender("field-07", hours=216)
    left = Told(at=NOW, greeting=greeting(pending=43))
    assert health(facts(replace(away, told=left))).text == "field-07 was not here for 9 days, and had 43 changes then."
    driver = Carried(relay="driver", changes=43, since=NOW - timedelta(days=2))
    left = Told(at=NOW, greeting=greeting(pending=50, carried=(driver,)))
    said = "field-07 was not here for 9 days, and had 50 changes then, of which 43 are with driver since Tuesday."
    assert health(facts(replace(away, told=left))).text == said
    nothing = Told(at=NOW, greeting=greeting(carried=(driver,)))
    assert health(facts(replace(away, told=nothing))).text == "field-07 was not here for 9 days."


def test_a_node_whose_clock_is_wrong_is_named() -> None:
    wrong = replace(sender(), told=Told(at=NOW, greeting=greeting(off=-7200.0)))
    assert health(facts(wrong)).text == "The clock of field-01 is 2 h behind; field-01 was here 60 min ago."
    page = " ".join(re.sub(r"<[^>]+>", " ", rendered("nodes.html", facts(wrong))).split())
    assert "field-01 enrolled 60 min ago 0 - 2 h behind 0.1.0 0012 none - 0 0" in page


texts = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20)
greetings = st.builds(
    Greeting,
    program=texts,
    schema=texts,
    clock_off=st.none() | st.floats(-1e6, 1e6),
    pending=st.integers(0, 2**53),
    exact=st.booleans(),
    oldest=st.none() | st.datetimes(timezones=st.just(UTC)),
    carried=st.lists(
        st.builds(Carried, relay=texts, changes=st.integers(0, 9), since=st.datetimes(timezones=st.just(UTC))),
        max_size=3,
    ).map(tuple),
)


class Line:
    """An exchange that keeps what was asked."""

    body = b""

    def ask(self, _method: str, _path: str, body: bytes = b"") -> Mapping[str, object]:
        self.body = body
        return {}


@given(said=greetings)
def test_a_greeting_comes_as_it_was_said(said: Greeting) -> None:
    line = Line()
    Https(cast(Exchange, line)).greet("field-01", said)
    assert greeted.read(line.body) == said


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(changed=st.sampled_from(sorted(greeted.MEMBERS)), value=json_values)
def test_what_is_no_greeting_is_refused_in_our_own_words(changed: str, value: object) -> None:
    good = {
        "program": "0.1.0", "schema": "0012", "clock_off": 0.1, "pending": 3, "exact": True, "oldest": None,
        "carried": [{"relay": "driver", "changes": 3, "since": "2026-11-26T12:00:00+00:00"}],
    }  # fmt: skip
    try:
        body = orjson.dumps({**good, changed: value})
    except TypeError:  # a number that JSON as orjson has it cannot hold
        return
    with suppress(Malformed):
        found = greeted.read(body)
        assert isinstance(found, Greeting)


def test_a_pause_is_said_whatever_the_link_does() -> None:
    stopped, paused = own(LinkState.STOPPED, pending=3), own(LinkState.PAUSED)
    said = "The service that ships to community is stopped since 10:00 UTC, 3 changes wait safely here;"
    since = NOW - timedelta(hours=1)
    told = health(facts(status=replace(stopped, node=replace(stopped.node, paused_since=since))))
    assert told.text == f"{said} shipping to community is paused since 11:00 UTC."
    told = health(facts(status=replace(paused, node=replace(paused.node, paused_since=since))))
    assert told.text == "Shipping to community is paused since 10:00 UTC, nothing is pending."


def test_capture_that_is_off_is_said_first() -> None:
    status = own(pending=3)
    off = replace(status, node=replace(status.node, capture_off_since=NOW - timedelta(hours=30)))
    assert health(facts(sender(cases=1), status=off, cases=1)).text.startswith(
        "Capture is off since Wednesday: changes made now never reach community; "
    )


statuses = st.builds(
    own,
    state=st.sampled_from([*LinkState]),
    pending=st.integers(0, 9),
    oldest=st.floats(0, 1e6),
    trigger=st.sampled_from(["installed", "removed", "missing", "outdated", "disabled"]),
    custody=st.sampled_from([(), (DRIVER,)]),
    quarantined=st.integers(0, 3),
    clock=st.none() | st.floats(-1e5, 1e5),
)
senders = st.lists(
    st.builds(sender, name=st.sampled_from(["a", "b", "c"]), hours=st.none() | st.floats(0, 5000), state=st.sampled_from(State)),
    max_size=4,
)  # fmt: skip


@given(status=st.none() | statuses, came=senders, cases=st.integers(0, 3))
def test_whatever_is_the_case_it_is_one_sentence(status: Status | None, came: list[Sender], cases: int) -> None:
    found = health(facts(*came, status=status, cases=cases))
    assert re.fullmatch(r"[^.\n]+(\.[^. \n]+)*\.", found.text), found.text
    assert ";;" not in found.text
    assert "  " not in found.text
    bad = status is not None and (
        status.link.state in (LinkState.HALTED, LinkState.FULL)
        or any(table.trigger in ("missing", "outdated", "disabled") for table in status.tables)
    )
    assert (found.level is Level.BAD) is bad
    assert ("nothing waits for a person" in found.text) is (found.level is Level.GOOD)


moments = st.lists(
    st.builds(
        lambda changes, lag: Moment(begin=NOW, changes=changes, lag=lag if changes else None),
        changes=st.integers(0, 10**9),
        lag=st.floats(0, 1e8),
    ),
    max_size=96,
)


@given(moments=moments)
def test_a_plot_shows_everything_and_stays_in_its_box(moments: list[Moment]) -> None:
    found = plot(History(step=timedelta(minutes=15), moments=moments))
    assert len(found.bars) == sum(one.changes > 0 for one in moments)
    assert all(0 <= bar.x <= bar.x + bar.width <= WIDTH + 1 for bar in found.bars)
    assert all(bar.y >= 0 and bar.height > 0 and bar.y + bar.height <= HEIGHT + 0.2 for bar in found.bars)
    points = [*found.dots, *(tuple(map(float, point.split(","))) for line in found.lines for point in line.split())]
    assert len(points) == len(found.bars)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    assert found.total == sum(one.changes for one in moments)
    assert found.most == max((one.changes for one in moments), default=0)


EVIL = "<script>alert(1)</script>'\"&"


def rendered(template: str, told: Facts, **more: object) -> str:
    """Render a page for an operator who sees values."""
    config = parse('[node]\nname = "here"\nsource = "service=x"\n[web]\nallow_actions = true\n', path="x", environ={})
    who = Visitor(name=EVIL, role=UserRole.OPERATOR, sees_values=True, token="t")
    visit = Visit(who=who, root="/pages", query={}, path={})
    return bytes(Frame(config=config).page(visit, template, told, **more).body).decode()


def test_no_name_breaks_a_page() -> None:
    told = replace(
        facts(sender(EVIL, cases=2), status=own(LinkState.HALTED, pending=4), cases=2),
        waiting=(Waiting(node=EVIL, relation=f"public.{EVIL}", cases=2, behind=1),),
        came=History(step=timedelta(minutes=15), moments=[Moment(begin=NOW, changes=3, lag=2.0)]),
    )
    for template in ("overview.html", "nodes.html", "tables.html"):
        page = rendered(template, told)
        assert "<script>alert" not in page
        assert page.count('href="/pages/') > 8
        assert "style=" not in page, "the policy would not let it count"


def test_a_node_that_only_carries_or_was_invited_is_shown_as_what_it_is() -> None:
    carrier = replace(sender("driver"), role=Role.RELAY)
    busy = replace(sender(), last=LastBatch(number=1204, changes=37, at=NOW, lag=0.4), today=99)
    page = rendered("nodes.html", facts(carrier, busy, sender("field-09", hours=None, state=State.INVITED)))
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert "driver (driver) enrolled" in words
    assert "field-01 enrolled 60 min ago ? - ? ? ? 1,204 (37) 0.4 s 99 0" in words
    assert "field-09 invited never ? - ? ? ? none - 0 0" in words


def test_a_password_is_kept_as_what_nobody_can_read() -> None:
    kept = hashed("correct horse battery")
    assert kept.startswith("$argon2id$")
    assert "horse" not in kept
    assert fits(kept, "correct horse battery")
    assert not fits(kept, "correct horse batterz")
    assert not fits(None, "")
    assert fits(hashed("Ångström Ångström"), "A\u030angstro\u0308m A\u030angstro\u0308m"), (
        "one keyboard writes it otherwise"
    )
    for wrong in ("short", "x" * 1001):
        with pytest.raises(UsageError):
            hashed(wrong)


def test_the_files_of_others_are_as_they_were_released() -> None:
    folder = files("dbsync.dashboard").joinpath("static")
    listed: Mapping[str, str] = dict(
        re.findall(r"^\| (\S+) \| npm.*\| ([0-9a-f]{64}) \|$", folder.joinpath("README.md").read_text(), re.MULTILINE)
    )
    assert {"htmx.min.js", "htmx-ext-sse.js"} == listed.keys()
    for name, digest in listed.items():
        assert hashlib.sha256(folder.joinpath(name).read_bytes()).hexdigest() == digest, name
        assert folder.joinpath(f"{name.removesuffix('.js').removesuffix('.min')}.LICENSE").is_file()


def test_a_form_is_made_for_one_browser() -> None:
    one, other = (Visitor(name="anna", role=UserRole.VIEWER, sees_values=False, token=str(uuid4())) for _ in range(2))
    assert one.sent(one.form_token)
    assert not one.sent(other.form_token)
    assert not one.sent("")
    assert one.token not in one.form_token
