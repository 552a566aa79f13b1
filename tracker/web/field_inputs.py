"""Fields as inputs of a form: what to show, and what came back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flask import g, request
from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.boxes import Box
from tracker.contacts import Contact, Organization
from tracker.fields import Field, FieldType
from tracker.people import User
from tracker.web.filters import money_to_type

#: Where the forms of fields stand.
PLACES = ("fields", "money")
HINTS = {
    FieldType.MONEY: "such as 1250.50 EUR",
    FieldType.TAGS: "separated by commas",
    FieldType.CONTACT: "a contact’s address",
    FieldType.URL: "https://…",
    FieldType.NUMBER: "a number",
}


@dataclass(frozen=True, slots=True)
class Input:
    """A field with its value as it may be typed, and what the form on its way says of it.

    The form sends along what it had shown (`was-…`), so that only what the person changed is written, and a
    teammate's change since is noticed.
    """

    field: Field
    value: str
    hint: str = ""
    was: str = ""

    @property
    def name(self) -> str:
        """The input's name."""
        return f"field-{self.field.key}"

    def _as_sent(self, text: str) -> str:
        return _lines(text) if self.field.type == FieldType.TEXT else _line(text)

    def _sent(self) -> str:
        return self._as_sent(request.form.get(self.name, ""))

    def _shown_then(self) -> str | None:
        """What the form had shown; None if it doesn't say, as one of an earlier release."""
        then = request.form.get(f"was-{self.field.key}")
        return None if then is None else self._as_sent(then)

    def is_in_form(self) -> bool:
        """Whether the form is about it. A checkbox that is not ticked isn't sent itself."""
        unticked = self.field.type == FieldType.CHECKBOX and f"was-{self.field.key}" in request.form
        return unticked or self.name in request.form

    def is_changed(self) -> bool:
        """Whether the person changed it."""
        return self.is_in_form() and self._sent() != self._shown_then()

    def is_stale(self) -> bool:
        """Whether it became something else since the form was shown, and not what the person wants anyway."""
        now = self._as_sent(self.value)
        return self._shown_then() not in (None, now) and self._sent() != now

    def given(self) -> Any:
        """What the form wants it to be; a box that is not ticked is no."""
        return (self._sent() == "on" or None) if self.field.type == FieldType.CHECKBOX else self._sent()

    def meanwhile(self, known: Mapping[str, str]) -> str:
        """Of a stale one: what it became, and what to do."""
        ticked = "ticked" if self.value else "not ticked"
        became = ticked if self.field.type == FieldType.CHECKBOX else f"“{known.get(self.value, self.value)}”"
        if not self.value and self.field.type != FieldType.CHECKBOX:
            became = "empty"
        return f"Since you opened the page this became {became}; save again to replace that"

    def typed(self) -> Input:
        """After a refusal, with what the person typed; a field that they left alone is as it is now."""
        refused = g.get("refusals") and request.form.get("_place") in PLACES
        return replace(self, value=self._sent()) if refused and self.is_changed() else self


def _lines(text: str) -> str:
    """A text of several lines as the database holds it."""
    return text.replace("\x00", "").replace("\r\n", "\n").strip()


def _line(text: str) -> str:
    """A text as a line of a form gives it back."""
    return text.replace("\x00", "").replace("\r", "").replace("\n", "").strip()


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
    line = "" if value is None else _typeable(field, value, known)
    return Input(field, line, hint, was=line)


def _typeable(field: Field, value: Any, known: Mapping[str, str]) -> str:
    if field.type == FieldType.MONEY:
        return money_to_type(value)
    if field.type == FieldType.TAGS:
        return ", ".join(map(str, value))
    if field.type in (FieldType.ORGANIZATION, FieldType.CONTACT):
        return known.get(str(value), "")
    if field.type == FieldType.CHECKBOX:
        return "on" if value else ""
    return str(value)
