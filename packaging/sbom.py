"""The parts list of a release, in CycloneDX 1.6: ``python packaging/sbom.py`` prints it.

The parts are those of requirements-runtime.lock, whichever platform they are for, each with the hashes of its files. Licences
and who needs whom come from the parts that are installed beside this program; what is for another platform is listed without.
The same lock and version give the same bytes.
"""

from __future__ import annotations

import json
import re
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements-runtime.lock"

_PART = re.compile(
    r"^(?P<name>[a-z0-9-]+)==(?P<version>\S+)(?: ; (?P<marker>[^\\\n]+?))? \\\n(?P<hashes>(?: +--hash=.*\n)+)",
    re.MULTILINE,
)
_NEEDED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)\s*(?:\[(?P<extras>[^\]]*)\])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A locked package."""

    name: str
    version: str
    marker: str
    """Where it is needed, as pip understands it; empty for everywhere."""
    hashes: tuple[str, ...]
    """SHA-256 of each of its files."""

    @property
    def purl(self) -> str:
        """Name it as parts lists do."""
        return f"pkg:pypi/{self.name}@{self.version}"


def read_lock(text: str) -> tuple[Part, ...]:
    """Read a lock file."""
    return tuple(
        Part(
            name=found["name"],
            version=found["version"],
            marker=found["marker"] or "",
            hashes=tuple(re.findall(r"sha256:([0-9a-f]{64})", found["hashes"])),
        )
        for found in _PART.finditer(text)
    )


def document(version: str, parts: Sequence[Part]) -> dict[str, Any]:
    """Make the parts list of a version of dbsync."""
    itself = f"pkg:pypi/dbsync@{version}"
    known = {part.name: part.purl for part in parts}
    needs = dict(_graph({"dbsync": itself, **known}))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([itself, *sorted(known.values())]))}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": itself,
                "name": "dbsync",
                "version": version,
                "purl": itself,
                **_licences("dbsync"),
            }
        },
        "components": [_component(part) for part in parts],
        "dependencies": [{"ref": ref, "dependsOn": sorted(needs.get(ref, ()))} for ref in (itself, *known.values())],
    }


def _component(part: Part) -> dict[str, Any]:
    page = f"https://pypi.org/project/{part.name}/{part.version}/"
    hashes = [{"alg": "SHA-256", "content": content} for content in part.hashes]
    return {
        "type": "library",
        "bom-ref": part.purl,
        "name": part.name,
        "version": part.version,
        "purl": part.purl,
        **_licences(part.name),
        **({"properties": [{"name": "python:marker", "value": part.marker}]} if part.marker else {}),
        "externalReferences": [{"type": "distribution", "url": page, "hashes": hashes}],
    }


def _licences(name: str) -> dict[str, Any]:
    try:
        told = metadata(name)
    except PackageNotFoundError:
        return {}
    if "License-Expression" in told:
        return {"licenses": [{"expression": told["License-Expression"]}]}
    named = [line.rpartition(" :: ")[2] for line in told.get_all("Classifier") or () if line.startswith("License ::")]
    named = named or [line for line in told.get_all("License") or () if line and "\n" not in line]
    return {"licenses": [{"license": {"name": name}} for name in named]} if named else {}


def _graph(known: Mapping[str, str]) -> Iterator[tuple[str, set[str]]]:
    """Give for each known package which of the others it needs, as far as it is installed."""
    needs = {name: [need for need in _needs(name) if need.name in known] for name in known}
    asked = {(need.name, extra) for found in needs.values() for need in found for extra in need.asks}
    for name, found in needs.items():
        active = (need for need in found if all((name, extra) in asked for extra in need.only_for))
        yield known[name], {known[need.name] for need in active}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Need:
    """A line of what a package requires: the other's name, its extras that are asked for, and for which own extras."""

    name: str
    asks: tuple[str, ...]
    only_for: tuple[str, ...]


def _needs(name: str) -> Iterator[_Need]:
    try:
        lines = distribution(name).requires or ()
    except PackageNotFoundError:
        return
    for line in lines:
        found = _NEEDED.match(line)
        assert found is not None, line
        yield _Need(
            name=re.sub(r"[-_.]+", "-", found["name"]).lower(),
            asks=tuple(extra.strip() for extra in (found["extras"] or "").split(",")),
            only_for=tuple(re.findall(r"extra == [\"']([^\"']+)", line)),
        )


if __name__ == "__main__":
    from version import version

    json.dump(document(version(), read_lock(LOCK.read_text())), sys.stdout, indent=1)
    print()
