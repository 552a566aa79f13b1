"""What a mail program writes by itself, in its user's language: the line over a quotation, and ``Re:``."""

from __future__ import annotations

import re
from datetime import datetime

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ATTRIBUTIONS = {
    "en": "On {day}, {at.day} {month} {at.year} at {at:%H:%M}, {name} <{address}> wrote:",
    "de": "Am {at:%d.%m.%Y} um {at:%H:%M} schrieb {name}:",
    "fr": "Le {at:%d/%m/%Y} à {at:%H:%M}, {name} a écrit :",
    "es": "El {at:%d/%m/%Y} a las {at:%H:%M}, {name} escribió:",
    "it": "Il giorno {at:%d/%m/%Y} alle {at:%H:%M} {name} ha scritto:",
    "pt": "Em {at:%d/%m/%Y} às {at:%H:%M}, {name} escreveu:",
    "nl": "Op {at:%d-%m-%Y} om {at:%H:%M} schreef {name}:",
    "sv": "Den {at:%Y-%m-%d} kl. {at:%H:%M} skrev {name}:",
    "ja": "{at.year}年{at.month}月{at.day}日 {at:%H:%M} {name} <{address}>:",
}
_REPLY_PREFIX = re.compile(r"^\s*((re|aw|sv|tr|rv|fwd?|wg)\s*:\s*)+", re.IGNORECASE)

LANGUAGES = frozenset(_ATTRIBUTIONS)


def attribution(language: str, at: datetime, name: str, address: str) -> str:
    """The line over a quotation of a mail that *name* wrote at *at* (in the quoting person's zone)."""
    return _ATTRIBUTIONS[language].format(
        at=at, day=_DAYS[at.weekday()], month=_MONTHS[at.month - 1], name=name, address=address
    )


def reply_subject(subject: str) -> str:
    """*subject* with a single ``Re:`` before it, as RFC 5322 section 3.6.5 has it in every language."""
    return f"Re: {_REPLY_PREFIX.sub('', subject)}"
