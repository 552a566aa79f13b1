"""Contacts: a person outside the team, from mail or typed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Computed, ForeignKey, Index, UniqueConstraint, func, select, update
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from tracker import events, people, phones
from tracker.addresses import Address, normalize, parse_addresses, person_name
from tracker.db import Base, Identified, Keyed, OfTeam, lock_team, new_ids
from tracker.organizations import LINE_LIMIT, NAME_LIMIT, NOTES_LIMIT
from tracker.organizations import Organization as Organization
from tracker.organizations import OrganizationDomain as OrganizationDomain
from tracker.organizations import by_key as organization_by_key
from tracker.organizations import ensure as ensure_organization
from tracker.organizations import named as organization_named
from tracker.organizations import of_team as organizations
from tracker.people import Role, Viewer

__all__ = [
    "Contact",
    "ContactAddress",
    "ContactError",
    "Organization",
    "OrganizationDomain",
    "ensure",
    "ensure_organization",
    "organization_by_key",
    "organization_named",
    "organizations",
]


class ContactError(ValueError):
    """A change of a contact can't be made; the text says why and what to do."""


class Contact(OfTeam, Keyed, Base):
    """A person outside the team."""

    __tablename__ = "contacts"
    __table_args__ = (
        Index("ix_contacts_team_id_name", "team_id", "name"),
        Index("ix_contacts_search", "search", postgresql_using="gin"),
    )

    name: Mapped[str]
    organization_id: Mapped[int | None] = mapped_column(
        ForeignKey("organizations.id", ondelete="SET NULL"), index=True
    )
    phone: Mapped[str] = mapped_column(server_default="")  #: one number or several, see `phones`
    location: Mapped[str] = mapped_column(server_default="")
    title: Mapped[str] = mapped_column(server_default="")  #: what they do there
    notes: Mapped[str] = mapped_column(server_default="")
    search: Mapped[Any] = mapped_column(
        TSVECTOR,
        Computed("to_tsvector('simple'::regconfig, name || ' ' || location)", persisted=True),
        deferred=True,
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    addresses: Mapped[list[ContactAddress]] = relationship(order_by="ContactAddress.id")
    organization: Mapped[Organization | None] = relationship()


class ContactAddress(OfTeam, Identified, Base):
    """A contact's address; one contact each in a team. The main one is that with the lowest id."""

    __tablename__ = "contact_addresses"
    __table_args__ = (UniqueConstraint("team_id", "normalized"),)

    contact_id: Mapped[int] = mapped_column(ForeignKey("contacts.id", ondelete="CASCADE"), index=True)
    address: Mapped[str]  #: as written
    normalized: Mapped[str]


def ensure(session: Session, viewer: Viewer, address: Address, *, phone: str = "") -> Contact:
    """The contact with this address, made from what the mail says if there is none yet.

    Takes the team's lock, so that of a page and a sync that meet the same person one makes the contact. Callers
    that lock other rows take it before them.
    """
    _not_for_guests(viewer)
    lock_team(session, viewer.team_id)
    found = by_address(session, viewer.team_id, address.normalized)
    if found is not None:
        if phone and not found.phone:
            found.phone = phone
        return found
    organization = ensure_organization(session, viewer.team_id, address.normalized)
    return _make(session, viewer, person_name(address), address, organization, phone)


def add(
    session: Session, viewer: Viewer, name: str, typed_address: str = "", organization: Organization | None = None
) -> Contact:
    """A contact typed in by hand, with or without an address; without an organization, that of the domain.

    Raises `ContactError` for what is no address, for one of the team's own and for one that a contact has.
    """
    _not_for_guests(viewer)
    lock_team(session, viewer.team_id)
    address = _new_address(session, viewer, typed_address) if typed_address else None
    if not name.strip() and address is None:
        raise ContactError("A contact needs a name or an address")
    if address is not None and organization is None:
        organization = ensure_organization(session, viewer.team_id, address.normalized)
    called = _name(name) if name.strip() else person_name(address) if address else ""
    return _make(session, viewer, called, address, organization, "")


def _not_for_guests(viewer: Viewer) -> None:
    """Whoever may add addresses learns which the team knows."""
    if viewer.role == Role.GUEST:
        raise ContactError("Guests add no contacts; ask a teammate to add this one")


def _make(
    session: Session,
    viewer: Viewer,
    name: str,
    address: Address | None,
    organization: Organization | None,
    phone: str,
) -> Contact:
    contact = Contact(
        team_id=viewer.team_id,
        name=name,
        organization_id=organization.id if organization else None,
        phone=phone,
    )
    session.add(contact)
    session.flush()
    if address is not None:
        _give(session, contact, address)
    _record(session, viewer, "contact.created", contact, name=contact.name)
    return contact


def _give(session: Session, contact: Contact, address: Address) -> None:
    session.add(
        ContactAddress(
            team_id=contact.team_id,
            contact_id=contact.id,
            address=address.address,
            normalized=address.normalized,
        )
    )
    session.flush()
    session.expire(contact, ["addresses"])


def _new_address(session: Session, viewer: Viewer, typed: str) -> Address:
    found = parse_addresses([typed])
    if len(found) != 1:
        raise ContactError("Expected one address such as anna@example.com")
    if found[0].normalized in people.own_addresses(session, viewer.team_id):
        raise ContactError(f"{found[0].address} is one of the team's own addresses")
    holder = by_address(session, viewer.team_id, found[0].normalized)
    if holder is not None:
        raise ContactError(f"{found[0].address} is {holder.name}'s; merge the two if they are one person")
    return found[0]


def add_address(session: Session, viewer: Viewer, contact: Contact, typed: str) -> Address:
    """Give a contact another address. Raises `ContactError`, see `add`."""
    lock_team(session, viewer.team_id)
    address = _new_address(session, viewer, typed)
    _give(session, contact, address)
    _record(session, viewer, "contact.address_added", contact, address=address.address)
    return address


def _held(contact: Contact, address: str) -> ContactAddress:
    wanted = normalize(address)
    found = next((one for one in contact.addresses if one.normalized == wanted), None)
    if found is None:
        raise ContactError("That address is gone; look again")
    return found


def make_main(session: Session, viewer: Viewer, contact: Contact, address: str) -> None:
    """Put one address before the others: mail is written to it. Raises `ContactError`."""
    main = _held(contact, address)
    if contact.addresses[0] is main:
        return
    put_first(session, contact, main)
    _record(session, viewer, "contact.main_address", contact, address=main.address)


def put_first(session: Session, contact: Contact, main: ContactAddress) -> None:
    """The order is that of ids, which nothing else refers to: the others go behind."""
    others = [one.id for one in contact.addresses if one is not main]
    for old, new in zip(others, new_ids(session, ContactAddress, len(others)), strict=True):
        session.execute(
            update(ContactAddress).where(ContactAddress.id == old).values(id=new),
            execution_options={"synchronize_session": False},
        )
    for one in contact.addresses:
        session.expunge(one)
    session.expire(contact, ["addresses"])


def remove_address(session: Session, viewer: Viewer, contact: Contact, address: str) -> None:
    """Take an address off a contact; what is filed stays. Raises `ContactError` for the last one."""
    gone = _held(contact, address)
    if len(contact.addresses) == 1:
        raise ContactError("It is the only address; add another before you remove it")
    session.delete(gone)
    session.flush()
    session.expire(contact, ["addresses"])
    _record(session, viewer, "contact.address_removed", contact, address=gone.address)


def change(session: Session, viewer: Viewer, contact: Contact, **changes: str) -> None:
    """Correct a contact's `name`, `title`, `phone`, `location` or `notes`. Raises `ContactError`."""
    checked = {column: _CHECKS[column](value) for column, value in changes.items()}
    changed = {column: value for column, value in checked.items() if getattr(contact, column) != value}
    for column, value in changed.items():
        setattr(contact, column, value)
    session.flush()
    if changed:
        _record(session, viewer, "contact.changed", contact, changes=sorted(changed))


def set_organization(
    session: Session, viewer: Viewer, contact: Contact, organization: Organization | None
) -> None:
    """Say where somebody works, or that nobody knows."""
    if contact.organization_id == (organization.id if organization else None):
        return
    contact.organization_id = organization.id if organization else None
    session.flush()
    session.expire(contact, ["organization"])
    _record(session, viewer, "contact.changed", contact, changes=["organization"])


def _name(name: str) -> str:
    name = " ".join(name.split())
    if not 1 <= len(name) <= NAME_LIMIT:
        raise ContactError(f"A contact's name has 1 to {NAME_LIMIT} characters")
    return name


def _line(text: str) -> str:
    return " ".join(text.split())[:LINE_LIMIT]


_CHECKS: dict[str, Callable[[str], str]] = {
    "name": _name,
    "title": _line,
    "location": _line,
    "phone": lambda text: phones.SEPARATOR.join(phones.parse(text)),
    "notes": lambda text: text.strip()[:NOTES_LIMIT],
}


def by_address(session: Session, team_id: int, address: str) -> Contact | None:
    """The team's contact with this address."""
    return session.scalar(
        select(Contact)
        .join(ContactAddress)
        .where(ContactAddress.team_id == team_id, ContactAddress.normalized == normalize(address))
    )


def by_key(session: Session, team_id: int, key: str) -> Contact | None:
    """The team's contact with this key."""
    return session.scalar(select(Contact).where(Contact.team_id == team_id, Contact.key == key))


def known(session: Session, team_id: int, normalized: Iterable[str]) -> frozenset[str]:
    """Which of these addresses are a contact's."""
    query = select(ContactAddress.normalized).where(
        ContactAddress.team_id == team_id, ContactAddress.normalized.in_(set(normalized))
    )
    return frozenset(session.scalars(query))


def _record(session: Session, viewer: Viewer, kind: str, contact: Contact, **data: Any) -> None:
    events.record(
        session,
        viewer.team_id,
        kind,
        actor=viewer.actor,
        user_id=viewer.user_id,
        data={"contact": contact.key, **data},
    )
