"""The settings: they are valid, or nobody came this far; so where they came from."""

from __future__ import annotations

from collections.abc import Iterator

from kms.check.finding import Finding, ok, warning
from kms.settings import Settings


def check_settings(settings: Settings) -> Iterator[Finding]:
    """What was set, and by what; secrets masked."""
    given = [
        f"{name}={value} ({source})"
        for name, value, source in settings.shown()
        if source != "the default"
    ]
    yield ok("settings", "settings", "; ".join(given) or "all are the defaults")
    if settings.ignored_variables:
        yield warning(
            *("settings", "settings", f"passed over: {', '.join(settings.ignored_variables)}"),
            "These environment variables are no settings of kms: look for a misspelling.",
        )
