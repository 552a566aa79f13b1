"""Gmail's ids: messages and threads in 16 hexadecimal digits, history in unsigned 64 bits."""

from __future__ import annotations

from gmail_sync.sandbox.errors import invalid, not_found

#: Ids start here and grow, as Gmail's do (they are based on the time).
FIRST_ID = 0x1900_0000_0000_0000
#: Distance between two ids: odd-looking on purpose, so that nobody computes the next one.
ID_STEP = 0x1_0003
#: SQLite's integers are signed: an unsigned history id is stored less this, which keeps its order.
UNSIGNED_SHIFT = 1 << 63


def to_hex(number: int) -> str:
    """The API's form of a message or thread id."""
    return f"{number:016x}"


def from_hex(text: str) -> int:
    """The number behind a message or thread id.

    Raises ApiError 400 for what is no hexadecimal number of 64 bits, as Gmail does.
    """
    try:
        number = int(text, 16)
    except ValueError:
        raise invalid("Invalid id value") from None
    if not 0 < number < 1 << 64:
        raise invalid("Invalid id value")
    if number >= UNSIGNED_SHIFT:
        raise not_found()
    return number


def pack(history_id: int) -> int:
    """An unsigned 64-bit history id as SQLite stores it."""
    return history_id - UNSIGNED_SHIFT


def unpack(stored: int) -> int:
    """The unsigned 64-bit history id that SQLite stored."""
    return stored + UNSIGNED_SHIFT


def next_history_id(stored: int) -> int:
    """The next stored history id: larger, with an uneven gap (GMAIL: "ids with gaps")."""
    return stored + 1 + (stored * 2654435761 >> 9) % 11
