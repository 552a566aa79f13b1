"""Fields: a pipeline's typed columns, and what may stand in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import CheckConstraint, ForeignKey, UniqueConstraint, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column

from tracker import contacts, events, people
from tracker.db import Base, Keyed, OfTeam
from tracker.people import Viewer

TEXT_LIMIT = 10_000  # characters
TAGS_LIMIT = 50
MOST_DECIMALS = 40
CURRENCY = re.compile(r"[A-Z]{3}")  # ISO 4217 alphabetic
DEFAULT_CURRENCY = "EUR"


class FieldType(StrEnum):
    """What a field holds."""

    TEXT = "text"
    NUMBER = "number"
    MONEY = "money"
    DATE = "date"
    DROPDOWN = "dropdown"
    TAGS = "tags"
    CHECKBOX = "checkbox"
    PERSON = "person"
    CONTACT = "contact"
    ORGANIZATION = "organization"
    URL = "url"


class FieldError(ValueError):
    """A value doesn't fit its field; the text says what would."""


class Field(OfTeam, Keyed, Base):
    """One typed column of a pipeline. A removed field keeps its values, unseen."""

    __tablename__ = "fields"
    __table_args__ = (
        UniqueConstraint("pipeline_id", "position", deferrable=True, initially="DEFERRED"),
        CheckConstraint(f"type in ({', '.join(repr(kind.value) for kind in FieldType)})", name="type"),
    )

    pipeline_id: Mapped[int] = mapped_column(ForeignKey("pipelines.id", ondelete="CASCADE"))
    name: Mapped[str]
    type: Mapped[str]
    options: Mapped[list[Any]] = mapped_column(JSONB, server_default="[]")  #: a dropdown's choices
    position: Mapped[int]
    removed: Mapped[bool] = mapped_column(server_default="false")


def add(
    session: Session, viewer: Viewer, pipeline_id: int, name: str, kind: str, options: Sequence[str] = ()
) -> Field:
    """Add a field at the end. Raises `FieldError`."""
    last = session.scalar(select(func.max(Field.position)).where(Field.pipeline_id == pipeline_id))
    field = define(viewer, pipeline_id, 0 if last is None else last + 1, name, kind, options)
    session.add(field)
    session.flush()
    _record(session, viewer, "field.added", field)
    return field


def define(
    viewer: Viewer, pipeline_id: int, position: int, name: str, kind: str, options: Sequence[str] = ()
) -> Field:
    """A field as it may be added; not in the session yet. Raises `FieldError`."""
    name, choices = name.strip(), [option.strip() for option in options if option.strip()]
    _check_definition(name, kind, choices)
    return Field(
        team_id=viewer.team_id, pipeline_id=pipeline_id, name=name, type=kind, options=choices, position=position
    )


def _check_definition(name: str, kind: str, choices: Sequence[str]) -> None:
    if not name or len(name) > 100:
        raise FieldError("A field's name has 1 to 100 characters")
    if kind not in {member.value for member in FieldType}:
        raise FieldError(f"There is no field type {kind!r}")
    if kind == FieldType.DROPDOWN and not choices:
        raise FieldError("A dropdown needs at least one choice")


def rename(session: Session, viewer: Viewer, field: Field, name: str) -> None:
    """Rename a field. Raises `FieldError`."""
    _check_definition(name.strip(), field.type, field.options)
    field.name = name.strip()
    _record(session, viewer, "field.renamed", field)


def set_options(session: Session, viewer: Viewer, field: Field, options: Sequence[str]) -> None:
    """Set a dropdown's choices; values that are no longer a choice stay until they are changed."""
    choices = list(dict.fromkeys(option.strip() for option in options if option.strip()))
    _check_definition(field.name, field.type, choices)
    field.options = choices
    _record(session, viewer, "field.changed", field)


def remove(session: Session, viewer: Viewer, field: Field) -> None:
    """Take a field off the pipeline; the values in its boxes are kept and come back with `restore`."""
    field.removed = True
    _record(session, viewer, "field.removed", field)


