"""Columns: what a table of boxes can show of them, and what it can be sorted and grouped by.

A pipeline's table has the columns of every box, those that mail and tasks fill by themselves (*magic columns*),
and its fields. A room above adds one of its own with `register`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Date,
    DateTime,
    Numeric,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    null,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.types import TypeEngine

from tracker.boxes import Box
from tracker.contacts import Contact, Organization
from tracker.facts import BoxFacts
from tracker.fields import Field, FieldType
from tracker.people import User
from tracker.pipelines import Stage

US, THEM = "us", "them"
#: Freshness: up to so many days without mail or move, and the word for it.
FRESH = ((2, "fresh"), (7, "recent"), (21, "quiet"))
STALE, ASLEEP = "stale", "asleep"


Expression = ColumnElement[Any] | InstrumentedAttribute[Any]


class Holds(StrEnum):
    """What a column holds, beyond the types of fields."""

    NAME = "name"
    STAGE = "stage"
    OWNER = "owner"
    COMPANY = "company"
    CONTACTS = "contacts"
    INSTANT = "instant"
    DAY = "day"
    DAYS = "days"
    COUNT = "count"
    OWES = "owes"
    FRESHNESS = "freshness"


@dataclass(slots=True)
class Row:
    """A box of a table, with what mail and tasks say of it, and what registered columns loaded."""

    box: Box
    facts: BoxFacts | None
    extra: dict[str, Any] = field(default_factory=dict)


class Sorted(StrEnum):
    """How a column's values compare."""

    INSTANT = "instant"
    DATE = "date"
    NUMBER = "number"
    INTEGER = "integer"
    TEXT = "text"


_TYPES: dict[Sorted, TypeEngine[Any]] = {
    Sorted.INSTANT: DateTime(timezone=True),
    Sorted.DATE: Date(),
    Sorted.NUMBER: Numeric(),
    Sorted.INTEGER: BigInteger(),
    Sorted.TEXT: Text(),
}
_READERS: dict[Sorted, Callable[[Any], Any]] = {
    Sorted.INSTANT: lambda value: datetime.fromisoformat(str(value)),
    Sorted.DATE: lambda value: date.fromisoformat(str(value)),
    Sorted.NUMBER: lambda value: Decimal(str(value)),
    Sorted.INTEGER: int,
    Sorted.TEXT: lambda value: str(value).replace("\x00", ""),
}


@dataclass(frozen=True, slots=True)
class Order:
    """One thing to sort by: an expression on `Box` and `BoxFacts`. Empty ones come last, in either direction."""

    expression: Expression
    by: Sorted
    nullable: bool = True
    flipped: bool = False  #: ascending by what is shown is descending by the expression
    of_facts: bool = False  #: it stands in `BoxFacts`, whose indexes begin with the pipeline

    def literal(self, value: Any) -> ColumnElement[Any]:
        """A value to compare with, as SQL."""
        return literal(value, _TYPES[self.by])

    def read(self, value: Any) -> Any:
        """A value of a cursor. Raises `ValueError` or the like for a made-up one."""
        return None if value is None else _READERS[self.by](value)


@dataclass(frozen=True, slots=True)
class Grouping:
    """How a column groups boxes: which group a box is in, the order of groups, and their names."""

    identity: Expression
    orders: tuple[Order, ...]
    name: Callable[[Row], str]


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `load` reads what is not in the box, for all boxes of a page at once."""

    key: str
    title: str
    holds: str
    order: Order | None = None
    grouping: Grouping | None = None
    editable: bool = False
    newest_first: bool = False  #: the first click on its head sorts descending
    field: Field | None = None
    load: Callable[[Session, Sequence[int]], Mapping[int, Any]] | None = None
    note: str = ""  #: what it means, where the title does not say


_registered: list[Column] = []


def register(column: Column) -> None:
    """Add a column to every pipeline's table; a second one of the same key replaces the first."""
    _registered[:] = [one for one in _registered if one.key != column.key] + [column]


