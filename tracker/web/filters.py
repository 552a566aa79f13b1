"""Jinja filters: how times, sizes, names and values are told."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from flask import Flask
from markupsafe import Markup

from tracker.web import frame


def when(at: datetime | None, *, day: bool = False) -> Markup:
    """An instant as `<time>`: UTC from the server, in the reader's zone once our script has run."""
    if at is None:
        return Markup("")
    at = at.astimezone(UTC)
    shown = f"{at.day} {at:%b %Y}" if day else _short(at, frame.now())
    template = '<time datetime="{}" data-time="{}" title="{}">{}</time>'
    return Markup(template).format(  # noqa: S704 - a constant; `format` escapes
        at.isoformat(timespec="seconds"), "day" if day else "short", f"{at:%Y-%m-%d %H:%M} UTC", shown
    )


def _short(at: datetime, now: datetime) -> str:
    if at.date() == now.date():
        return f"{at:%H:%M} UTC"
    return f"{at.day} {at:%b}" if at.year == now.year else f"{at.day} {at:%b %Y}"


def days_since(at: datetime) -> int:
    """Whole days from an instant until now."""
    return max(0, (frame.now() - at).days)


def initials(name: str) -> str:
    """Up to two letters that stand for a person."""
    words = [word for word in name.replace("@", " ").split() if word[0].isalnum()]
    return "".join(word[0] for word in (words[:1] + words[-1:] if len(words) > 1 else words)).upper() or "?"


def tint(name: str) -> str:
    """One of eight tints, always the same for a name."""
    return f"tint-{hashlib.sha256(name.encode()).digest()[0] % 8}"


def size(count: int | None) -> str:
    """A number of bytes in words."""
    amount = float(count or 0)
    for unit in ("bytes", "KB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" or amount >= 10 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def money(value: Any) -> str:
    """An amount with its currency, as it may be typed again."""
    if not isinstance(value, Mapping):
        return ""
    try:
        amount = Decimal(str(value.get("amount")))
    except InvalidOperation:
        return ""
    return f"{amount:,f} {value.get('currency', '')}".strip()


def day(value: str) -> str:
    """An ISO date in words."""
    try:
        found = date.fromisoformat(value)
    except ValueError:
        return value
    return f"{found.day} {found:%b %Y}"


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun: 1 message, 3 messages."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float) -> str:
    """A length of time in words, rounded up."""
    minutes = int(-(-seconds // 60))
    if minutes <= 1:
        return "less than a minute"
    if minutes < 90:
        return f"{minutes} minutes"
    hours = -(-minutes // 60)
    return f"{hours} hours" if hours < 48 else f"{-(-hours // 24)} days"


def init_app(app: Flask) -> None:
    """Make them known to the templates."""
    for function in (when, days_since, initials, tint, size, money, day, count, duration):
        app.add_template_filter(function)
