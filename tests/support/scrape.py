"""Asking a program how it is, as a monitoring system does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import httpx2
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

KINDS = {"_bucket": "histogram", "_count": "histogram", "_sum": "histogram"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What /metrics said."""

    text: str
    families: tuple[Metric, ...]

    def value(self, name: str, **labels: str) -> float | None:
        """Give the number of one series; None where there is none."""
        found = [
            sample.value
            for family in self.families
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        ]
        assert len(found) <= 1, found
        return found[0] if found else None

    def series(self, name: str) -> dict[tuple[str, ...], float]:
        """Give the series of a name, by the values of their labels in the order of the labels."""
        return {
            tuple(sample.labels.values()): sample.value
            for family in self.families
            for sample in family.samples
            if sample.name == name
        }

    def told(self) -> dict[str, tuple[str, frozenset[str] | None]]:
        """Give dbsync's names with their kind and labels; None for the labels where nothing was counted yet."""
        return {
            f"{family.name}_total" if family.type == "counter" else family.name: (family.type, _labels(family))
            for family in self.families
            if family.name.startswith("dbsync_")
        }


def scrape(port: int) -> Page:
    """Ask for the metrics of a program on this computer."""
    came = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=30)
    assert came.status_code == 200
    return Page(text=came.text, families=tuple(text_string_to_metric_families(came.text)))


def asked(port: int, page: str) -> tuple[int, dict[str, object]]:
    """Ask for another page."""
    came = httpx2.get(f"http://127.0.0.1:{port}{page}", timeout=30)
    return came.status_code, came.json()


def _labels(family: Metric) -> frozenset[str] | None:
    found: Iterable[frozenset[str]] = {frozenset(sample.labels) - {"le"} for sample in family.samples}
    return next(iter(found), None)
