"""promtool, which knows what Prometheus accepts; .ci/run brings it along from Debian's package of Prometheus."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.support.servers import REQUIRE


def promtool(*words: str, given: str | None = None) -> str:
    """Run it, and give what it complains of; skip the test where it is not installed, or fail where everything is required."""
    program = shutil.which("promtool")
    if program is None:
        reason = "promtool is not installed"
        if os.environ.get(REQUIRE):
            pytest.fail(reason)
        pytest.skip(reason)
    done = subprocess.run([program, *words], input=given, capture_output=True, text=True, check=False, timeout=60)
    return "" if done.returncode == 0 else f"{done.stdout}{done.stderr}"
