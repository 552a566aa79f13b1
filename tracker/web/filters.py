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
from tracker.web.worth import worth


def when(at: datetime | None, *, day: bool = False, whole: bool = False) -> Markup:
    """An instant as `<time>`: UTC from the server, in the reader's zone once our script has run."""
    if at is None:
        return Markup("")
    at = at.astimezone(UTC)
    mode, shown = ("day", _day(at)) if day else ("short", _short(at, frame.now()))
    if whole:
        mode, shown = "whole", f"{_day(at)}, {at:%H:%M} UTC"
    template = '<time datetime="{}" data-time="{}" title="{}">{}</time>'
    return Markup(template).format(  # noqa: S704 - a constant; `format` escapes
        at.isoformat(timespec="seconds"), mode, f"{at:%Y-%m-%d %H:%M} UTC", shown
    )


def _short(at: datetime, now: datetime) -> str:
    if at.date() == now.date():
        return f"{at:%H:%M} UTC"
    return _day(at)


def _day(on: date) -> str:
    """`24 Nov`, and with the year if it is another than this."""
    return f"{on.day} {on:%b}" if on.year == frame.now().year else f"{on.day} {on:%b %Y}"


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
    """A field's amount, as the board tells what a box is worth: `€12,500`, `CHF 99.90`."""
    amount = _amount(value)
    return "" if amount is None else worth(amount, str(value.get("currency") or ""))


def money_to_type(value: Any) -> str:
    """A field's amount as it may be typed again: `12,500.00 EUR`."""
    amount = _amount(value)
    return "" if amount is None else f"{amount:,f} {value.get('currency', '')}".strip()


def _amount(value: Any) -> Decimal | None:
    try:
        return Decimal(str(value.get("amount"))) if isinstance(value, Mapping) else None
    except InvalidOperation:
        return None


def day(value: str | date) -> str:
    """A date, or an ISO date, in words; with the year only if it is not this one."""
    try:
        return _day(value if isinstance(value, date) else date.fromisoformat(value))
    except ValueError:
        return str(value)


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
