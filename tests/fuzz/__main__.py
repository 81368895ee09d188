"""``python -m tests.fuzz``: made-up schemas and stories from seeds; exits 1 when any ends wrong, and tells it as short as it can."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import fields

import structlog

from tests.fuzz.run import Wish, shorten, tell
from tests.support.servers import Servers


def main() -> int:
    """Tell one story after the other."""
    chosen = arguments(sys.argv[1:])
    wish = wished(chosen)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))  # the stories say it
    first = chosen.seed if chosen.seed is not None else time.time_ns() % 1_000_000
    ended_wrong = 0
    with Servers() as servers:
        for seed in range(first, first + chosen.stories):
            outcome = tell(servers, seed, wish)
            if not outcome.wrong:
                print(f"seed {seed}: as it should be", file=sys.stderr, flush=True)
                continue
            ended_wrong += 1
            print(f"seed {seed}: ended wrong; it is told again, shorter", file=sys.stderr, flush=True)
            print(f"-- seed {seed}", *shorten(servers, outcome, wish).lines, "", sep="\n", flush=True)
    return 1 if ended_wrong else 0


def wished(chosen: argparse.Namespace) -> Wish:
    """Give what kind of stories was asked for."""
    return Wish(**{each.name: getattr(chosen, each.name) for each in fields(Wish)})


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, help="of the first story, which it replays; else any")
    parser.add_argument("--stories", type=int, default=100, help="how many, from one seed to the next; about 2 s each")
    parser.add_argument("--transactions", type=int, default=25, help="in each story")
    parser.add_argument("--tiers", type=int, default=1, help="how many hops everything makes")
    parser.add_argument("--laptops", type=int, default=1, help="how many have one upstream, each with keys of its own")
    parser.add_argument(
        "--refusing", type=float, default=0.0, help="how often the upstream begins to refuse rows, 0 to 0.6"
    )
    parser.add_argument(
        "--untidy",
        dest="tidy",
        action="store_false",
        help="let statements leave what later ones mend, where constraints are deferred",
    )
    parser.add_argument(
        "--drifting", action="store_true", help="let migrations change columns, at one end after the other"
    )
    parser.add_argument("--restoring", action="store_true", help="let the server be restored from backups")
    parser.add_argument("--triggers", action="store_true", help="let the application have triggers that write")
    parser.add_argument(
        "--beside", action="store_true", help="let another session's transactions stay open for a while"
    )
    parser.add_argument(
        "--trying", action="store_true", help="try changes as what they seem from two of a table on, and not from many"
    )
    return parser.parse_args(words)


if __name__ == "__main__":
    sys.exit(main())
