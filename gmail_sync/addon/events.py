"""What Google posts to an add-on, read: hostile JSON in, a bounded `Event` or an `EventError` out. Pure.

Sources: https://developers.google.com/workspace/add-ons/concepts/event-objects and
https://developers.google.com/workspace/add-ons/guides/alternate-runtimes
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from tracker.panel import Writing

SIZE_LIMIT = 512 * 1024  # bytes; an event has some ten thousand, half of them tokens
TOKEN_LIMIT = 8 * 1024  # characters
NAME_LIMIT = 200
PARAM_LIMIT = 4_000
VALUE_LIMIT = 50_000  # of what somebody types; rooms take less, and say so
INPUTS = 100  #: inputs of a form, and parameters of a button
VALUES = 100  #: values of one input
RECIPIENTS = 500  #: Gmail's own limit
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class EventError(ValueError):
    """What came is no event of an add-on's; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Event:
    """What happened in Gmail, as far as it matters here."""

    host: str = ""
    platform: str = ""
    zone: str = ""  #: as Gmail calls it; not checked yet
    locale: str = ""
    system_token: str = field(default="", repr=False)
    user_token: str = field(default="", repr=False)
    message_id: str = ""  #: in whichever form; see `ids`
    thread_id: str = ""
    writing: Writing | None = None
    given: Mapping[str, Sequence[str]] = field(default_factory=dict)  #: the form
    params: Mapping[str, str] = field(default_factory=dict)  #: what the button carried


def read(body: bytes) -> Event:
    """Read an event. Raises `EventError`."""
    if len(body) > SIZE_LIMIT:
        raise EventError("The event is too large")
    try:
        found = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise EventError("The event is not JSON") from None
    event = _object(found, "The event")
    common, authorization = _part(event, "commonEventObject"), _part(event, "authorizationEventObject")
    gmail = _part(event, "gmail")
    return Event(
        host=_text(common, "hostApp"),
        platform=_text(common, "platform"),
        zone=_text(_part(common, "timeZone"), "id"),
        locale=_text(common, "userLocale"),
        system_token=_text(authorization, "systemIdToken", TOKEN_LIMIT),
        user_token=_text(authorization, "userIdToken", TOKEN_LIMIT),
        message_id=_text(gmail, "messageId"),
        thread_id=_text(gmail, "threadId"),
        writing=_writing(event, gmail),
        given=_inputs(_part(common, "formInputs")),
        params=_params(_part(common, "parameters")),
    )


def _no_number(_: str) -> NoReturn:
    raise ValueError("not a number of JSON's")


# -- the form


def _inputs(found: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    _few(found, INPUTS, "inputs")
    return {_name(name): _input(_object(value, "An input")) for name, value in found.items()}


def _input(value: Mapping[str, Any]) -> tuple[str, ...]:
    """The values of one input; a date or a time as ISO."""
    if "stringInputs" in value:
        values = _list(_part(value, "stringInputs"), "value", VALUES)
        return tuple(_clean(one, VALUE_LIMIT) for one in values)
    if "dateTimeInput" in value:
        return _date_time(_part(value, "dateTimeInput"))
    if "dateInput" in value:
        return (_moment(_part(value, "dateInput")).date().isoformat(),)
    if "timeInput" in value:
        return (_time(_part(value, "timeInput")),)
    return ()


def _date_time(value: Mapping[str, Any]) -> tuple[str, ...]:
    """A day without a time stays a day; a time without a day is nothing that one could mean."""
    if value.get("hasDate", True) is not True:
        return ()
    found = _moment(value)
    if value.get("hasTime", True) is not True:
        return (found.date().isoformat(),)
    return (found.replace(tzinfo=None).isoformat(timespec="minutes"),)


def _moment(value: Mapping[str, Any]) -> datetime:
    """What was chosen. Our pickers stand in UTC (`timezoneOffsetDate` 0), so it is the wall time that was seen."""
    given = value.get("msSinceEpoch")
    if isinstance(given, bool) or not isinstance(given, int | str):
        raise EventError("A date is a number of milliseconds")
    try:
        return EPOCH + timedelta(milliseconds=int(str(given)[:20]))
    except (ValueError, OverflowError):
        raise EventError("A date is a number of milliseconds, of a year that there is") from None


def _time(value: Mapping[str, Any]) -> str:
    hours, minutes = value.get("hours", 0), value.get("minutes", 0)
    if type(hours) is not int or type(minutes) is not int or not (0 <= hours < 24 and 0 <= minutes < 60):
        raise EventError("A time has hours and minutes")
    return f"{hours:02}:{minutes:02}"


def _params(found: Mapping[str, Any]) -> dict[str, str]:
    _few(found, INPUTS, "parameters")
    return {_name(name): _clean(value, PARAM_LIMIT) for name, value in found.items()}


# -- the mail that is being written


def _writing(event: Mapping[str, Any], gmail: Mapping[str, Any]) -> Writing | None:
    """The draft's metadata: in `gmail` over HTTP, in `draftMetadata` as Apps Script has it."""
    for holder in (_part(gmail, "draftMetadata"), _part(event, "draftMetadata"), gmail):
        if any(name in holder for name in ("toRecipients", "ccRecipients", "bccRecipients")):
            return Writing(
                _addresses(holder, "toRecipients"),
                _addresses(holder, "ccRecipients"),
                _addresses(holder, "bccRecipients"),
                _text(holder, "subject", PARAM_LIMIT),
            )
    return None


def _addresses(holder: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = (" ".join(_clean(one, PARAM_LIMIT).split()) for one in _list(holder, name, RECIPIENTS))
    return tuple(one for one in found if one)


# -- types and bounds


def _object(found: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(found, dict):
        raise EventError(f"{what} is no object")
    return found


def _part(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = holder.get(name)
    return {} if found is None else _object(found, name)


def _list(holder: Mapping[str, Any], name: str, limit: int) -> Sequence[Any]:
    found = holder.get(name)
    if found is None:
        return ()
    if not isinstance(found, list):
        raise EventError(f"{name} is no list")
    if len(found) > limit:
        raise EventError(f"{name} has more than {limit} entries")
    return found


def _few(found: Mapping[str, Any], limit: int, what: str) -> None:
    if len(found) > limit:
        raise EventError(f"There are more than {limit} {what}")


def _name(given: str) -> str:
    if len(given) > NAME_LIMIT:
        raise EventError("A name is too long")
    return _storable(given)


def _text(holder: Mapping[str, Any], name: str, limit: int = NAME_LIMIT) -> str:
    found = holder.get(name)
    return "" if found is None else _clean(found, limit)


def _clean(given: Any, limit: int) -> str:
    if not isinstance(given, str):
        raise EventError("There is something else where a text belongs")
    if len(given) > limit:
        raise EventError(f"A text is longer than {limit} characters")
    return _storable(given)


def _storable(given: str) -> str:
    """Without what PostgreSQL and UTF-8 have no place for; whoever pasted it does not see it either."""
    return given.replace("\0", "").encode("utf-8", "ignore").decode()
