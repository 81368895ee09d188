"""The manual shows the pictures that are taken, and no others."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from tests.docs.pictures import FOLDER, PICTURES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "dashboard.md").read_text()
DRAWING = ROOT / "docs" / "drawings" / "architecture.svg"


def test_every_picture_is_there_and_shown() -> None:
    shown = re.findall(r"!\[[^\]]{10,}\]\(\.\./pictures/([\w.-]+)\)", PAGE)
    assert sorted(shown) == sorted(picture.file for picture in PICTURES)
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(shown)
    for name in shown:
        data = (FOLDER / name).read_bytes()
        assert data.startswith(b"\x89PNG"), name
        assert 5_000 < len(data) < 400_000, name


def test_the_drawing_of_the_architecture_is_for_light_and_dark_and_says_in_words_what_it_shows() -> None:
    drawing = DRAWING.read_text()
    light, dark = (
        set(re.findall(r"(--\w+): #", line)) for line in re.findall(r"^ *svg { (.*)$", drawing, re.MULTILINE)
    )
    assert light == dark == set(re.findall(r"var\((--\w+)\)", drawing))
    _, _, for_dark = drawing.partition("@media (prefers-color-scheme: dark) {")
    assert "--paper" in for_dark
    named = ElementTree.fromstring(drawing)
    said = {element.get("id"): " ".join((element.text or "").split()) for element in named}
    assert len(said["title"]) > 20
    assert len(said["what"]) > 400
    assert "http" not in drawing.replace("http://www.w3.org/2000/svg", ""), "it needs nothing from elsewhere"


def test_the_drawing_is_shown_where_somebody_looks_first() -> None:
    assert re.search(r"!\[[^\]]{100,}\]\(docs/drawings/architecture\.svg\)", (ROOT / "README.md").read_text())
    assert re.search(r"!\[[^\]]{100,}\]\(drawings/architecture\.svg\)", (ROOT / "docs" / "architecture.md").read_text())
