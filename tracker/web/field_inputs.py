"""Fields as inputs of a form: what to show, and what came back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import request
from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.boxes import Box
from tracker.contacts import Contact, Organization
from tracker.fields import Field, FieldType
from tracker.people import User
from tracker.web.filters import money

HINTS = {
    FieldType.MONEY: "such as 1250.50 EUR",
    FieldType.TAGS: "separated by commas",
    FieldType.CONTACT: "a contact’s address",
    FieldType.URL: "https://…",
}


@dataclass(frozen=True, slots=True)
class Input:
    """A field with its value as it may be typed."""

    field: Field
    value: str
    hint: str = ""


def known_names(session: Session, box: Box, columns: Sequence[Field], users: Sequence[User]) -> dict[str, str]:
    """Names of the people, contacts and organizations that the box's values speak of, by key."""
    known = {user.key: user.name for user in users}
    for kind, table in ((FieldType.CONTACT, Contact), (FieldType.ORGANIZATION, Organization)):
        keys = [str(box.values[one.key]) for one in columns if one.type == kind and one.key in box.values]
        if keys:
            query = select(table.key, table.name).where(table.team_id == box.team_id, table.key.in_(keys))
            known |= dict(session.execute(query).all())
    return known


def shown(field: Field, value: Any, known: Mapping[str, str]) -> Input:
    """A field as an input."""
    hint = HINTS.get(FieldType(field.type), "")
    if value is None:
        return Input(field, "", hint)
    if field.type == FieldType.MONEY:
        return Input(field, money(value), hint)
    if field.type == FieldType.TAGS:
        return Input(field, ", ".join(map(str, value)), hint)
    if field.type == FieldType.ORGANIZATION:
        return Input(field, known.get(str(value), ""), hint)
    if field.type == FieldType.CONTACT:
        return Input(field, str(value), known.get(str(value), hint))
    return Input(field, str(value), hint)


def given(field: Field) -> Any:
    """What the form says for a field; a box that was not ticked is no."""
    value = request.form.get(f"field-{field.key}", "").replace("\x00", "").strip()
    if field.type == FieldType.CHECKBOX:
        return value == "on" or None
    return value
