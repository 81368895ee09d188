"""Turns are fair: who comes home with much has no more of them than who has little."""

from __future__ import annotations

from dbsync.service.rota import SOON, WAITS, Rota


def test_one_with_a_million_has_a_turn_and_then_everybody_else_has_one() -> None:
    rota, turns = Rota(waiting={"much": 1_000_000}), []
    for now in range(12):
        if now == 3:
            rota.see({**rota.waiting, "a": 1, "b": 1, "c": 2})
        node = rota.next(float(now))
        assert node is not None
        turns.append(node)
        rota.give_back(node, now + 0.5, left=rota.waiting[node] - 1)
    assert turns == ["much"] * 3 + ["a", "b", "c", "much", "c"] + ["much"] * 4


def test_a_node_is_with_one_worker_at_a_time() -> None:
    rota = Rota(waiting={"a": 5})
    assert (rota.next(0.0), rota.next(0.0), rota.is_at_work) == ("a", None, True)
    rota.give_back("a", 1.0, left=4)
    assert rota.next(1.0) == "a"


def test_one_that_is_served_elsewhere_is_tried_again_soon() -> None:
    rota = Rota(waiting={"a": 5})
    rota.next(0.0)
    rota.rest("a", 0.0, letters=None)
    rota.see({"a": 7})
    assert rota.next(SOON / 2) is None
    assert rota.next(SOON) == "a"


def test_one_that_has_to_wait_is_tried_again_when_something_comes_or_after_a_while() -> None:
    rota = Rota(waiting={"a": 5})
    for _ in range(2):
        assert rota.next(0.0) == "a"
        rota.rest("a", 0.0, letters=rota.waiting["a"])
        assert rota.next(WAITS - 1) is None
        rota.see({"a": rota.waiting["a"] + 1})
    assert rota.next(0.0) == "a"
    rota.rest("a", 0.0, letters=7)
    assert rota.next(WAITS) == "a"
