"""A table's cells: what stands in them, how it is typed, and what becomes of what was typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tracker import autobox, boxes, contacts, exports, people, pipelines
from tracker.addresses import parse_addresses
from tracker.boxes import Box, BoxError
from tracker.columns import ASLEEP, FRESH, STALE, Column, Holds, Row, freshness, stirred_at
from tracker.contacts import Contact, Organization
from tracker.db import among, lock_team
from tracker.fields import FieldError, FieldType
from tracker.people import User, Viewer
from tracker.pipelines import Stage

#: How fields are edited that are not simply a line of text.
KINDS: dict[str, str] = {
    FieldType.TEXT: "lines", FieldType.DATE: "date", FieldType.CHECKBOX: "tick", FieldType.NUMBER: "number",
}  # fmt: skip
HINTS: dict[str, str] = {
    FieldType.MONEY: "1250.50 EUR",
    FieldType.TAGS: "separated by commas",
    FieldType.CONTACT: "a contact’s address",
    FieldType.URL: "https://…",
    Holds.CONTACTS: "addresses, separated by commas",
}
BARS = {ASLEEP: 0, STALE: 1, **{word: 4 - n for n, (_, word) in enumerate(FRESH)}}


@dataclass(frozen=True, slots=True)
class Names:
    """What people, contacts and organizations are called, by key."""

    users: Sequence[User]
    known: Mapping[str, str]

    def get(self, key: Any) -> str:
        """A name, or nothing for somebody who is gone."""
        return self.known.get(str(key), "")


def names(session: Session, team_id: int, shown: Sequence[Column], rows: Sequence[Row]) -> Names:
    """The names that the rows' cells speak of; at most three queries."""
    everybody = people.of_team(session, team_id, removed=True)
    users = [one for one in everybody if one.removed_at is None]
    known = {user.key: user.name for user in everybody}
    tables: dict[str, Any] = {FieldType.CONTACT: Contact, FieldType.ORGANIZATION: Organization}
    for kind, table in tables.items():
        ours = [one.field for one in shown if one.field is not None and one.field.type == kind]
        keys = {str(row.box.values[one.key]) for one in ours for row in rows if row.box.values.get(one.key)}
        if keys:
            query = select(table.key, table.name).where(table.team_id == team_id, among(table.key, keys))
            known |= dict(session.execute(query).all())
    return Names(users, known)


def fresh(row: Row, now: datetime) -> tuple[str, int, int]:
    """How fresh a box is: a word, so many bars of four, and the days."""
    word = freshness(row, now)
    return word, BARS[word], max(0, (now - stirred_at(row)).days)


@dataclass(slots=True)
class Editor:
    """What a cell is edited with: an input, or choices."""

    column: Column
    row: Row
    value: str
    was: str  #: what it held when the person began; a teammate's change since is noticed by it
    kind: str = "text"  #: text, lines, date, number, tick, choice
    choices: Sequence[tuple[str, str]] = ()
    suggestions: Sequence[str] = ()
    hint: str = ""
    error: str = ""


def editor(session: Session, viewer: Viewer, column: Column, row: Row, stages: Sequence[Stage]) -> Editor:
    """The editor of a cell, with what stands there now."""
    users = people.of_team(session, viewer.team_id)
    now = typed(session, column, row)
    made = Editor(column, row, now, now, hint=HINTS.get(column.holds, ""))
    if column.holds == Holds.STAGE:
        made.kind, made.choices = "choice", [(one.key, one.name) for one in stages]
    elif column.holds in (Holds.OWNER, FieldType.PERSON):
        made.kind, made.choices = "choice", [("", "Nobody"), *((one.key, one.name) for one in users)]
        if now and now not in {one.key for one in users}:  # of somebody who left, what they were chosen for stays
            left = people.by_key(session, now, removed=True)
            made.choices = [*made.choices, (now, left.name if left else "Somebody who left")]
    elif column.holds == FieldType.DROPDOWN and column.field is not None:
        options = list(map(str, column.field.options))
        options += [now] if now and now not in options else []
        made.kind, made.choices = "choice", [("", "–"), *((one, one) for one in options)]
    elif column.holds in (Holds.COMPANY, FieldType.ORGANIZATION):
        made.suggestions = [one.name for one in contacts.organizations(session, viewer.team_id)]
    else:
        kinds = {
            FieldType.TEXT: "lines",
            FieldType.DATE: "date",
            FieldType.CHECKBOX: "tick",
            FieldType.NUMBER: "number",
        }
        made.kind = next((kind for one, kind in kinds.items() if one == column.holds), "text")
    return made


