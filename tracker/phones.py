"""Phone numbers as people type them: one form to store and compare, another to read.

Pure. A number that says its country is stored in E.164 (ITU-T); what can't be read so stays as it was typed, for
an extension or an internal number is worth keeping too.
"""

from __future__ import annotations

import re

import phonenumbers

SEPARATOR = ", "  #: between the numbers of one person
MOST = 5
_APART = re.compile(r"[,;\n]+")
_SHORTEST = 7  # digits; less may be an extension that many share


def parse(text: str) -> list[str]:
    """The numbers in a line, each once, as they are stored; at most five."""
    typed = (" ".join(part.split()) for part in _APART.split(text.replace("\x00", "")))
    return list(dict.fromkeys(_stored(part) for part in typed if part))[:MOST]


def _stored(number: str) -> str:
    try:
        found = phonenumbers.parse(number[:60], None)
    except phonenumbers.NumberParseException:
        return number[:60]
    if not phonenumbers.is_possible_number(found) or found.extension:
        return number[:60]
    return phonenumbers.format_number(found, phonenumbers.PhoneNumberFormat.E164)


def of(stored: str) -> list[str]:
    """The numbers of a contact's `phone`."""
    return [part for part in stored.split(SEPARATOR) if part]


def shown(number: str) -> str:
    """A stored number with the blanks that its country puts in."""
    try:
        found = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return number
    if phonenumbers.format_number(found, phonenumbers.PhoneNumberFormat.E164) != number:
        return number
    return phonenumbers.format_number(found, phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def digits(number: str) -> str:
    """What two spellings of one number share; "" for one too short to tell people apart."""
    found = re.sub(r"\D", "", number)
    return found if len(found) >= _SHORTEST else ""