def restore(session: Session, viewer: Viewer, field: Field) -> None:
    """Bring a removed field back, with its values."""
    field.removed = False
    _record(session, viewer, "field.restored", field)


def reorder(session: Session, viewer: Viewer, pipeline_id: int, keys: Sequence[str]) -> None:
    """Put a pipeline's fields in this order; fields not named follow in theirs."""
    rows = list(_all(session, pipeline_id))
    rank = {key: number for number, key in enumerate(keys)}
    rows.sort(key=lambda field: (rank.get(field.key, len(rank)), field.position))
    for position, field in enumerate(rows):
        field.position = position
    session.flush()
    events.record(
        session,
        viewer.team_id,
        "fields.reordered",
        actor=viewer.actor,
        user_id=viewer.user_id,
        data={"order": list(keys)},
    )


def _all(session: Session, pipeline_id: int) -> Sequence[Field]:
    query = select(Field).where(Field.pipeline_id == pipeline_id).order_by(Field.position)
    return session.scalars(query).all()


def of_pipeline(session: Session, pipeline_id: int) -> Sequence[Field]:
    """A pipeline's fields in order, without removed ones."""
    return [field for field in _all(session, pipeline_id) if not field.removed]


def by_key(session: Session, team_id: int, key: str) -> Field | None:
    """The team's field with this key."""
    return session.scalar(select(Field).where(Field.team_id == team_id, Field.key == key))


def _record(session: Session, viewer: Viewer, kind: str, field: Field) -> None:
    events.record_many(session, [event_of(viewer, kind, field)])


def event_of(viewer: Viewer, kind: str, field: Field) -> dict[str, Any]:
    """What is recorded of a field, see `events.record_many`."""
    data = {"field": field.key, "name": field.name, "type": field.type}
    return {
        "team_id": viewer.team_id, "kind": kind, "actor": viewer.actor, "user_id": viewer.user_id, "data": data
    }  # fmt: skip


def parse(session: Session, field: Field, value: Any) -> Any:
    """What is stored (JSON) for `value` in `field`; None empties it.

    `value` may come from a form (text) or from JSON. Raises `FieldError`, whose text says what would fit.
    """
    if isinstance(value, str):
        value = value.replace("\x00", "").strip()
    if value is None or value in ("", []):
        return None
    return _PARSERS[FieldType(field.type)](session, field, value)


def _text(_: Session, __: Field, value: Any) -> str:
    text = str(value).replace("\x00", "").strip()
    if len(text) > TEXT_LIMIT:
        raise FieldError(f"At most {TEXT_LIMIT:,} characters")
    return text


def _decimal(value: Any) -> Decimal:
    text = str(value).strip().replace("\u00a0", "").replace(" ", "").replace("'", "")
    if "," in text and "." in text:  # 1.234,50 and 1,234.50: the last mark is the decimal one
        grouping = "." if text.rindex(",") > text.rindex(".") else ","
        text = text.replace(grouping, "")
    elif re.fullmatch(r"-?\d{1,3}(,\d{3})+", text):
        text = text.replace(",", "")
    try:
        number = Decimal(text.replace(",", "."))
    except InvalidOperation:
        raise FieldError("Expected a number such as 1250.50") from None
    if not is_moderate(number):
        raise FieldError(f"Expected a number below 1,000,000,000,000,000 with at most {MOST_DECIMALS} decimals")
    return number


def is_moderate(number: Decimal) -> bool:
    """Whether a number is small and short enough to be written out: 1e-999999 has a million digits."""
    if not number.is_finite() or abs(number) >= Decimal(10) ** 15:
        return False
    return -MOST_DECIMALS <= int(number.as_tuple().exponent) <= 15


def _number(_: Session, __: Field, value: Any) -> str:
    return format(_decimal(value).normalize(), "f")


