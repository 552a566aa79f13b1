"""Contacts and organizations: a person and a company, from mail or typed in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Computed, ForeignKey, Index, UniqueConstraint, func, select
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from tracker import events
from tracker.addresses import Address, normalize, organization_domain, person_name
from tracker.db import Base, Identified, Keyed, OfTeam, lock_team
from tracker.people import Viewer


class Organization(OfTeam, Keyed, Base):
    """A company."""

    __tablename__ = "organizations"
    __table_args__ = (
        Index("ix_organizations_team_id_name", "team_id", "name"),
        Index("ix_organizations_search", "search", postgresql_using="gin"),
    )

    name: Mapped[str]
    location: Mapped[str] = mapped_column(server_default="")
    website: Mapped[str] = mapped_column(server_default="")
    notes: Mapped[str] = mapped_column(server_default="")
    search: Mapped[Any] = mapped_column(
        TSVECTOR, Computed("to_tsvector('simple'::regconfig, name)", persisted=True), deferred=True
    )
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class OrganizationDomain(OfTeam, Identified, Base):
    """A mail domain of an organization; never one of a free-mail provider."""

    __tablename__ = "organization_domains"
    __table_args__ = (UniqueConstraint("team_id", "domain"),)

    organization_id: Mapped[int] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"), index=True)
    domain: Mapped[str]


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
    phone: Mapped[str] = mapped_column(server_default="")  #: E.164 where it could be read
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
    """A contact's address; one contact each in a team."""

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
    lock_team(session, viewer.team_id)
    found = by_address(session, viewer.team_id, address.normalized)
    if found is not None:
        if phone and not found.phone:
            found.phone = phone
        return found
    organization = ensure_organization(session, viewer.team_id, address.normalized)
    contact = Contact(
        team_id=viewer.team_id,
        name=person_name(address),
        organization_id=organization.id if organization else None,
        phone=phone,
    )
    session.add(contact)
    session.flush()
    session.add(
        ContactAddress(
            team_id=viewer.team_id,
            contact_id=contact.id,
            address=address.address,
            normalized=address.normalized,
        )
    )
    session.flush()
    events.record(
        session,
        viewer.team_id,
        "contact.created",
        actor=viewer.actor,
        user_id=viewer.user_id,
        data={"contact": contact.key, "name": contact.name},
    )
    return contact


def ensure_organization(session: Session, team_id: int, normalized: str) -> Organization | None:
    """The organization of an address's domain, made if new; None for a free-mail provider's.

    Takes the team's lock, see `ensure`.
    """
    domain = organization_domain(normalized)
    if domain is None:
        return None
    lock_team(session, team_id)
    found = session.scalar(
        select(Organization)
        .join(OrganizationDomain)
        .where(OrganizationDomain.team_id == team_id, OrganizationDomain.domain == domain)
    )
    if found is not None:
        return found
    made = Organization(team_id=team_id, name=domain.split(".")[0].replace("-", " ").title())
    session.add(made)
    session.flush()
    session.add(OrganizationDomain(team_id=team_id, organization_id=made.id, domain=domain))
    session.flush()
    return made


def organization_named(session: Session, team_id: int, name: str) -> Organization:
    """The organization of this name (in whatever case), made if new."""
    named = func.lower(Organization.name) == name.strip().lower()
    query = select(Organization).where(Organization.team_id == team_id, named).order_by(Organization.id)
    found = session.scalars(query.limit(1)).first()
    if found is None:
        found = Organization(team_id=team_id, name=name.strip())
        session.add(found)
        session.flush()
    return found


def change(session: Session, viewer: Viewer, contact: Contact, **changes: str) -> None:
    """Correct a contact's `name`, `phone` or `location`."""
    for column, value in changes.items():
        setattr(contact, column, value)
    session.flush()
    data = {"contact": contact.key, "changes": sorted(changes)}
    events.record(
        session, viewer.team_id, "contact.changed", actor=viewer.actor, user_id=viewer.user_id, data=data
    )


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


def organization_by_key(session: Session, team_id: int, key: str) -> Organization | None:
    """The team's organization with this key."""
    return session.scalar(select(Organization).where(Organization.team_id == team_id, Organization.key == key))


def known(session: Session, team_id: int, normalized: Iterable[str]) -> frozenset[str]:
    """Which of these addresses are a contact's."""
    query = select(ContactAddress.normalized).where(
        ContactAddress.team_id == team_id, ContactAddress.normalized.in_(set(normalized))
    )
    return frozenset(session.scalars(query))


def organizations(session: Session, team_id: int, *, limit: int = 200) -> Sequence[Organization]:
    """The team's organizations, by name."""
    query = select(Organization).where(Organization.team_id == team_id).order_by(Organization.name)
    return session.scalars(query.limit(limit)).all()
