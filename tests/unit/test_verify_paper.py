"""A comparison's papers are read in one form only, and in bounded room, whoever wrote them."""

from __future__ import annotations

import random
import sys
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbsync.errors import FormatError, Refusal
from dbsync.verify import paper
from dbsync.verify.paper import Answer, Question

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def test_a_paper_that_unpacks_to_more_than_any_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "LARGEST", 1 << 20)
    with pytest.raises(FormatError, match="larger than any"):
        Question.read(zstd.compress(b" " * (2 << 20)))


odd: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, -1, 0, 2**62, 2**63, 1.5, "", "x", "\x00", [], [[]], {}, ["a"], {"a": 1}, "AAAA"]
)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), odd)
def test_an_answer_that_was_changed_anywhere_is_read_or_refused(seed: int, value: object) -> None:
    numbers = random.Random(seed)
    said: Any = {
        "version": 1, "number": 3, "at": "2026-11-28T00:00:00+00:00",
        "tables": [
            {"rows": 1, "other": 0, "apart": {"different": "", "missing": "AAAAAAAAAAAAAAAAAAAAAA==", "extra": 0}, "notes": []},
            {"again": [[1, 2, "missing", []], [1, 3, "different", ["note"]]]},
            {"problem": "none"},
            {"view": [], "tables": [["public", "visit"]]},
        ],
    }  # fmt: skip
    assert len(Answer.read(paper._pack(said)).tables) == 4
    inside = said
    while isinstance(inside, dict | list) and inside and numbers.random() < 0.8:
        step = numbers.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
        holder, inside = inside, inside[step]
        if numbers.random() < 0.4 or not isinstance(inside, dict | list) or not inside:
            holder[step] = value
            break
    with suppress(FormatError):
        Answer.read(paper._pack(said))


def test_one_that_would_be_too_large_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "LARGEST", 100)
    with pytest.raises(Refusal, match="does not fit"):
        paper._pack({"a": "x" * 100})
