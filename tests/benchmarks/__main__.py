"""``python -m tests.benchmarks``: measure, print the table, write it beside the numbers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dbsync.demo.processes import Stopped, ended_by_signals
from tests.benchmarks import (
    backfill,
    capture,
    curve,
    drain,
    flat,
    fleet,
    ground,
    growth,
    idle,
    latency,
    load,
    report,
    resume,
    slow,
    wire,
)
from tests.benchmarks.stage import Stage

PARTS = {
    "capture": capture.run,
    "flat": flat.run,
    "drain": drain.run,
    "resume": resume.run,
    "latency": latency.run,
    "idle": idle.run,
    "load": load.run,
    "curve": curve.run,
    "growth": growth.run,
    "wire": wire.run,
    "backfill": backfill.run,
    "slow": slow.run,
    "fleet": fleet.run,
}


def main() -> int:
    """Run; a signal ends it as Ctrl-C does, with nothing left behind."""
    chosen = _arguments()
    try:
        with ended_by_signals():
            return _run(chosen)
    except Stopped as stopped:
        ground.talk(f"stopped by {stopped}; nothing is left behind")
        return 128 + stopped.number


def _run(chosen: argparse.Namespace) -> int:
    """Run the parts asked for; give 1 when data went wrong, never because something was slow."""
    parts = [chosen.only] if chosen.only else list(PARTS)
    facts = ground.facts()
    with Stage(scale=chosen.scale, reps=chosen.reps, out=chosen.out) as stage:
        results = [row for part in parts for row in PARTS[part](stage)]
    facts |= {"load_at_end": ground.load()}
    made = report.Report(
        facts=facts, scale=chosen.scale, reps=chosen.reps, results=tuple(results), plots=tuple(stage.plots)
    )
    stem = report.write(made, chosen.out, part=chosen.only)
    print("\n".join(report.table(made)))
    ground.talk(f"wrote {stem}.json and {stem}.md")
    return 0 if made.sound else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--scale", type=_positive, default=1.0, help="1.0: 100,000 captured and 420,000 drained rows")
    parser.add_argument("--reps", type=int, default=3, choices=range(1, 100), metavar="N", help="repetitions of all")
    parser.add_argument("--only", choices=list(PARTS), help="one part; its files are named after it")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"), help="folder for DATE.json and DATE.md")
    return parser.parse_args()


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
