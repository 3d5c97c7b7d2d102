"""Debian's Chromium, driven by Playwright, with everything it complains of written down."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from playwright.sync_api import Dialog, Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Seen:
    """A page in a browser: what it asked for, and every word of its console."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def refuse(self, dialog: Dialog) -> None:
        """Nothing here asks anything."""
        self.complaints.append(dialog.message)
        dialog.dismiss()

    def script(self, text: str) -> Any:
        """Run by the test, not by the page, whose policy forbids it."""
        return self.page.evaluate(text)

    def too_wide(self) -> Any:
        """What lies beyond the window's right edge."""
        # The headings that a phone does not show are still there, for screen readers.
        found = self.script(
            """[...document.querySelectorAll('body *')].filter(it => it.tagName != 'TH')
            .filter(it => it.getBoundingClientRect().right > innerWidth + 1)
            .map(it => it.outerHTML.slice(0, 300))"""
        )
        wider = self.script("document.documentElement.scrollWidth - innerWidth")
        return found or ([f"the page is {wider} px too wide"] if wider > 0 else [])


class Browser:
    """Opens pages; ``scheme`` is what the user's system prefers."""

    def __init__(self, browser: Any) -> None:
        self._browser = browser

    @contextmanager
    def page(
        self, url: str, scheme: Literal["light", "dark"] = "light", width: int = 1_280
    ) -> Iterator[Seen]:
        page: Page = self._browser.new_page(
            viewport={"width": width, "height": 800}, color_scheme=scheme
        )
        seen = Seen(page)
        page.on("console", lambda it: seen.complaints.append(f"{it.type}: {it.text}"))
        page.on("pageerror", lambda it: seen.complaints.append(str(it)))
        page.on("dialog", seen.refuse)
        page.on("requestfailed", lambda it: seen.complaints.append(f"failed: {it.url}"))
        page.on("request", lambda it: seen.requests.append(it.url))
        try:
            page.goto(url)
            yield seen
        finally:
            page.close()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Skips the test where there is none; in CI it fails instead."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        missing = "no Chromium here: install Debian's package chromium"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(missing)
        pytest.skip(missing)
    # Chromium's own sandbox does not start as root, and a test runs as whoever runs it.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield Browser(browser)
        finally:
            browser.close()
