"""Cursors: where a page of a list ended. An instant, and the opaque key of what stood there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flask import abort

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last entry of the page before."""

    at: datetime
    key: str

    def __str__(self) -> str:
        micros = (self.at - EPOCH) // timedelta(microseconds=1)
        return f"{micros}.{self.key}"


def parse(given: str | None) -> Cursor | None:
    """The cursor in an address; a made-up one is a bad request."""
    if not given:
        return None
    micros, _, key = given.partition(".")
    try:
        return Cursor(EPOCH + timedelta(microseconds=int(micros)), key.replace("\x00", ""))
    except (ValueError, OverflowError):
        abort(400)