def _money(_: Session, __: Field, value: Any) -> dict[str, str]:
    """Amount and ISO 4217 currency: `1250 EUR`, `USD 99.90`, or `{"amount": …, "currency": …}`."""
    if isinstance(value, Mapping):
        amount, currency = value.get("amount"), str(value.get("currency") or DEFAULT_CURRENCY)
    else:
        amount, currency = _split_money(str(value))
    if not CURRENCY.fullmatch(currency):
        raise FieldError("Expected an amount and a currency's three letters, such as 1250.50 EUR")
    return {"amount": format(_decimal(amount), "f"), "currency": currency}


def _split_money(text: str) -> tuple[str, str]:
    text = text.strip().upper()
    for sign, code in (("€", "EUR"), ("$", "USD"), ("£", "GBP"), ("¥", "JPY")):
        text = text.replace(sign, f" {code} ")
    found = re.search(r"[A-Z]+", text)
    return re.sub(r"[A-Z]+", "", text), found.group() if found else DEFAULT_CURRENCY


def _date(_: Session, __: Field, value: Any) -> str:
    try:
        return date.fromisoformat(str(value).strip()[:10]).isoformat()
    except ValueError:
        raise FieldError("Expected a date such as 2026-11-24") from None


def _dropdown(_: Session, field: Field, value: Any) -> str:
    for option in field.options:
        if str(value).strip().casefold() == str(option).casefold():
            return str(option)
    raise FieldError(f"Expected one of: {', '.join(map(str, field.options))}")


def _tags(_: Session, __: Field, value: Any) -> list[str]:
    words = value if isinstance(value, list | tuple) else str(value).split(",")
    tags = list(dict.fromkeys(str(word).strip() for word in words if str(word).strip()))
    if len(tags) > TAGS_LIMIT or any(len(tag) > 60 for tag in tags):
        raise FieldError(f"At most {TAGS_LIMIT} tags of up to 60 characters")
    return tags


def _checkbox(_: Session, __: Field, value: Any) -> bool:
    words = {
        "true": True,
        "on": True,
        "yes": True,
        "1": True,
        "false": False,
        "off": False,
        "no": False,
        "0": False,
    }
    found = words.get(str(value).strip().lower())
    if found is None:
        raise FieldError("Expected yes or no")
    return found


def _url(_: Session, __: Field, value: Any) -> str:
    text = str(value).strip()
    text = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a port that is none, a broken IPv6 address
        good = False
    if not good or len(text) > 2000 or re.search(r"[\s<>\"]", text):
        raise FieldError("Expected a web address such as https://example.com")
    return text


def _person(session: Session, field: Field, value: Any) -> str:
    user = people.by_key(session, str(value)) or people.by_address(session, str(value))
    if user is None or user.team_id != field.team_id:
        raise FieldError("Expected somebody of the team")
    return user.key


def _contact(session: Session, field: Field, value: Any) -> str:
    found = contacts.by_key(session, field.team_id, str(value)) or contacts.by_address(
        session, field.team_id, str(value)
    )
    if found is None:
        raise FieldError("Expected a contact of the team")
    return found.key


def _organization(session: Session, field: Field, value: Any) -> str:
    found = contacts.organization_by_key(session, field.team_id, str(value))
    if found is None:
        found = session.scalar(
            select(contacts.Organization).where(
                contacts.Organization.team_id == field.team_id,
                func.lower(contacts.Organization.name) == str(value).strip().lower(),
            )
        )
    if found is None:
        raise FieldError("Expected an organization of the team")
    return found.key


_PARSERS: dict[FieldType, Callable[[Session, Field, Any], Any]] = {
    FieldType.TEXT: _text,
    FieldType.NUMBER: _number,
    FieldType.MONEY: _money,
    FieldType.DATE: _date,
    FieldType.DROPDOWN: _dropdown,
    FieldType.TAGS: _tags,
    FieldType.CHECKBOX: _checkbox,
    FieldType.PERSON: _person,
    FieldType.CONTACT: _contact,
    FieldType.ORGANIZATION: _organization,
    FieldType.URL: _url,
}