def of_pipeline(columns: Sequence[Field], stages: Sequence[Stage]) -> dict[str, Column]:
    """A pipeline's columns by their keys, in the order in which they are offered. `columns` are its fields."""
    money = money_field(columns)
    made = [*_own(stages, money), *_magic(), *_registered]
    made += [_of_field(one) for one in columns if one is not money]
    return {one.key: one for one in made}


def money_field(columns: Iterable[Field]) -> Field | None:
    """The field that says what a box is worth: the pipeline's first of money."""
    return next((one for one in columns if one.type == FieldType.MONEY), None)


def first_shown(columns: Mapping[str, Column]) -> list[str]:
    """What a table shows as long as nobody chose."""
    keys = ("name", "stage", "owner", "contacts", "value", "owes", "freshness", "days", "next_task")
    return [key for key in keys if key in columns]


def _own(stages: Sequence[Stage], money: Field | None) -> list[Column]:
    owner = select(func.lower(User.name)).where(User.id == Box.owner_id).correlate(Box).scalar_subquery()
    company = (
        select(func.lower(Organization.name))
        .where(Organization.id == Box.organization_id)
        .correlate(Box)
        .scalar_subquery()
    )
    place = {stage.id: stage.position for stage in stages}
    position = case(place, value=Box.stage_id, else_=len(stages)) if place else literal(0)
    by_stage = Order(position, Sorted.INTEGER, nullable=False)
    by_owner, by_company = Order(owner, Sorted.TEXT), Order(company, Sorted.TEXT)
    found = [
        Column(
            "name", "Name", Holds.NAME, Order(func.lower(Box.name), Sorted.TEXT, nullable=False), editable=True
        ),
        Column(
            "stage",
            "Stage",
            Holds.STAGE,
            by_stage,
            Grouping(Box.stage_id, (by_stage,), lambda row: row.box.stage.name),
            editable=True,
        ),
        Column(
            "owner",
            "Owner",
            Holds.OWNER,
            by_owner,
            Grouping(
                Box.owner_id,
                (by_owner, Order(Box.owner_id, Sorted.INTEGER)),
                lambda row: row.box.owner.name if row.box.owner else "Nobody",
            ),
            editable=True,
        ),
        Column(
            "organization",
            "Organization",
            Holds.COMPANY,
            by_company,
            Grouping(
                Box.organization_id,
                (by_company, Order(Box.organization_id, Sorted.INTEGER)),
                lambda row: row.box.organization.name if row.box.organization else "No organization",
            ),
            editable=True,
        ),
        Column("contacts", "Contacts", Holds.CONTACTS, editable=True),
    ]
    if money is not None:
        by_value = Order(Box.value_amount, Sorted.NUMBER)
        found.append(
            Column("value", money.name, FieldType.MONEY, by_value, editable=True, newest_first=True, field=money)
        )
    return found


def _magic() -> list[Column]:
    sent, received = BoxFacts.last_sent_at, BoxFacts.last_received_at
    ours = and_(received.is_not(None), or_(sent.is_(None), received > sent))
    owes = case((ours, 0), (sent.is_not(None), 1), else_=2)
    stirred = func.greatest(Box.stage_entered_at, BoxFacts.last_mail_at)

    def instant(key: str, title: str, order: Order, note: str = "") -> Column:
        return Column(key, title, Holds.INSTANT, order, newest_first=True, note=note)

    return [
        instant("last_sent", "Last mail sent", Order(sent, Sorted.INSTANT, of_facts=True)),
        instant("last_received", "Last mail received", Order(received, Sorted.INSTANT, of_facts=True)),
        instant(
            "last_mail",
            "Last mail",
            Order(BoxFacts.last_mail_at, Sorted.INSTANT, of_facts=True),
            "sent or received",
        ),
        Column(
            "owes",
            "Owes an answer",
            Holds.OWES,
            Order(owes, Sorted.INTEGER, nullable=False),
            note="whose turn it is, by the last mail",
        ),
        Column(
            "days",
            "Days in stage",
            Holds.DAYS,
            Order(Box.stage_entered_at, Sorted.INSTANT, nullable=False, flipped=True),
            newest_first=True,
        ),
        Column(
            "mails",
            "Mails",
            Holds.COUNT,
            Order(func.coalesce(BoxFacts.message_count, 0), Sorted.INTEGER, nullable=False),
            newest_first=True,
        ),
        Column(
            "next_task", "Next task", Holds.DAY, Order(BoxFacts.next_task_on, Sorted.DATE, of_facts=True),
            note="when the next open task is due",
        ),
        Column(
            "freshness",
            "Freshness",
            Holds.FRESHNESS,
            Order(stirred, Sorted.INSTANT, nullable=False),
            newest_first=True,
            note="how long since the last mail or move",
        ),
        instant("created", "Created", Order(Box.created_at, Sorted.INSTANT, nullable=False)),
    ]  # fmt: skip


