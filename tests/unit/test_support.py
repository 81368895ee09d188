"""The test ground itself: a missing server skips a test on a laptop and fails it in CI."""

from __future__ import annotations

import pytest

from tests.support.servers import REQUIRE, binaries


@pytest.mark.parametrize("required", ["", "15,18"])
def test_a_missing_server_skips_the_test(monkeypatch: pytest.MonkeyPatch, required: str) -> None:
    monkeypatch.setenv(REQUIRE, required)
    with pytest.raises(pytest.skip.Exception, match="PostgreSQL 8 is not installed"):
        binaries(8)


def test_a_missing_server_that_is_required_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REQUIRE, "8,15")
    with pytest.raises(pytest.fail.Exception, match="asks for it"):
        binaries(8)
