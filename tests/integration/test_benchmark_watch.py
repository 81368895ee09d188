"""What the benchmarks look at meanwhile is seen, and a look that fails gives no figure."""

from __future__ import annotations

import threading

import pytest

from tests.benchmarks.locks import Locks
from tests.benchmarks.watch import Watch
from tests.support.databases import ONE_MIXTURE, Pair
from tests.support.service import until


@ONE_MIXTURE
def test_a_session_that_waits_for_a_lock_is_seen(pair: Pair) -> None:
    pair.source.sql("CREATE TABLE visit (id int)")
    with pair.source.connect() as holder, Locks(pair.source) as locks:
        with holder.transaction():
            holder.execute("LOCK TABLE visit")
            waiter = threading.Thread(target=lambda: pair.source.sql("INSERT INTO visit VALUES (1)"))
            waiter.start()
            until(lambda: locks.most > 0 and locks.waiting > 0, "nobody saw it")
        waiter.join()


def test_a_look_that_fails_is_told_at_the_end() -> None:
    looked = threading.Event()

    def look() -> None:
        looked.set()
        raise OSError("away")

    with pytest.raises(OSError, match="away"), Watch(look, 0.01):
        assert looked.wait(10)
