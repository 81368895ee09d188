"""The page about quarantine and conflicts shows every case that there is."""

from __future__ import annotations

from dbsync.model.policy import Conflict
from tests.docs.manual import ROOT

PAGE = ROOT / "docs" / "quarantine.md"


def test_every_conflict_that_a_person_may_meet_is_explained() -> None:
    text = PAGE.read_text()
    unexplained = {conflict for conflict in Conflict if f"`{conflict.value}`" not in text}
    assert unexplained == {Conflict.DELETE_MISSING, Conflict.WAITS}
