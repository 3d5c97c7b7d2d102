"""Bytes from anywhere as text that can do nothing but be read."""

from __future__ import annotations


def shown(data: bytes, keep: str = "") -> str:
    """Bytes for people to read: what can't be printed is escaped, so that it can't do anything.

    ``keep`` are the unprintable characters to leave as they are.
    """
    text = data.decode(errors="backslashreplace")
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keep else each.encode("unicode_escape").decode()
        for each in text
    )