def _of_field(one: Field) -> Column:
    grouping = None
    if one.type == FieldType.DROPDOWN:
        value = Box.values[one.key].astext
        place = func.array_position(cast(list(map(str, one.options)), ARRAY(Text())), value)
        orders = (Order(place, Sorted.INTEGER), Order(value, Sorted.TEXT))
        name, key = one.name, one.key
        grouping = Grouping(value, orders, lambda row: str(row.box.values.get(key) or f"No {name}"))
    newest = one.type in (FieldType.NUMBER, FieldType.MONEY, FieldType.DATE, FieldType.CHECKBOX)
    order = _field_order(one)
    return Column(f"f.{one.key}", one.name, one.type, order, grouping, True, newest, one)


def number_in(one: Field) -> ColumnElement[Any]:
    """SQL: the number (of money, the amount) in a field; NULL where there is none."""
    value = Box.values[one.key]
    written = value["amount"].astext if one.type == FieldType.MONEY else value.astext
    return case((written.regexp_match(r"^-?[0-9]+(\.[0-9]+)?$"), cast(written, Numeric)), else_=null())


def _field_order(one: Field) -> Order:
    value = Box.values[one.key].astext
    if one.type in (FieldType.NUMBER, FieldType.MONEY):
        return Order(number_in(one), Sorted.NUMBER)
    if one.type == FieldType.DROPDOWN:
        options = cast(list(map(str, one.options)), ARRAY(Text()))
        return Order(func.array_position(options, value), Sorted.INTEGER)
    named: dict[str, Any] = {
        FieldType.PERSON: User,
        FieldType.CONTACT: Contact,
        FieldType.ORGANIZATION: Organization,
    }
    if one.type in named:
        table = named[one.type]
        name = select(func.lower(table.name)).where(table.key == value, table.team_id == one.team_id)
        return Order(name.correlate(Box).scalar_subquery(), Sorted.TEXT)
    return Order(func.lower(value), Sorted.TEXT)


def owed_by(row: Row) -> str:
    """Who has to answer next: `us`, `them` or nobody. A box that is won or lost waits for nobody."""
    facts = row.facts
    if facts is None or facts.last_mail_at is None:
        return ""
    sent, received = facts.last_sent_at, facts.last_received_at
    if received is not None and (sent is None or received > sent):
        return US
    return THEM if sent is not None and row.box.stage.kind == "open" else ""


def stirred_at(row: Row) -> datetime:
    """When there was the last mail or move."""
    mail = row.facts.last_mail_at if row.facts else None
    return max(row.box.stage_entered_at, mail) if mail else row.box.stage_entered_at


def freshness(row: Row, now: datetime) -> str:
    """A word for how long ago that was; `asleep` if it is longer than the stage allows."""
    days = (now - stirred_at(row)).days
    limit = row.box.stage.sleep_days
    if limit is not None and days >= limit:
        return ASLEEP
    return next((word for most, word in FRESH if days <= most), STALE)
