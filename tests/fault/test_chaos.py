"""Everything that can go wrong, mixed: the short form of ``make chaos``.

``DBSYNC_SEED`` makes other choices than those of every day; the interleaving is the machine's.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.__main__ import told
from tests.chaos.ground import Wish
from tests.chaos.run import Chaos

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600)]


def test_two_laptops_a_community_and_a_centre_agree_after_all_that_can_go_wrong(tmp_path: Path) -> None:
    wish = Wish(seed=int(os.environ.get("DBSYNC_SEED") or 7), changes=5_000, seconds=15, cycles=1, size=40)
    outcome = Chaos(wish, tmp_path, print).run()
    print("\n".join(told(outcome)))
    assert outcome.differences == []
    assert outcome.silent == []
    for what in ("laptops restored", "communities restored", "clones", "schema skews", "released", "servers killed"):
        assert outcome.counts[what] > 0, what
