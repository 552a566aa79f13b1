"""The directory: contacts and organizations as lists, searched, by name or last mail, and contacts by place.

All of it is what the whole team may see: "last mail" is that of their boxes (see `facts`), not of anybody's
mailbox.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, String, cast, exists, func, literal, or_, select, tuple_
from sqlalchemy.orm import Session, joinedload, selectinload

from tracker import boxes, organizations
from tracker.boxes import Box, BoxContact
from tracker.contacts import Contact, ContactAddress, Organization, OrganizationDomain
from tracker.db import among
from tracker.facts import BoxFacts
from tracker.fields import Field, FieldType
from tracker.pipelines import Stage

PAGE = 50
NEVER = datetime(1970, 1, 1, tzinfo=UTC)  #: sorts what has no mail to the end
SHOWN_BOXES = 2
BY_NAME, BY_MAIL = "name", "mail"


@dataclass(frozen=True, slots=True)
class Search:
    """What to list; an empty one lists all.

    has_box: "open" for those in an open box, "none" for those in no open box.
    place: anything in the location; place_key: exactly one of `places`.
    """

    text: str = ""
    organization: str = ""
    place: str = ""
    place_key: str = ""
    has_box: str = ""
    sort: str = BY_NAME
    organization_id: int | None = None


@dataclass(slots=True)
class Entry:
    """A contact in a list, with what their boxes say."""

    contact: Contact
    place: str = ""
    boxes: list[Box] = field(default_factory=list)  #: the first few, those with the latest mail first
    box_count: int = 0
    last_mail_at: datetime | None = None


def _like(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _told(team_id: int, contact_ids: Iterable[int] | None = None) -> Any:
    """SQL: what boxes say of where their contacts are: the text field of their pipeline that is named Location."""
    query = (
        select(BoxContact.contact_id, func.max(func.trim(Box.values[Field.key].astext)).label("place"))
        .join(Box, Box.id == BoxContact.box_id)
        .join(Field, Field.pipeline_id == Box.pipeline_id)
        .where(
            BoxContact.team_id == team_id,
            Box.deleted_at.is_(None),
            Field.team_id == team_id,
            Field.type == FieldType.TEXT.value,
            ~Field.removed,
            func.lower(Field.name) == "location",
        )
        .group_by(BoxContact.contact_id)
    )
    if contact_ids is not None:
        query = query.where(among(BoxContact.contact_id, contact_ids))
    return query.subquery()


def _place(told: Any) -> ColumnElement[str]:
    """SQL: where somebody is: their own location, else their organization's, else what a box says of it.

    The enclosing query has `Contact`, and `Organization` and `told` by outer joins.
    """
    own, theirs = (func.nullif(func.trim(one.location), "") for one in (Contact, Organization))
    return func.coalesce(own, theirs, func.nullif(told.c.place, ""), "")


def _place_key(whole: ColumnElement[str]) -> ColumnElement[str]:
    """SQL: what two spellings of a place share: its first part, "Berlin, Germany" being "berlin"."""
    return func.lower(func.regexp_replace(func.trim(func.split_part(whole, ",", 1)), r"\s+", " ", "g"))


def _in_open_box() -> ColumnElement[bool]:
    return exists(
        select(BoxContact.contact_id)
        .join(Box, Box.id == BoxContact.box_id)
        .join(Stage, Stage.id == Box.stage_id)
        .where(BoxContact.contact_id == Contact.id, boxes.is_open())
        .correlate(Contact)
    )


def _matching(team_id: int, search: Search, where: ColumnElement[str] | None) -> list[ColumnElement[bool]]:
    """SQL: what a contact has to be; `where` is its place, if places matter."""
    wanted: list[ColumnElement[bool]] = [Contact.team_id == team_id]
    for word in search.text.split()[:8]:
        like = _like(word)
        address = select(ContactAddress.contact_id).where(
            ContactAddress.contact_id == Contact.id, ContactAddress.address.ilike(like)
        )
        words = (Contact.name, Contact.title, Contact.phone, Contact.location, Organization.name)
        wanted.append(or_(exists(address), *(column.ilike(like) for column in words)))
    if search.organization:
        wanted.append(Organization.name.ilike(_like(search.organization)))
    if search.organization_id is not None:
        wanted.append(Contact.organization_id == search.organization_id)
    if search.place and where is not None:
        wanted.append(where.ilike(_like(search.place)))
    if search.place_key and where is not None:
        wanted.append(_place_key(where) == search.place_key)
    if search.has_box:
        wanted.append(_in_open_box() if search.has_box == "open" else ~_in_open_box())
    return wanted


def contacts(
    session: Session, team_id: int, search: Search, after: str = "", *, limit: int = PAGE
) -> tuple[list[Entry], str]:
    """A page of contacts, and the key that the next begins after ("" at the end)."""
    at = _last_mail_of(team_id)
    query = select(Contact).outerjoin(Organization, Organization.id == Contact.organization_id)
    where: ColumnElement[str] | None = None
    if search.place or search.place_key:
        told = _told(team_id)
        query, where = query.outerjoin(told, told.c.contact_id == Contact.id), _place(told)
    query = query.where(*_matching(team_id, search, where))
    query = query.options(joinedload(Contact.organization), selectinload(Contact.addresses))
    last: Any
    if search.sort == BY_MAIL:
        query = query.outerjoin(at, at.c.contact_id == Contact.id)
        last = func.coalesce(at.c.at, literal(NEVER))
        query = query.order_by(last.desc(), Contact.id.desc())
    else:
        last = func.lower(Contact.name)
        query = query.order_by(last, Contact.id)
    if after:
        there = select(Contact.id, last).where(Contact.team_id == team_id, Contact.key == after)
        if search.sort == BY_MAIL:
            there = there.outerjoin(at, at.c.contact_id == Contact.id)
        found = session.execute(there).first()
        if found is not None:
            place_of = tuple_(last, Contact.id)
            mark = tuple_(literal(found[1]), literal(found[0]))
            query = query.where(place_of < mark if search.sort == BY_MAIL else place_of > mark)
    rows = session.scalars(query.limit(limit + 1)).all()
    entries = [Entry(contact) for contact in rows[:limit]]
    _add_places(session, team_id, entries)
    _add_boxes(session, entries)
    return entries, rows[limit - 1].key if len(rows) > limit else ""


def entry(session: Session, contact: Contact) -> Entry:
    """What a list says of one contact."""
    made = Entry(contact)
    _add_places(session, contact.team_id, [made])
    _add_boxes(session, [made])
    return made


def _add_places(session: Session, team_id: int, entries: Sequence[Entry]) -> None:
    by_id = {one.contact.id: one for one in entries}
    if not by_id:
        return
    told = _told(team_id, by_id)
    query = select(Contact.id, _place(told)).outerjoin(Organization, Organization.id == Contact.organization_id)
    query = query.outerjoin(told, told.c.contact_id == Contact.id).where(among(Contact.id, by_id))
    for contact_id, where in session.execute(query):
        by_id[contact_id].place = where


def _last_mail_of(team_id: int) -> Any:
    """SQL: the last mail in any of a contact's listed boxes."""
    return (
        select(BoxContact.contact_id, func.max(BoxFacts.last_mail_at).label("at"))
        .join(Box, Box.id == BoxContact.box_id)
        .join(BoxFacts, BoxFacts.box_id == Box.id)
        .where(BoxContact.team_id == team_id, boxes.is_listed())
        .group_by(BoxContact.contact_id)
        .subquery()
    )