def typed(session: Session, column: Column, row: Row) -> str:
    """What stands in a cell, as it may be typed."""
    box = row.box
    if column.holds == Holds.STAGE:
        return box.stage.key
    if column.holds == Holds.OWNER:
        return box.owner.key if box.owner else ""
    if column.holds == Holds.COMPANY:
        return box.organization.name if box.organization else ""
    if column.holds == Holds.CONTACTS:
        return ", ".join(one.addresses[0].address if one.addresses else one.name for one in box.contacts)
    if column.field is None:
        return box.name
    value = box.values.get(column.field.key)
    if column.holds == FieldType.CHECKBOX:
        return "yes" if value else ""
    if column.holds == FieldType.PERSON:
        return str(value or "")
    if value and column.holds in (FieldType.CONTACT, FieldType.ORGANIZATION):
        return _called(session, column.holds, box.team_id, str(value))
    return exports.value_text(column.holds, value, {})


def _called(session: Session, kind: str, team_id: int, key: str) -> str:
    if kind == FieldType.ORGANIZATION:
        company = contacts.organization_by_key(session, team_id, key)
        return company.name if company else ""
    contact = contacts.by_key(session, team_id, key)
    if contact is None:
        return ""
    return contact.addresses[0].address if contact.addresses else contact.name


def hold(session: Session, viewer: Viewer, column: Column, box: Box) -> None:
    """Keep a box as it is until the end of the transaction."""
    if column.holds in (Holds.COMPANY, Holds.CONTACTS):
        lock_team(session, viewer.team_id)
    session.execute(select(Box.id).where(Box.id == box.id).with_for_update(key_share=True))
    session.expire(box)


def put(session: Session, viewer: Viewer, column: Column, row: Row, given: str, now: datetime) -> None:
    """Make a cell hold what was typed. Raises `BoxError` or `FieldError`, which say what would fit."""
    box = row.box
    if column.holds == Holds.NAME:
        boxes.rename(session, viewer, box, given)
    elif column.holds == Holds.STAGE:
        stage = pipelines.stage_by_key(session, viewer.team_id, given)
        if stage is None:
            raise BoxError("That stage is gone; load the page again")
        boxes.move(session, viewer, box, stage, now=now)
    elif column.holds == Holds.OWNER:
        boxes.assign(session, viewer, box, _member(session, viewer, given))
    elif column.holds == Holds.COMPANY:
        name = " ".join(given.split())[:200]
        company = contacts.organization_named(session, viewer.team_id, name) if name else None
        boxes.set_organization(session, viewer, box, company)
    elif column.holds == Holds.CONTACTS:
        _set_contacts(session, viewer, box, given, now)
    elif column.field is not None:
        boxes.set_value(session, viewer, box, column.field, _meant(session, viewer, column, given))


def _member(session: Session, viewer: Viewer, key: str) -> User | None:
    user = people.by_key(session, key) if key else None
    if key and (user is None or user.team_id != viewer.team_id):
        raise BoxError("They are not of the team any more; choose somebody else")
    return user


def _meant(session: Session, viewer: Viewer, column: Column, given: str) -> Any:
    """A contact may be typed by name too, where only one is called so."""
    if column.holds == FieldType.CHECKBOX:
        return given in ("yes", "on", "true", "1") or None
    if column.holds != FieldType.CONTACT or not given or "@" in given:
        return given
    query = select(Contact.key).where(Contact.team_id == viewer.team_id, func.lower(Contact.name) == given.lower())
    found = session.scalars(query.limit(2)).all()
    if len(found) > 1:
        raise FieldError("Two contacts are called so; type the address")
    return found[0] if found else given


def _set_contacts(session: Session, viewer: Viewer, box: Box, given: str, now: datetime) -> None:
    """Those named stay, those who are new come, the others go."""
    by_name = {one.name.casefold(): one for one in box.contacts if not one.addresses}
    wanted = []
    for piece in given.replace(";", ",").split(","):
        if not piece.strip():
            continue
        known = by_name.get(piece.strip().casefold())
        addresses = parse_addresses([piece])
        if known is None and not addresses:
            raise FieldError(f"“{piece.strip()[:60]}” is no address such as anna@example.com")
        if people.own_addresses(session, viewer.team_id) & {one.normalized for one in addresses}:
            raise FieldError("That is one of the team's own addresses, not a contact's")
        wanted += [known] if known else [contacts.ensure(session, viewer, one) for one in addresses]
    ids = {one.id for one in wanted}
    for gone in [one for one in box.contacts if one.id not in ids]:
        boxes.remove_contact(session, viewer, box, gone)
    had = {one.id for one in box.contacts}
    new = [one for one in wanted if one.id not in had]
    for one in new:
        boxes.add_contact(session, viewer, box, one)
    session.flush()
    if new:
        autobox.consider_box(session, box, now)


def became(column: Column, row: Row, session: Session, known: Mapping[str, str]) -> str:
    """Of a cell that a teammate changed meanwhile: what it became, and what to do."""
    value = typed(session, column, row)
    told: dict[str, str] = {
        Holds.STAGE: row.box.stage.name,
        FieldType.CHECKBOX: "ticked" if value else "not ticked",
    }
    words = told.get(column.holds) or known.get(value, value)
    return f"Meanwhile this became {f'“{words}”' if words else 'empty'}; save again to replace that"
