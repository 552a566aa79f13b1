"""Teams, users and the viewer: who asks, in which team, through which door."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, UniqueConstraint, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from tracker import events
from tracker.addresses import normalize
from tracker.db import Base, Identified, Keyed, OfTeam


class Role(StrEnum):
    """What a user may do in the team."""

    ADMIN = "admin"
    MEMBER = "member"
    GUEST = "guest"


class Team(Keyed, Base):
    """The organisation."""

    __tablename__ = "teams"

    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class User(OfTeam, Keyed, Base):
    """A person who signs in with Google."""

    __tablename__ = "users"
    __table_args__ = (UniqueConstraint("normalized"),)

    address: Mapped[str]
    normalized: Mapped[str]
    name: Mapped[str]
    role: Mapped[str] = mapped_column(server_default=Role.MEMBER.value)
    google_subject: Mapped[str | None]  #: OpenID Connect `sub`, learnt at the first sign-in
    time_zone: Mapped[str] = mapped_column(server_default="UTC")  #: IANA name; where the person's day begins
    signed_in_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class OwnAddress(OfTeam, Identified, Base):
    """An address that is the team's own: a user's, a mailbox's, an alias. Mail from it is outgoing."""

    __tablename__ = "own_addresses"
    __table_args__ = (UniqueConstraint("team_id", "normalized"),)

    normalized: Mapped[str]
    #: Whoever leaves, their mail of the past stays the team's own.
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))


@dataclass(frozen=True, slots=True)
class Viewer:
    """This user, in this team, by this door. The first argument wherever rights matter."""

    team_id: int
    user_id: int | None
    role: Role
    door: str  #: web, api, panel, cli, or the name of system work

    @property
    def is_system(self) -> bool:
        """Work that no person asked for."""
        return self.user_id is None

    @property
    def actor(self) -> str:
        """The kind of actor in an event."""
        return events.SYSTEM if self.is_system else events.PERSON


def system_viewer(team_id: int, door: str) -> Viewer:
    """The viewer of system work, named by its door."""
    return Viewer(team_id, None, Role.ADMIN, door)


def viewer_of(user: User, door: str) -> Viewer:
    """The viewer for a signed-in user."""
    return Viewer(user.team_id, user.id, Role(user.role), door)


def create_team(session: Session, name: str) -> Team:
    """Found a team."""
    team = Team(name=name)
    session.add(team)
    session.flush()
    events.record(session, team.id, "team.created", data={"name": name})
    return team


def add_user(session: Session, team_id: int, address: str, *, name: str = "", role: Role = Role.MEMBER) -> User:
    """Add a user; the address is from now on the team's own."""
    user = User(
        team_id=team_id, address=address, normalized=normalize(address), name=name or address, role=role.value
    )
    session.add(user)
    session.flush()
    own_address(session, team_id, address, user.id)
    events.record(session, team_id, "user.added", user_id=user.id, data={"role": role.value})
    return user


def own_address(session: Session, team_id: int, address: str, user_id: int | None) -> None:
    """Say that an address is the team's own."""
    normalized = normalize(address)
    query = select(OwnAddress.id).where(OwnAddress.team_id == team_id, OwnAddress.normalized == normalized)
    if session.scalar(query) is None:
        session.add(OwnAddress(team_id=team_id, normalized=normalized, user_id=user_id))
        session.flush()


def own_addresses(session: Session, team_id: int) -> frozenset[str]:
    """The normal forms of the team's own addresses."""
    return frozenset(session.scalars(select(OwnAddress.normalized).where(OwnAddress.team_id == team_id)))


def first_team(session: Session) -> Team | None:
    """The team that was founded first."""
    return session.scalar(select(Team).order_by(Team.id).limit(1))


def by_address(session: Session, address: str) -> User | None:
    """The user with this address, in whichever team."""
    return session.scalar(select(User).where(User.normalized == normalize(address)))


def by_key(session: Session, key: str) -> User | None:
    """The user with this key."""
    return session.scalar(select(User).where(User.key == key))


def of_team(session: Session, team_id: int) -> Sequence[User]:
    """The team's users, by name."""
    return session.scalars(select(User).where(User.team_id == team_id).order_by(User.name)).all()
