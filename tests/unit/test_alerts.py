"""Who is told of what, and when: once, after it lasted, again when there is more, and that it is over."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dbsync.alerts.book import AGAIN, PAUSES, Book, Standing
from dbsync.alerts.conditions import Condition, Kind, Limits, Severity, Situation, judge, judge_from_outside
from dbsync.alerts.custody import Custody, judge_custody
from dbsync.config.explain import explain
from dbsync.config.load import parse
from dbsync.config.problems import InvalidConfig
from dbsync.relay.records import Records

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
LIMITS = Limits(unreachable=3600, lag=14_400, certificate=86_400 * 30)
WELL = Situation(node="field-07", now=NOW, link="community", state="streaming", since=NOW, contact=NOW)
SETTLE = 60.0


def ago(**length: float) -> datetime:
    return NOW - timedelta(**length)


def kinds(found: Situation) -> list[tuple[str, str, str]]:
    return [(one.kind.value, one.subject, one.severity.value) for one in judge(found, LIMITS)]


def test_a_node_that_is_well_is_not_worth_a_word() -> None:
    assert judge_from_outside(WELL, LIMITS) == ()
    assert judge(replace(WELL, pending=5_000, lag=14_400.0), LIMITS) == ()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"state": "halted"}, ("halted", "community", "critical")),
        ({"state": "unreachable", "since": ago(minutes=61)}, ("unreachable", "community", "warning")),
        ({"state": "unreachable", "no_room": True}, ("no_room", "community", "critical")),
        ({"lag": 14_401.0}, ("lag", "community", "warning")),
        ({"quarantined": 3}, ("quarantine", "community", "warning")),
        ({"waiting_here": 3}, ("quarantine", "field-07", "warning")),
        ({"capture_off_since": ago(hours=1)}, ("capture_off", "field-07", "critical")),
        ({"database_away": True}, ("database_away", "field-07", "critical")),
        ({"certificates": {"own": ago(days=-29)}}, ("certificate", "own", "warning")),
        ({"certificates": {"community:8443": ago(days=1)}}, ("certificate", "community:8443", "critical")),
    ],
)
def test_what_is_the_matter_is_told_by_name(changed: dict[str, object], told: tuple[str, str, str]) -> None:
    assert kinds(replace(WELL, **changed)) == [told]  # type: ignore[arg-type]


def test_a_link_that_is_out_of_reach_for_less_than_the_limit_is_not() -> None:
    assert kinds(replace(WELL, state="unreachable", since=ago(minutes=59))) == []


def test_the_worst_comes_first() -> None:
    found = replace(WELL, quarantined=1, state="halted", lag=99_999.0)
    assert [one[0] for one in kinds(found)] == ["halted", "lag", "quarantine"]


def test_from_outside_a_service_that_does_not_run_is_seen() -> None:
    stopped = replace(WELL, state="stopped", pending=1)
    silent = replace(WELL, claimed=False)
    assert [one.kind for found in (stopped, silent) for one in judge_from_outside(found, LIMITS)] == [Kind.STOPPED] * 2
    assert judge_from_outside(replace(stopped, pending=0), LIMITS) == ()


def test_from_outside_a_service_that_has_had_nothing_to_ship_for_long_runs_all_the_same() -> None:
    """Over a broker an upstream is heard of when it has acknowledged something."""
    assert judge_from_outside(replace(WELL, contact=ago(days=2)), LIMITS) == ()


def test_from_outside_a_pause_is_seen_and_nobody_is_called_for_it() -> None:
    paused = replace(WELL, paused_since=ago(days=1))
    (told,) = judge_from_outside(paused, LIMITS)
    assert (told.kind, told.severity, told.hint) == (Kind.PAUSED, Severity.WARNING, "dbsync resume")
    assert told.what.startswith("shipping from field-07 to community is paused since ")
    assert judge(paused, LIMITS) == ()
    assert judge_from_outside(replace(paused, link=None), LIMITS) == ()


IN_ORDER = Custody(relay="driver", now=NOW, upstream="community", visited=ago(days=9), free=10 << 30)
LOADED = replace(IN_ORDER, waiting=2, oldest=ago(minutes=61))


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (IN_ORDER, []),
        (LOADED, [("unreachable", "community", "warning")]),
        (replace(LOADED, oldest=ago(minutes=59)), []),
        (replace(LOADED, visited=ago(minutes=59)), []),
        (replace(LOADED, oldest=ago(hours=5), visited=ago(minutes=1)), [("lag", "community", "warning")]),
        (replace(LOADED, refused=True), [("halted", "community", "critical")]),
        (replace(LOADED, upstream=None, visited=None), [("unreachable", "driver", "warning")]),
        (replace(IN_ORDER, marked={"field-07": 2}), [("bundle_marked", "field-07", "warning")]),
        (replace(IN_ORDER, free=900 << 20), [("no_room", "driver", "warning")]),
        (replace(IN_ORDER, free=100 << 20), [("no_room", "driver", "critical")]),
        (replace(IN_ORDER, free=None), []),
        (Custody(relay="driver", now=NOW, records_away=True), [("database_away", "driver", "critical")]),
        (replace(IN_ORDER, certificates={"own": ago(days=1)}), [("certificate", "own", "critical")]),
    ],
)
def test_a_relay_is_told_of_when_bundles_wait_and_not_when_it_is_offline(
    found: Custody, told: list[tuple[str, str, str]]
) -> None:
    judged = judge_custody(found, LIMITS, room=1 << 30)
    assert [(one.kind.value, one.subject, one.severity.value) for one in judged] == told


def test_a_relay_goes_on_after_a_restart_with_what_somebody_had_heard(tmp_path: Path) -> None:
    heard, unheard = (Standing(condition=one, since=1_000.5, level=1) for one in (lag(1), lag(1, "other")))
    heard.told_at, unheard.trouble = 2_000.25, "webhook: it ended"
    for _ in range(2):
        with closing(Records(tmp_path / "relay.db")) as records:
            records.told.keep([heard, unheard])
            assert [one.subject for one in records.told.all()] == ["community", "other"]
            (taken,) = records.told.take_up()
            assert (taken.condition, taken.since, taken.level, taken.told_at) == (lag(1), 1_000.5, 1, 2_000.25)


def lag(level: int, subject: str = "community") -> Condition:
    return Condition(kind=Kind.LAG, subject=subject, severity=Severity.WARNING, what="w", hint="h", level=level)


class Ear:
    """A book with two hooks, and what each heard."""

    def __init__(self, *, deaf: bool = False) -> None:
        self.book = Book(["command", "webhook"], SETTLE)
        self.deaf = deaf

    def at(self, now: float, *conditions: Condition) -> list[str]:
        """Let a moment come; give what is told, to whom."""
        self.book.note(conditions, now)
        said = []
        for standing, hook in self.book.due(now):
            said.append(f"{'over ' if standing.over else ''}{standing.condition.kind.value} {hook}")
            if self.deaf and hook == "webhook":
                Book.failed(standing, "webhook: nobody there")
            else:
                Book.heard(standing, hook, now)
        return said


HALTED = Condition(kind=Kind.HALTED, subject="community", severity=Severity.CRITICAL, what="halted", hint="status")
FEW = Condition(
    kind=Kind.QUARANTINE, subject="community", severity=Severity.WARNING, what="3 wait", hint="list", level=3
)
MANY = replace(FEW, what="9 wait", level=9)


def test_what_does_not_last_is_never_told() -> None:
    ear = Ear()
    assert [ear.at(0, HALTED), ear.at(59, HALTED), ear.at(60), ear.at(90, HALTED), ear.at(120)] == [[]] * 5


def test_what_lasts_is_told_once_and_called_off_once_when_it_is_over_as_long() -> None:
    ear = Ear()
    assert ear.at(0, HALTED) == []
    assert ear.at(60, HALTED) == ["halted command", "halted webhook"]
    assert [ear.at(70 + i, HALTED) for i in range(3)] == [[]] * 3
    assert ear.at(100) == []
    assert ear.at(110, HALTED) == []  # back for a moment: it was never over
    assert ear.at(120) == []
    assert ear.at(180) == ["over halted command", "over halted webhook"]
    assert ear.at(240) == []
    assert ear.book.standing == {}
    assert [ear.at(300, HALTED), ear.at(360, HALTED)] == [[], ["halted command", "halted webhook"]]


def test_more_of_it_is_told_again_after_a_while_and_less_is_not() -> None:
    ear = Ear()
    ear.at(0, FEW)
    assert ear.at(60, FEW) == ["quarantine command", "quarantine webhook"]
    assert ear.at(70, MANY) == []
    assert ear.at(60 + AGAIN, MANY) == ["quarantine command", "quarantine webhook"]
    assert ear.at(70 + 2 * AGAIN, FEW) == []
    assert ear.at(80 + 3 * AGAIN, MANY) == ["quarantine command", "quarantine webhook"]


def test_a_hook_that_fails_is_tried_again_alone_a_few_times_and_then_given_up() -> None:
    ear = Ear(deaf=True)
    ear.at(0, HALTED)
    now = 60.0
    assert ear.at(now, HALTED) == ["halted command", "halted webhook"]
    for pause in PAUSES:
        assert ear.at(now + pause - 1, HALTED) == []
        now += pause
        assert ear.at(now, HALTED) == ["halted webhook"]
    assert ear.at(now + 100_000, HALTED) == []
    (standing,) = ear.book.standing.values()
    assert (standing.trouble, standing.waiting) == ("webhook: nobody there", set())
    ear.deaf = False
    ear.at(now + 200_000)
    assert ear.at(now + 200_100) == ["over halted command", "over halted webhook"]


def test_a_clock_that_was_put_back_keeps_nobody_from_hearing() -> None:
    ear, ahead = Ear(), 10 * 365 * 86_400.0
    ear.at(ahead, FEW)
    assert ear.at(0, FEW) == []
    assert ear.at(60, FEW) == ["quarantine command", "quarantine webhook"], "it began by the clock of before"
    ear.at(ahead, FEW)
    (standing,) = ear.book.standing.values()
    standing.told_at = ahead
    assert [ear.at(100, MANY), ear.at(100 + AGAIN, MANY)] == [[], ["quarantine command", "quarantine webhook"]]
    ear.at(ahead)
    assert [ear.at(200 + AGAIN), ear.at(260 + AGAIN)] == [[], ["over quarantine command", "over quarantine webhook"]]


def test_a_hook_that_failed_before_the_clock_was_put_back_is_tried_again() -> None:
    ear = Ear(deaf=True)
    ear.at(10_000_000, HALTED)
    assert len(ear.at(10_000_060, HALTED)) == 2
    assert [ear.at(0, HALTED), ear.at(PAUSES[-1], HALTED)] == [[], ["halted webhook"]]


def test_what_nobody_heard_of_is_not_called_off() -> None:
    book = Book(["webhook"], SETTLE)
    for now in (0.0, 60.0, *(60.0 + sum(PAUSES[: i + 1]) for i in range(len(PAUSES)))):
        book.note([HALTED], now)
        for standing, _ in book.due(now):
            Book.failed(standing, "nobody there")
    book.note([], 50_000)
    book.note([], 60_000)
    assert list(book.due(60_000)) == []
    assert book.standing == {}


HEAD = '[node]\nname = "field-07"\nsource = "service=clinic"\n[alerts]\n'


def test_no_secret_of_a_hook_is_shown() -> None:
    config = parse(
        HEAD + 'webhook = "https://hooks.example.org/${TOKEN}"\ncommand = ["mail", "${TOKEN}"]\n',
        path="dbsync.toml",
        environ={"TOKEN": "s3cret"},
    )
    assert config.alerts.webhook == "https://hooks.example.org/s3cret"
    assert "s3cret" not in repr(config)
    for wrong in ('webhook = "https://hooks.example.org/s3cret" x', 'heartbeat = "htps://hc.example.org/s3cret"'):
        with pytest.raises(InvalidConfig) as caught:
            parse(HEAD + wrong + "\n", path="dbsync.toml", environ={})
        assert "s3cret" not in explain(caught.value.problems)
