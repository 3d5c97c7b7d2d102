"""The page fits every window, whatever its texts; in a real browser."""

from __future__ import annotations

from tests.browser import chromium
from tests.web.hostile import HOSTILE
from tests.web.site import Site
from tests.web.test_page import fill


def test_nothing_is_wider_than_the_window(site: Site) -> None:
    site.assign()
    for text in HOSTILE:
        fill(site, text)
    with chromium() as browser, browser.page(site.server.url) as seen:
        for width in range(280, 1_340, 20):
            seen.page.set_viewport_size({"width": width, "height": 800})
            assert seen.too_wide() == [], width
        assert seen.complaints == []
