"""From numbers to a JSON file and a Markdown table: pure, but for the writing."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import assert_never

from tests.benchmarks import ground

NOTES = """\
Values are medians over the repetitions, with the least and the greatest. The two sides of a ratio take turns, with
the order changing from one repetition to the next; ratios are taken within a repetition. An aim is held against the
median, a limit of memory against the greatest value.

Capture: a crf is keyed by its visit, that by its subject and code. Each repetition has fresh copies of one database,
one with dbsync's triggers. Single rows are timed by the statement, as the client sees it, inside one transaction;
small transactions are one subject, two visits, two crfs and an update, over two connections.

Drain: from starting the replicator (the process, or enabling the subscription) until a marker row is upstream and all
tables have equal checksums by natural key. dbsync gives rows other ids upstream and has foreign keys checked;
PostgreSQL's logical replication copies the ids and checks no foreign key. Memory is that of the replicator's
processes without shared pages.

Fleet: real batches of forty row changes, made from one database's log, each under the name and with the keys of a laptop
of its own, brought over HTTPS through a balancer to two `dbsync serve`, or over a NATS broker to two `dbsync apply`. At most
24 laptops speak at a time, for this machine is all of them and the upstream's side too. A morning brings six tenths of what
a rush did; a batch's time is from when its laptop has it until it is committed with its receipt.
"""


class Sense(StrEnum):
    """On which side of its limit a value should be."""

    AT_MOST = "at most"
    AT_LEAST = "at least"
    BELOW = "below"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What is wanted: the median at most or at least a limit, or all values below it."""

    sense: Sense
    limit: float

    def met(self, values: Sequence[float]) -> bool:
        """Say whether the values are as wanted."""
        match self.sense:
            case Sense.AT_MOST:
                return statistics.median(values) <= self.limit
            case Sense.AT_LEAST:
                return statistics.median(values) >= self.limit
            case Sense.BELOW:
                return max(values) < self.limit
        assert_never(self.sense)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One row of the table: a value per repetition. Without an aim it is there for information."""

    name: str
    title: str
    values: tuple[float, ...]
    unit: str = ""
    digits: int = 2
    aim: Aim | None = None

    @property
    def sound(self) -> bool:
        """Say whether the data were right; a time cannot be wrong."""
        return True

    def row(self) -> list[str]:
        """Give the cells: measure, value, aim, met."""
        shown, least, most = (
            self._show(value) for value in (statistics.median(self.values), min(self.values), max(self.values))
        )
        value = f"{shown}{self._unit} ({least}-{most})"
        if self.aim is None:
            return [self.title, value, "", ""]
        wanted = f"{self.aim.sense} {self.aim.limit:g}{self._unit}"
        return [self.title, value, wanted, _yes(self.aim.met(self.values))]

    def record(self) -> dict[str, object]:
        """Give what stands in the JSON."""
        return {
            **asdict(self),
            "median": statistics.median(self.values),
            "min": min(self.values),
            "max": max(self.values),
            "met": None if self.aim is None else self.aim.met(self.values),
        }

    @property
    def _unit(self) -> str:
        return f" {self.unit}" if self.unit else ""

    def _show(self, value: float) -> str:
        return f"{value:,.{self.digits}f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One row of the table: something that must hold every time."""

    name: str
    title: str
    held: tuple[bool, ...]

    @property
    def sound(self) -> bool:
        """Say whether it held every time."""
        return all(self.held)

    def row(self) -> list[str]:
        """Give the cells: measure, value, aim, met."""
        return [self.title, f"{sum(self.held)} of {len(self.held)}", "all", _yes(self.sound)]

    def record(self) -> dict[str, object]:
        """Give what stands in the JSON."""
        return {**asdict(self), "met": self.sound}


Result = Measure | Check


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run found, and on what."""

    facts: dict[str, object]
    scale: float
    reps: int
    results: tuple[Result, ...]
    plots: tuple[Path, ...] = ()
    """Pictures beside the report."""

    @property
    def sound(self) -> bool:
        """Say whether all data were right."""
        return all(result.sound for result in self.results)


def table(report: Report) -> list[str]:
    """Give the lines of the Markdown table."""
    head = ["measure", "value (median, min-max)", "aim", "met"]
    rows = [head, ["---"] * len(head), *(result.row() for result in report.results)]
    return ["| " + " | ".join(row) + " |" for row in rows]


def write(report: Report, folder: Path, *, part: str | None = None) -> Path:
    """Write DATE.json and DATE.md (DATE-part where only a part was run); give their path without suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / "-".join([ground.today(), *([part] if part else [])])
    record = {
        "facts": report.facts,
        "scale": report.scale,
        "reps": report.reps,
        "results": [result.record() for result in report.results],
    }
    stem.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(_markdown(report), encoding="utf-8")
    return stem


def _markdown(report: Report) -> str:
    title = f"# Benchmark of {ground.today()}"
    plots = [line for path in report.plots for line in (f"![{path.stem}]({path.name})", "")]
    return "\n".join([title, "", *_facts(report), "", *table(report), "", *plots, NOTES])


def _facts(report: Report) -> list[str]:
    facts = report.facts
    settings = facts["settings"]
    assert isinstance(settings, dict)
    return [
        f"{facts['cores']} cores ({facts['cpu']}), {facts['memory_gib']} GiB, Linux {facts['kernel']}, "
        f"Python {facts['python']}, PostgreSQL {facts['postgresql']}; "
        f"fdatasync of 8 KiB takes {facts['fdatasync_ms']} ms.",
        f"Load {facts['load_at_start']} before, {facts['load_at_end']} at the end. "
        f"Scale {report.scale:g}, repetitions: {report.reps}.",
        "",
        "Settings: " + ", ".join(f"{name}={value}" for name, value in settings.items()) + "; otherwise defaults.",
    ]


def _yes(met: bool) -> str:
    return "yes" if met else "no"
