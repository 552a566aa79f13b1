"""Field filters: which boxes are meant by what stands in their fields, as an address says it.

`f.<field's key>` is a text to contain, or one or several choices (`-` for none); numbers, money and dates have
`f.<key>.from` and `f.<key>.to`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import ColumnElement, false, literal, or_, select
from sqlalchemy.dialects.postgresql import JSONB

from tracker.boxes import Box
from tracker.columns import number_in
from tracker.contacts import Contact, Organization
from tracker.fields import Field, FieldType, is_moderate
from tracker.people import User, Viewer

Condition = ColumnElement[bool] | Any
RANGES = (FieldType.NUMBER, FieldType.MONEY, FieldType.DATE)
NONE, ME = "-", "me"
SEVERAL = 50


@dataclass(frozen=True, slots=True)
class FieldFilter:
    """What is wanted of one field."""

    field: Field
    values: tuple[str, ...] = ()
    low: str = ""
    high: str = ""

    @property
    def name(self) -> str:
        """The parameter's name."""
        return f"f.{self.field.key}"

    def params(self) -> dict[str, Any]:
        """The parameters of an address that says the same."""
        found = {self.name: list(self.values), f"{self.name}.from": self.low, f"{self.name}.to": self.high}
        return {name: value for name, value in found.items() if value}

    def condition(self, viewer: Viewer) -> Condition:
        """SQL on `Box`."""
        if self.field.type in RANGES:
            return self._between()
        readers = {
            FieldType.DROPDOWN: self._chosen,
            FieldType.PERSON: self._chosen,
            FieldType.TAGS: self._tagged,
            FieldType.CHECKBOX: self._ticked,
            FieldType.CONTACT: self._named,
            FieldType.ORGANIZATION: self._named,
        }
        reader = readers.get(FieldType(self.field.type), self._contains)
        return or_(false(), *(reader(value, viewer) for value in self.values))

    def _between(self) -> Condition:
        is_date = self.field.type == FieldType.DATE
        expression = Box.values[self.field.key].astext if is_date else number_in(self.field)
        parts: list[Condition] = [expression.is_not(None)]
        if self.low:
            parts.append(expression >= (self.low if is_date else Decimal(self.low)))
        if self.high:
            parts.append(expression <= (self.high if is_date else Decimal(self.high)))
        found = parts[0]
        for part in parts[1:]:
            found = found & part
        return found

    def _chosen(self, value: str, viewer: Viewer) -> Condition:
        there = Box.values[self.field.key].astext
        if value == NONE:
            return there.is_(None)
        if value == ME and self.field.type == FieldType.PERSON:
            return there == select(User.key).where(User.id == viewer.user_id).scalar_subquery()
        return there == value

    def _tagged(self, value: str, _: Viewer) -> Condition:
        if value == NONE:
            return Box.values[self.field.key].astext.is_(None)
        return Box.values[self.field.key].contains(literal([value], JSONB()))

    def _ticked(self, value: str, _: Viewer) -> Condition:
        ticked = Box.values.contains(literal({self.field.key: True}, JSONB()))
        return ticked if value == "yes" else ~ticked

    def _named(self, value: str, viewer: Viewer) -> Condition:
        table: Any = Contact if self.field.type == FieldType.CONTACT else Organization
        named = select(table.key).where(
            table.team_id == viewer.team_id, table.name.icontains(value, autoescape=True)
        )
        return Box.values[self.field.key].astext.in_(named)

    def _contains(self, value: str, _: Viewer) -> Condition:
        return Box.values[self.field.key].astext.icontains(value, autoescape=True)

    def words(self, names: Mapping[str, str]) -> str:
        """What is wanted, for people. `names` are the team's people by key."""
        if self.low or self.high:
            return f"{self.field.name}: {self.low or '…'} to {self.high or '…'}"
        told = {NONE: "none", ME: "me"} | dict(names)
        return f"{self.field.name}: {' or '.join(told.get(one, one) for one in self.values)}"


def parse(args: Mapping[str, Any], columns: Sequence[Field]) -> tuple[list[FieldFilter], list[str]]:
    """The field filters of an address's parameters, and in words what could not be read."""
    found: list[FieldFilter] = []
    problems: list[str] = []
    for one in columns:
        values = _several(args, f"f.{one.key}")
        low, high = ("".join(_several(args, f"f.{one.key}.{end}")[:1]) for end in ("from", "to"))
        if one.type in RANGES:
            values = ()
            low, high = (_bound(one, end, problems) for end in (low, high))
        else:
            low = high = ""
        if values or low or high:
            found.append(FieldFilter(one, values, low, high))
    return found, problems


def _bound(one: Field, given: str, problems: list[str]) -> str:
    if not given:
        return ""
    try:
        if one.type == FieldType.DATE:
            return date.fromisoformat(given).isoformat()
        number = Decimal(given.replace("\u00a0", "").replace(" ", "").replace(",", ""))
        if is_moderate(number):
            return format(number, "f")
    except (ValueError, InvalidOperation):
        pass
    what = "date such as 2026-11-24" if one.type == FieldType.DATE else "number such as 1250.50"
    problems.append(f"{one.name}: “{given[:40]}” is no {what}")
    return ""


def _several(args: Mapping[str, Any], name: str) -> tuple[str, ...]:
    getlist = getattr(args, "getlist", None)
    values = getlist(name) if getlist else args.get(name) or ()
    values = [values] if isinstance(values, str) else values
    cleaned = (str(value).replace("\x00", "").strip()[:200] for value in values)
    return tuple(dict.fromkeys(value for value in cleaned if value))[:SEVERAL]
