"""The page on who may do what names a test for each attack, and each is there."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "security.md"


def test_every_attack_has_a_test_that_is_there() -> None:
    _, _, table = PAGE.read_text(encoding="utf-8").partition("## Attacks, each with its test")
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    for attack, _, shown in rows:
        tests = "".join(
            (PAGE.parent / path).read_text(encoding="utf-8") for path in re.findall(r"\((\S+\.py)\)", shown)
        )
        assert "def test_" in tests, attack
        for name in re.findall(r"`(\w+?)(?:_?\.\.\.)?`", shown):
            assert f"def test_{name}" in tests, (attack, name)
