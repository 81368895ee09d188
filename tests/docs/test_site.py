"""The check of the manual's links finds those that lead nowhere, and the pages lead to one another as they do in the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs import site


def test_links_that_lead_nowhere_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "guide.html").write_text('<h2 id="install">Install</h2><img src="gone.svg">')
    (tmp_path / "index.html").write_text(
        '<a href="guide.html#install">1</a> <a href="guide.html#instal">2</a> <a href="gui.html">3</a>'
        '<a href="#top">4</a> <a href="https://example.org/x">5</a>'
    )
    assert site.main(tmp_path) == 1
    *wrong, counted = capsys.readouterr().err.splitlines()
    assert wrong == [
        "guide.html: gone.svg: there is no such file",
        "index.html: guide.html#instal: there is no such place on that page",
        "index.html: gui.html: there is no such file",
        "index.html: #top: there is no such place on that page",
    ]
    assert counted == "2 pages, 5 links within, 4 broken; 1 links to other sites were not followed"


def test_a_folder_without_a_manual_is_no_success(tmp_path: Path) -> None:
    assert site.main(tmp_path) == 1


def test_good_links_are_fine(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<p id="a">A</p><a href="#a">to A</a> <a href="index.html">here</a>')
    assert site.main(tmp_path) == 0
