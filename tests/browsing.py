"""A browser in which nothing may be said to the console and nobody else may be asked."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-quic"]  # fmt: skip
WAIT = 60_000  # milliseconds; a slow machine is no fault


@contextlib.contextmanager
def started() -> Iterator[Browser]:
    """Start the browser of this machine; skip the test where there is none."""
    if BROWSER is None:
        pytest.skip("There is no Chromium: install one to test pages in a browser.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=QUIET)
        yield browser
        browser.close()


@contextlib.contextmanager
def watched(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """Open a page, and in the end see that it said no error and asked nobody else."""
    context = browser.new_context(**options)
    context.set_default_timeout(WAIT)
    expect.set_options(timeout=WAIT)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    try:
        yield page
    finally:
        context.close()
    server = re.match(r"http://[^/]+/", url)
    own = server[0] if server else url.rpartition("/")[0] + "/"
    assert said == []
    assert [one for one in asked if not one.startswith((own, "data:", "blob:"))] == []