def _add_boxes(session: Session, entries: Sequence[Entry]) -> None:
    """The boxes of a page's contacts, counted; and the few that are shown. Two queries."""
    by_id = {one.contact.id: one for one in entries}
    if not by_id:
        return
    each = BoxContact.contact_id
    ranked = (
        select(
            BoxContact.contact_id,
            BoxContact.box_id,
            func.count().over(partition_by=each).label("boxes"),
            func.max(BoxFacts.last_mail_at).over(partition_by=each).label("at"),
            func.row_number()
            .over(partition_by=each, order_by=(BoxFacts.last_mail_at.desc().nulls_last(), Box.id.desc()))
            .label("rank"),
        )
        .join(Box, Box.id == BoxContact.box_id)
        .outerjoin(BoxFacts, BoxFacts.box_id == Box.id)
        .where(among(BoxContact.contact_id, by_id), boxes.is_listed())
        .subquery()
    )
    query = (
        select(ranked, Box)
        .join(Box, Box.id == ranked.c.box_id)
        .where(ranked.c.rank <= SHOWN_BOXES)
        .options(joinedload(Box.stage))
        .order_by(ranked.c.contact_id, ranked.c.rank)
    )
    for contact_id, _, count, at, _, box in session.execute(query):
        one = by_id[contact_id]
        one.box_count, one.last_mail_at = count, at
        one.boxes.append(box)


# -- places


@dataclass(frozen=True, slots=True)
class Place:
    """A place with its people counted."""

    key: str  #: what spellings share
    name: str  #: as one of them spells it
    people: int


