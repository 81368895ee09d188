"""What the demo makes of a comparison: it never says that databases agree when they do not."""

from __future__ import annotations

import pytest
import typer

from dbsync.cli import demo
from dbsync.demo import play
from dbsync.demo.agreement import Agreement, Row
from dbsync.model.names import TableName
from dbsync.verify.report import Difference, Kind, Report, TableReport

VISIT = TableName("public", "clinic_visit")
OWN: Row = (VISIT, ("S-0001", "1000"))
FIRST: Row = (VISIT, ("S-1001", "1000"))
SECOND: Row = (VISIT, ("S-2001", "1000"))


def report(*extra: Row, missing: int = 0) -> Report:
    """Make a report of one table, in which only the server has some rows."""
    return Report(
        tables=(TableReport(table=VISIT, source_rows=1, upstream_rows=9, missing=missing, extra=len(extra)),),
        differences=tuple(Difference(table=table, kind=Kind.EXTRA, key=key) for table, key in extra),
    )


def complaints(first: Report, second: Report) -> list[str]:
    reports = {"field-01": first, "field-02": second}
    return list(Agreement(reports=reports, own=frozenset({OWN})).complaints())


def test_rows_of_the_server_and_of_the_other_laptop_are_no_disagreement() -> None:
    assert complaints(report(OWN, SECOND), report(OWN, FIRST)) == []


def test_a_row_that_did_not_arrive_is_a_disagreement() -> None:
    assert complaints(report(OWN, SECOND, missing=1), report(OWN)) == [
        "field-01 and the server differ in rows of clinic_visit"
    ]


def test_a_delete_that_did_not_arrive_is_a_disagreement() -> None:
    assert complaints(report(OWN, FIRST, SECOND), report(OWN, FIRST)) == [
        "the server has clinic_visit ('S-1001', '1000'), which nobody has any more"
    ]


def test_a_row_of_its_own_that_the_server_lost_is_a_disagreement() -> None:
    assert complaints(report(SECOND), report(FIRST)) == [
        "the server lost clinic_visit ('S-0001', '1000'), a row of its own"
    ]


def test_disagreement_is_exit_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(play, "play", lambda **_: False)
    with pytest.raises(typer.Exit) as left:
        demo.demo()
    assert left.value.exit_code == 1
