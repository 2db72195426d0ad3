"""A real browser for tests: Debian's Chromium, driven by Playwright."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

REQUIRED = "CYTOBUS_TESTS_BROWSER"
"""Set to ``required`` (as ``make test`` does), tests fail where there is no browser; else they are skipped."""
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 60_000
"""Milliseconds that something is waited for which will come: machines differ."""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]


def program() -> str | None:
    """The browser, where there is one."""
    return next((found for name in PROGRAMS if (found := shutil.which(name))), None)


def _is_missing(what: str) -> NoReturn:
    if os.environ.get(REQUIRED) == "required":
        pytest.fail(f"pages cannot be tested: {what}")
    pytest.skip(f"pages are not tested: {what}")


@contextmanager
def chromium(more: Sequence[str] = ()) -> Iterator[Any]:
    """A browser without a window: the system's, else the one that Playwright has installed; ``more`` are flags of its
    command line. Without any, the test is skipped, or fails where a browser is required."""
    try:
        from playwright import sync_api
    except ImportError:
        _is_missing("Playwright is not installed (extra 'test')")
    with sync_api.sync_playwright() as driver:
        path = program() or driver.chromium.executable_path
        if not Path(path).is_file():
            _is_missing("there is no Chromium: tests/servers.sh, or apt-get install chromium")
        sync_api.expect.set_options(timeout=PATIENCE)
        browser = driver.chromium.launch(executable_path=path, headless=True, args=[*FLAGS, *more])
        try:
            yield browser
        finally:
            browser.close()


LOOKING = "GPU stall due to ReadPixels"
"""What a browser says when a test, and nobody else, looks at the pixels that it has drawn."""


class Visit:
    """Somebody at a browser. ``complaints`` is what its console said that should not be there."""

    def __init__(self, browser: Any, base: str, **options: Any) -> None:
        self.base = base
        options = {"viewport": {"width": 1360, "height": 850}, "locale": "en-GB"} | options
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.complaints: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))

    def complaint(self) -> str:
        """The last complaint, which may come a moment after what it is about."""
        while not self.complaints:
            self.page.wait_for_event("console")
        return self.complaints.pop()

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning") and LOOKING not in message.text:
            self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    def go(self, path: str) -> Any:
        """A page of ours, and the browser at it."""
        self.page.goto(self.base + path)
        return self.page

    def close(self) -> None:
        """Gone."""
        self.context.close()