def places(
    session: Session, team_id: int, text: str = "", after: str = "", *, limit: int = 100
) -> tuple[list[Place], str]:
    """A page of the places where the team's contacts are, by name, and the key that the next begins after."""
    told = _told(team_id)
    located = (
        select(_place(told).label("place"))
        .select_from(Contact)
        .outerjoin(Organization, Organization.id == Contact.organization_id)
        .outerjoin(told, told.c.contact_id == Contact.id)
        .where(Contact.team_id == team_id)
        .subquery()
    )
    whole = (
        select(located.c.place, _place_key(located.c.place).label("key")).offset(0).subquery()
    )  # worked out once
    key = whole.c.key
    spelling = func.min(func.trim(func.split_part(whole.c.place, ",", 1)))
    query = select(key, spelling, func.count()).where(key != "").group_by(key).order_by(key)
    if text:
        query = query.where(whole.c.place.ilike(_like(text)))
    if after:
        query = query.where(key > after)
    rows = session.execute(query.limit(limit + 1)).all()
    found = [Place(*row) for row in rows[:limit]]
    return found, found[-1].key if len(rows) > limit else ""


# -- organizations


@dataclass(slots=True)
class OrganizationEntry:
    """An organization in a list."""

    organization: Organization
    domains: list[str]
    people: int = 0
    boxes: int = 0


def all_organizations(
    session: Session, team_id: int, text: str = "", after: str = "", *, limit: int = PAGE
) -> tuple[list[OrganizationEntry], str]:
    """A page of organizations by name, and the key that the next begins after."""
    name = func.lower(Organization.name)
    query = select(Organization).where(Organization.team_id == team_id).order_by(name, Organization.id)
    for word in text.split()[:8]:
        like = _like(word)
        domain = select(OrganizationDomain.id).where(
            OrganizationDomain.organization_id == Organization.id, OrganizationDomain.domain.ilike(like)
        )
        query = query.where(or_(Organization.name.ilike(like), Organization.location.ilike(like), exists(domain)))
    if after:
        found = session.execute(
            select(name, Organization.id).where(Organization.team_id == team_id, Organization.key == after)
        ).first()
        if found is not None:
            query = query.where(tuple_(name, Organization.id) > tuple_(literal(found[0]), literal(found[1])))
    rows = session.scalars(query.limit(limit + 1)).all()
    more = rows[limit - 1].key if len(rows) > limit else ""
    return _counted(session, rows[:limit]), more


def _counted(session: Session, found: Sequence[Organization]) -> list[OrganizationEntry]:
    ids = [one.id for one in found]
    named = organizations.domains(session, ids)
    people = _counts(session, select(Contact.organization_id, func.count()), Contact.organization_id, ids)
    listed = select(Box.organization_id, func.count()).where(boxes.is_listed())
    in_boxes = _counts(session, listed, Box.organization_id, ids)
    return [OrganizationEntry(one, named[one.id], people.get(one.id, 0), in_boxes.get(one.id, 0)) for one in found]


def _counts(session: Session, query: Select[Any, int], column: Any, ids: Sequence[int]) -> dict[int, int]:
    return dict(session.execute(query.where(among(column, ids)).group_by(column)).all())


# -- what belongs to one of them


def boxes_of(
    session: Session, of: Contact | Organization, after: str = "", *, limit: int = 20
) -> tuple[Sequence[Box], str]:
    """A page of the boxes of a contact or organization: listed ones first, the newest first."""
    away = cast(Box.archived_at.is_not(None), String)
    query = select(Box).where(Box.deleted_at.is_(None), _about(of))
    if after:
        found = session.execute(select(away, Box.id).where(Box.team_id == of.team_id, Box.key == after)).first()
        if found is not None:
            query = query.where(tuple_(away, -Box.id) > tuple_(literal(found[0]), literal(-found[1])))
    query = query.options(joinedload(Box.stage), joinedload(Box.pipeline), joinedload(Box.owner))
    rows = session.scalars(query.order_by(away, -Box.id).limit(limit + 1)).all()
    return rows[:limit], rows[limit - 1].key if len(rows) > limit else ""


def _about(of: Contact | Organization) -> ColumnElement[bool]:
    """SQL: the `Box` is the contact's or the organization's."""
    if isinstance(of, Organization):
        return Box.organization_id == of.id
    return Box.id.in_(select(BoxContact.box_id).where(BoxContact.contact_id == of.id))


def addresses_of(of: Contact | Organization) -> Select[str]:
    """SQL: the addresses of a contact, or of all contacts of an organization."""
    query = select(ContactAddress.normalized)
    if isinstance(of, Organization):
        return query.join(Contact, Contact.id == ContactAddress.contact_id).where(Contact.organization_id == of.id)
    return query.where(ContactAddress.contact_id == of.id)


def open_box_ids(session: Session, of: Contact | Organization, *, limit: int = 50) -> Sequence[int]:
    """The open boxes of a contact or organization, the newest first."""
    query = select(Box.id).join(Stage, Stage.id == Box.stage_id).where(boxes.is_open(), _about(of))
    return session.scalars(query.order_by(Box.id.desc()).limit(limit)).all()
