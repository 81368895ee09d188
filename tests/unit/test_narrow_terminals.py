"""On a narrow terminal, a phone's say, no number and no table's name is cut in two."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from dbsync.cli import output

HEADINGS = ["  TABLE", "PENDING", "OLDEST", "TODAY", "QUARANTINED", "TRIGGER"]
RIGHT = ["PENDING", "OLDEST", "TODAY", "QUARANTINED"]
ROWS = [
    ["  clinic_subject", "1,204", "26 min", "1,204,000", "12", "installed"],
    ["  clinic_historicalrequisition", "0", "-", "0", "0", "outdated"],
]


def printed(monkeypatch: pytest.MonkeyPatch, width: int) -> str:
    into = io.StringIO()
    monkeypatch.setattr(output, "_data", lambda: Console(file=into, width=width, highlight=False))
    output.table(HEADINGS, ROWS, right=RIGHT)
    return into.getvalue()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100])
def test_numbers_and_names_stay_whole(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    said = printed(monkeypatch, width)
    for cell in ("1,204,000", "clinic_historicalrequisition", "26 min", "QUARANTINED", "installed"):
        assert cell in said
    if width <= 60:
        assert "TABLE clinic_subject\n" in said
        assert "  PENDING      1,204\n" in said


def test_what_fits_is_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(monkeypatch, 100).splitlines()
    assert lines[0].split() == ["TABLE", *HEADINGS[1:]]
    assert lines[1].split() == ["clinic_subject", "1,204", "26", "min", "1,204,000", "12", "installed"]
    assert len(lines) == 3


def test_a_column_of_words_is_folded_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    into = io.StringIO()
    monkeypatch.setattr(output, "_data", lambda: Console(file=into, width=40, highlight=False))
    output.table(
        ["NODE", "SEEN", "WHY"], [["field-07", "3", "it was left in a taxi that nobody found again"]], right=["SEEN"]
    )
    assert len(into.getvalue().splitlines()) > 2
    assert into.getvalue().startswith("NODE")
