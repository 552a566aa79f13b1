"""Exports: a table as CSV (RFC 4180), which the import reads again without a change.

See `csv_files.guard` for cells that a spreadsheet would take for a formula.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import columns, people
from tracker.columns import Column, Holds, Row
from tracker.contacts import Contact, ContactAddress, Organization
from tracker.csv_files import guard, written
from tracker.db import among
from tracker.fields import FieldType
from tracker.listing import Listing

BOX_KEY = "Box key"
CHUNK = 500  # rows


def as_csv(listing: Listing) -> Iterator[str]:
    """The listing with all its rows, in chunks of text; the first column is the box's key."""
    shown = listing.look.shown
    yield written([[BOX_KEY, *(guard(one.title) for one in shown)]])
    users = _user_names(listing)
    after: str | None = None
    while True:
        page = listing.page(after, CHUNK)
        known = users | _names(listing.session, listing.viewer.team_id, shown, page.rows)
        yield written(
            [
                [guard(row.box.key), *(guard(cell(one, row, known, listing.now)) for one in shown)]
                for row in page.rows
            ]
        )
        if page.more is None:
            return
        after = str(page.more)
        listing.session.expunge_all()


def _user_names(listing: Listing) -> dict[str, str]:
    """How each of the team is called in a file: by name, or by address where two share a name."""
    users = people.of_team(listing.session, listing.viewer.team_id, removed=True)
    twice = Counter(user.name.casefold() for user in users)
    return {user.key: user.name if twice[user.name.casefold()] == 1 else user.address for user in users}


def _names(session: Session, team_id: int, shown: Sequence[Column], rows: Sequence[Row]) -> dict[str, str]:
    """How the contacts and organizations in fields are called, by key: contacts by their first address."""
    found: dict[str, str] = {}
    wanted = _keys(shown, rows, FieldType.CONTACT)
    if wanted:
        query = (
            select(Contact.key, ContactAddress.address)
            .join(ContactAddress)
            .where(Contact.team_id == team_id, among(Contact.key, wanted))
            .order_by(ContactAddress.id.desc())
        )
        found |= dict(session.execute(query).all())
    wanted = _keys(shown, rows, FieldType.ORGANIZATION)
    if wanted:
        named = select(Organization.key, Organization.name)
        query_ = named.where(Organization.team_id == team_id, among(Organization.key, wanted))
        found |= dict(session.execute(query_).all())
    return found


def _keys(shown: Sequence[Column], rows: Sequence[Row], kind: str) -> set[str]:
    fields = [one.field for one in shown if one.field is not None and one.field.type == kind]
    return {str(row.box.values[one.key]) for one in fields for row in rows if row.box.values.get(one.key)}


def cell(column: Column, row: Row, known: Mapping[str, str], now: datetime) -> str:
    """What stands in a cell, as the import reads it again. `known` are names of people and others by key."""
    if column.field is not None:
        return value_text(column.field.type, row.box.values.get(column.field.key), known)
    box, facts = row.box, row.facts
    told: dict[str, Any] = {
        Holds.NAME: lambda: box.name,
        Holds.STAGE: lambda: box.stage.name,
        Holds.OWNER: lambda: known.get(box.owner.key, box.owner.name) if box.owner else "",
        Holds.COMPANY: lambda: box.organization.name if box.organization else "",
        Holds.CONTACTS: lambda: "; ".join(_contact(one) for one in box.contacts),
        Holds.DAYS: lambda: str(max(0, (now - box.stage_entered_at).days)),
        Holds.OWES: lambda: columns.owed_by(row),
        Holds.FRESHNESS: lambda: columns.freshness(row, now),
    }
    if column.holds in told:
        return str(told[column.holds]())
    found: Any = row.extra.get(column.key)
    of_facts = {"last_sent": "last_sent_at", "last_received": "last_received_at", "last_mail": "last_mail_at",
                "mails": "message_count", "next_task": "next_task_on"}  # fmt: skip
    if column.key == "created":
        found = box.created_at
    elif column.key in of_facts:
        found = getattr(facts, of_facts[column.key]) if facts else None
    if isinstance(found, datetime):
        return f"{found.astimezone(UTC):%Y-%m-%d %H:%M}"
    return found.isoformat() if isinstance(found, date) else "" if found is None else str(found)


def _contact(contact: Contact) -> str:
    if not contact.addresses:
        return contact.name
    address = contact.addresses[0].address
    if contact.name == address:
        return address
    plain = re.fullmatch(r"[\w .'\-]+", contact.name)
    quoted = contact.name if plain else '"' + contact.name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{quoted} <{address}>"


def value_text(kind: str, value: Any, known: Mapping[str, str]) -> str:
    """A field's value as text that `fields.parse` reads again, names for keys aside."""
    if value is None:
        return ""
    if kind == FieldType.MONEY:
        return f"{value.get('amount')} {value.get('currency')}" if isinstance(value, Mapping) else ""
    if kind == FieldType.TAGS:
        return ", ".join(map(str, value))
    if kind == FieldType.CHECKBOX:
        return "yes" if value else "no"
    if kind in (FieldType.PERSON, FieldType.CONTACT, FieldType.ORGANIZATION):
        return known.get(str(value), str(value))
    return str(value)
