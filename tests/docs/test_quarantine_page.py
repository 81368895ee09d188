"""The page about quarantine and conflicts shows commands that exist, with options that they have."""

from __future__ import annotations

from dbsync.model.policy import Conflict
from tests.docs.manual import ROOT, helps
from tests.docs.test_readme import commands

PAGE = ROOT / "docs" / "quarantine.md"
GROUPS = {"quarantine", "conflicts"}


def test_commands_shown_exist_with_their_options() -> None:
    shown = [words[1:] for words in commands(PAGE)]
    names = sorted({" ".join(words[:2] if words[0] in GROUPS else words[:1]) for words in shown})
    help_of = dict(zip(names, helps(*names)[1:], strict=True))
    assert len(names) > 8
    for words in shown:
        text = help_of[" ".join(words[:2] if words[0] in GROUPS else words[:1])]
        assert text.startswith("Usage: dbsync "), words
        for option in (word for word in words if word.startswith("--") and word != "--"):
            assert option in text, words


def test_every_conflict_that_a_person_may_meet_is_explained() -> None:
    text = PAGE.read_text()
    unexplained = {conflict for conflict in Conflict if f"`{conflict.value}`" not in text}
    assert unexplained == {Conflict.DELETE_MISSING, Conflict.WAITS}
