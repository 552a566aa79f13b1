"""Organizations: a company, and the mail domains by which its people are known."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Computed, ForeignKey, Index, UniqueConstraint, delete, func, select
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, Session, mapped_column

from tracker import events
from tracker.addresses import is_free_mail, normalize, organization_domain
from tracker.db import Base, Identified, Keyed, OfTeam, among, lock_team
from tracker.people import Viewer

NAME_LIMIT, LINE_LIMIT, NOTES_LIMIT = 200, 200, 10_000  # characters


class OrganizationError(ValueError):
    """A change of an organization can't be made; the text says why and what to do."""


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


def ensure(session: Session, team_id: int, normalized: str) -> Organization | None:
    """The organization of an address's domain, made if new; None for a free-mail provider's.

    Takes the team's lock, see `contacts.ensure`.
    """
    domain = organization_domain(normalized)
    if domain is None:
        return None
    lock_team(session, team_id)
    found = by_domain(session, team_id, domain)
    if found is not None:
        return found
    made = Organization(team_id=team_id, name=_called(domain))
    session.add(made)
    session.flush()
    _add_domain(session, made, domain)
    return made


def _called(domain: str) -> str:
    return domain.split(".")[0].replace("-", " ").title()


def name_at(session: Session, team_id: int, normalized: str) -> str:
    """What the organization of an address's domain is called, or would be (see `ensure`); empty without one."""
    domain = organization_domain(normalized)
    if domain is None:
        return ""
    found = by_domain(session, team_id, domain)
    return found.name if found is not None else _called(domain)


def named(session: Session, team_id: int, name: str) -> Organization:
    """The organization of this name (in whatever case), made if new."""
    called = func.lower(Organization.name) == name.strip().lower()
    query = select(Organization).where(Organization.team_id == team_id, called).order_by(Organization.id)
    found = session.scalars(query.limit(1)).first()
    if found is None:
        found = Organization(team_id=team_id, name=name.strip())
        session.add(found)
        session.flush()
    return found


def add(session: Session, viewer: Viewer, name: str, domain: str = "") -> Organization:
    """An organization typed in by hand. Raises `OrganizationError`, also if there is one of this name."""
    lock_team(session, viewer.team_id)
    name = _name(name)
    called = func.lower(Organization.name) == name.lower()
    if session.scalar(select(Organization.id).where(Organization.team_id == viewer.team_id, called).limit(1)):
        raise OrganizationError(f"There is an organization named {name} already")
    made = Organization(team_id=viewer.team_id, name=name)
    session.add(made)
    session.flush()
    _record(session, viewer, "organization.created", made, name=name)
    if domain:
        add_domain(session, viewer, made, domain)
    return made


def change(session: Session, viewer: Viewer, organization: Organization, **changes: str) -> None:
    """Correct an organization's `name`, `location`, `website` or `notes`. Raises `OrganizationError`."""
    checked = {column: _CHECKS[column](value) for column, value in changes.items()}
    changed = {column: value for column, value in checked.items() if getattr(organization, column) != value}
    for column, value in changed.items():
        setattr(organization, column, value)
    session.flush()
    if changed:
        _record(session, viewer, "organization.changed", organization, changes=sorted(changed))


def _name(name: str) -> str:
    name = " ".join(name.split())
    if not 1 <= len(name) <= NAME_LIMIT:
        raise OrganizationError(f"An organization's name has 1 to {NAME_LIMIT} characters")
    return name


def _website(address: str) -> str:
    address = address.strip()
    if not address:
        return ""
    address = address if "://" in address else f"https://{address}"
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and "." in (parts.hostname or "")
    except ValueError:
        good = False
    if not good or len(address) > 2000 or re.search(r"[\s<>\"]", address):
        raise OrganizationError("Expected a web address such as https://example.com")
    return address


_CHECKS: dict[str, Callable[[str], str]] = {
    "name": _name,
    "website": _website,
    "location": lambda text: " ".join(text.split())[:LINE_LIMIT],
    "notes": lambda text: text.strip()[:NOTES_LIMIT],
}


def add_domain(session: Session, viewer: Viewer, organization: Organization, typed: str) -> str:
    """Say that mail from a domain is the organization's; the domain as it is stored.

    Raises `OrganizationError` for what is no domain, for a free-mail provider's and for another organization's.
    """
    lock_team(session, viewer.team_id)
    domain = _domain(typed)
    owner = by_domain(session, viewer.team_id, domain)
    if owner is not None and owner.id != organization.id:
        raise OrganizationError(f"{domain} is a domain of {owner.name}; merge the two if they are the same")
    if owner is None:
        _add_domain(session, organization, domain)
        _record(session, viewer, "organization.domain_added", organization, domain=domain)
    return domain


def _domain(typed: str) -> str:
    """The registrable domain in whatever somebody typed: a domain, an address, a web address."""
    host = re.sub(r"^[a-z]+://", "", typed.strip().lower()).split("/")[0].rpartition("@")[2].split(":")[0]
    host = host.removeprefix("www.").rstrip(".")
    if is_free_mail(host):
        raise OrganizationError(f"Anybody can have an address at {host}, so it says nothing about a company")
    domain = organization_domain(normalize(f"x@{host}")) if len(host) <= 253 and " " not in host else None
    if domain is None:
        raise OrganizationError("Expected a mail domain such as example.com")
    return domain


def _add_domain(session: Session, organization: Organization, domain: str) -> None:
    session.add(OrganizationDomain(team_id=organization.team_id, organization_id=organization.id, domain=domain))
    session.flush()


def remove_domain(session: Session, viewer: Viewer, organization: Organization, domain: str) -> None:
    """Say that a domain is not the organization's; its people stay."""
    gone = session.execute(
        delete(OrganizationDomain)
        .where(OrganizationDomain.organization_id == organization.id, OrganizationDomain.domain == domain)
        .returning(OrganizationDomain.id)
    ).first()
    if gone is not None:
        _record(session, viewer, "organization.domain_removed", organization, domain=domain)


def by_key(session: Session, team_id: int, key: str) -> Organization | None:
    """The team's organization with this key."""
    return session.scalar(select(Organization).where(Organization.team_id == team_id, Organization.key == key))


def by_domain(session: Session, team_id: int, domain: str) -> Organization | None:
    """The team's organization with this domain."""
    return session.scalar(
        select(Organization)
        .join(OrganizationDomain)
        .where(OrganizationDomain.team_id == team_id, OrganizationDomain.domain == domain)
    )


def domains(session: Session, ids: Iterable[int]) -> dict[int, list[str]]:
    """The domains of several organizations in one query, each in the order of the alphabet."""
    found: dict[int, list[str]] = {id_: [] for id_ in ids}
    query = select(OrganizationDomain).where(among(OrganizationDomain.organization_id, found))
    for row in session.scalars(query.order_by(OrganizationDomain.domain)):
        found[row.organization_id].append(row.domain)
    return found


def of_team(session: Session, team_id: int, *, limit: int = 200) -> Sequence[Organization]:
    """The team's organizations, by name."""
    query = select(Organization).where(Organization.team_id == team_id).order_by(Organization.name)
    return session.scalars(query.limit(limit)).all()


def _record(session: Session, viewer: Viewer, kind: str, organization: Organization, **data: Any) -> None:
    events.record(
        session,
        viewer.team_id,
        kind,
        actor=viewer.actor,
        user_id=viewer.user_id,
        data={"organization": organization.key, **data},
    )
