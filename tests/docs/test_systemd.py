"""packaging/systemd/: the unit starts a command that exists, and gives it little to do harm with."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.manual import ROOT, helps, names

UNIT = ROOT / "packaging" / "systemd" / "dbsync.service"
SETTINGS = re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE)
PROGRAM = "/opt/dbsync/bin/dbsync"


def values(name: str) -> list[str]:
    return [value for key, value in SETTINGS if key == name]


def test_it_runs_the_service_and_waits_until_it_is_ready() -> None:
    (started,) = values("ExecStart")
    program, command = started.split()
    assert program == PROGRAM
    assert command in names(helps()[0])
    assert values("Type") == ["notify"]
    assert values("User") == ["dbsync"]


def test_reload_is_the_signal_that_the_service_understands() -> None:
    assert values("ExecReload") == ["/bin/kill -HUP $MAINPID"]
    assert "SIGHUP" in helps("run")[1]


def test_no_secret_stands_in_it() -> None:
    assert not any("password" in value.lower() for _, value in SETTINGS)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_it_and_calls_it_hardened(tmp_path: Path) -> None:
    copy = tmp_path / "dbsync.service"
    copy.write_text(UNIT.read_text().replace(PROGRAM, "/bin/true"))
    checked = subprocess.run(
        ["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False, timeout=60
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", copy],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert rated.returncode == 0
