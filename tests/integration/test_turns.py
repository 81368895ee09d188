"""Appliers that write into one upstream: beside each other, and alone after a deadlock."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread

import psycopg
import pytest

from dbsync.apply import turns
from dbsync.apply.turns import ALONE, Turns
from tests.support.databases import ONE_MIXTURE, Pair
from tests.support.service import until

pytestmark = ONE_MIXTURE

WAITS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


class Applying:
    """An applier in the middle of a batch."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        self.turns = Turns(connection)

    def write(self) -> None:
        """Take the turn for a batch, and give it back."""
        with self.connection.transaction():
            self.turns.take()


@pytest.fixture
def two(pair: Pair) -> Iterator[tuple[Applying, Applying]]:
    with pair.upstream.connect() as one, pair.upstream.connect() as other:
        yield Applying(one), Applying(other)


def test_they_write_beside_each_other(two: tuple[Applying, Applying]) -> None:
    one, other = two
    with one.connection.transaction():
        one.turns.take()
        other.write()


def test_after_a_deadlock_one_waits_until_the_other_is_done(pair: Pair, two: tuple[Applying, Applying]) -> None:
    one, other = two
    other.turns.met_others()
    waiting = Thread(target=other.write)
    with one.connection.transaction():
        one.turns.take()
        waiting.start()
        until(lambda: pair.upstream.value(WAITS) == 1, "it does not wait to be alone")
    waiting.join(10)
    assert not waiting.is_alive()


def test_it_is_alone_for_some_batches_only(pair: Pair, two: tuple[Applying, Applying]) -> None:
    one, other = two
    other.turns.met_others()
    for _ in range(ALONE):
        other.write()
    with one.connection.transaction():
        one.turns.take()
        other.write()


def test_one_that_does_not_go_on_keeps_nobody_for_long(
    two: tuple[Applying, Applying], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0.1)
    one, other = two
    other.turns.met_others()
    with one.connection.transaction():
        one.turns.take()
        with other.connection.transaction():
            other.turns.take()
            shown = other.connection.execute("SHOW lock_timeout").fetchone()
    assert shown == ("0",)
