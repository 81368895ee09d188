"""packaging/systemd/: each unit starts a command that exists, and gives it little to do harm with."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.manual import ROOT, helps, names

FOLDER = ROOT / "packaging" / "systemd"
UNITS = {unit.name: unit for unit in sorted(FOLDER.glob("*.service"))}
PROGRAM = "/usr/bin/dbsync"
EXPOSED = 20
"""systemd's own measure in tenths: 2.0 of 10 at most."""


def settings(unit: Path) -> list[tuple[str, str]]:
    return re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE)


def values(unit: Path, name: str) -> list[str]:
    return [value for key, value in settings(unit) if key == name]


def test_there_is_a_unit_for_each_program_that_runs_on() -> None:
    started = {name: values(unit, "ExecStart") for name, unit in UNITS.items()}
    assert started == {
        "dbsync.service": [f"{PROGRAM} run"],
        "dbsync-serve.service": [f"{PROGRAM} serve"],
        "dbsync-apply.service": [f"{PROGRAM} apply"],
        "dbsync-relay.service": [f"{PROGRAM} relay run"],
        "dbsync-web.service": [f"{PROGRAM} web"],
    }
    assert {"run", "serve", "apply", "relay", "web"} <= set(names(helps()[""]))
    assert "run" in names(helps()["relay"])


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_it_waits_until_it_is_ready_and_is_watched(unit: Path) -> None:
    assert values(unit, "Type") == ["notify"]
    assert values(unit, "User") == ["dbsync"]
    assert values(unit, "WatchdogSec") == ["120"]
    assert values(unit, "RestartPreventExitStatus") == ["2 78"]
    assert values(unit, "ConditionPathExists")


def test_reload_is_the_signal_that_the_service_understands() -> None:
    assert values(UNITS["dbsync.service"], "ExecReload") == ["/bin/kill -HUP $MAINPID"]
    assert "SIGHUP" in helps()["run"]
    assert not values(UNITS["dbsync-serve.service"], "ExecReload")


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_no_secret_stands_in_it(unit: Path) -> None:
    assert not any("password" in value.lower() for _, value in settings(unit))


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_it_and_calls_it_hardened(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace(PROGRAM, "/bin/true"))
    checked = subprocess.run(
        ["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False, timeout=60
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSED}", copy],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert rated.returncode == 0, rated.stdout
