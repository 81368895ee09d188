"""``python -m tests.chaos``: everything that can go wrong, mixed from a seed; exits 1 when anything differs at the end."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time

from tests.chaos.ground import Wish
from tests.chaos.run import Chaos, Outcome, folder


def main() -> int:
    """Run, and say what came of it."""
    chosen = _arguments()
    wish = Wish(
        seed=chosen.seed if chosen.seed is not None else time.time_ns() % 1_000_000,
        changes=chosen.changes,
        seconds=chosen.minutes * 60,
        cycles=max(1, round(chosen.minutes / 2)),
        size=max(20, min(2_000, chosen.changes // 250)),
    )
    logging.disable(logging.INFO)
    _talk(f"seed {wish.seed}: {wish.changes:,} changes in {chosen.minutes:g} minutes")
    with folder() as place:
        outcome = Chaos(wish, place, _talk).run()
    print(json.dumps(_json(outcome)) if chosen.json else "\n".join(told(outcome)))
    return 1 if outcome.differences or outcome.silent else 0


def told(outcome: Outcome) -> list[str]:
    """Say it for a person."""
    lines = [f"seed {outcome.seed}, {outcome.seconds:,.0f} s"]
    lines += [f"  {name:<32}{number:>12,}" for name, number in sorted(outcome.counts.items())]
    lines += [f"  {line}" for line in outcome.differences[:20]]
    lines += [f"  overwritten in silence: {line}" for line in outcome.silent[:20]]
    return lines


def _json(outcome: Outcome) -> dict[str, object]:
    return {
        "seed": outcome.seed,
        "seconds": round(outcome.seconds, 1),
        **outcome.counts,
        "first_differences": outcome.differences[:50],
        "overwritten_in_silence": outcome.silent[:50],
    }


def _talk(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="replays the choices of a run; the interleaving is the machine's")
    parser.add_argument("--changes", type=int, default=1_000_000, help="rows changed, at the least")
    parser.add_argument("--minutes", type=float, default=8.0, help="over how long they are spread, at the least")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
