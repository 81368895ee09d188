"""Everything that can go wrong, mixed: the short form of ``make chaos``.

``DBSYNC_CHAOS=1`` runs it, ``DBSYNC_SEED`` replays the choices of a run; the interleaving is the machine's.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.chaos.__main__ import told
from tests.chaos.ground import Wish
from tests.chaos.run import Chaos

pytestmark = [
    pytest.mark.fault,
    pytest.mark.timeout(900),
    pytest.mark.skipif("DBSYNC_CHAOS" not in os.environ, reason="takes minutes: DBSYNC_CHAOS=1"),
]


def test_two_laptops_a_community_and_a_centre_agree_after_all_that_can_go_wrong(tmp_path: Path) -> None:
    seed = int(os.environ.get("DBSYNC_SEED") or time.time_ns() % 1_000_000)
    print(f"\nDBSYNC_SEED={seed}")
    wish = Wish(seed=seed, changes=10_000, seconds=30, cycles=1, size=60)
    outcome = Chaos(wish, tmp_path, print).run()
    print("\n".join(told(outcome)))
    assert outcome.differences == []
    assert outcome.silent == []
    for what in ("laptops restored", "communities restored", "clones", "schema skews", "released", "servers killed"):
        assert outcome.counts[what] > 0, what
