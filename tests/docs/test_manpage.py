"""man dbsync shows every command, and is set without a complaint."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from tests.docs import manpage
from tests.docs.manual import PAGE

GROFF = shutil.which("groff")


def test_every_command_and_option_is_in_the_manual_page() -> None:
    shown = manpage.PAGE.read_text().replace("\\-", "-").replace("\\&", "").replace("\\:", "")
    commands = re.findall(r"^## (dbsync .*)$", PAGE.read_text(), re.MULTILINE)
    assert len(commands) > 40
    for command in commands:
        assert f"\n.SS {command}" in shown, command
    for option in set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", PAGE.read_text(), re.MULTILINE)):
        assert re.search(rf"^\.B (-\w, )?{option}\b", shown, re.MULTILINE) or option == "--help", option


@pytest.mark.skipif(GROFF is None, reason="groff is not installed")
def test_it_is_set_without_a_complaint() -> None:
    asked = [str(GROFF), "-man", "-Tutf8", "-ww", str(manpage.PAGE)]
    done = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "dbsync quarantine show" in re.sub(r".\x08|\x1b\[[0-9;]*m", "", done.stdout)
