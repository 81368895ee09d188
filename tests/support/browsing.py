"""Debian's chromium, and a person at it who has no mouse."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = shutil.which("chromium")
NEEDED = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("DBSYNC_TEST_REQUIRE"), reason="chromium is not installed"
)
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()


def page_of(context: Browser | BrowserContext) -> Page:
    """Open a page, and take every fetch from elsewhere and every script's error for a failure."""
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.on("request", lambda asked: pytest.fail(asked.url) if "127.0.0.1" not in asked.url else None)
    return page


def press_to(page: Page, words: str) -> None:
    """Press Tab until what has these words has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        at = page.evaluate(
            "() => { const e = document.activeElement; return (e.labels && e.labels[0] ? e.labels[0] : e).textContent }"
        )
        if words in (at or ""):
            return
    raise AssertionError(f"no key leads to {words!r}")
