"""Teams, users and the viewer: who asks, in which team, through which door."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    ForeignKey,
    Index,
    UniqueConstraint,
    column,
    delete,
    exists,
    func,
    or_,
    select,
    table,
    text,
    update,
)  # fmt: skip
from sqlalchemy.orm import Mapped, Session, mapped_column

from tracker import events, topics
from tracker.addresses import normalize
from tracker.db import Base, Identified, Keyed, OfTeam


class Role(StrEnum):
    """What a user may do in the team."""

    ADMIN = "admin"
    MEMBER = "member"
    GUEST = "guest"


class PeopleError(ValueError):
    """Somebody can't be changed so; the text is for whoever asked."""


class Team(Keyed, Base):
    """The organisation."""

    __tablename__ = "teams"

    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class User(OfTeam, Keyed, Base):
    """A person who signs in with Google. Who comes back after they were removed is another row: a newcomer."""

    __tablename__ = "users"
    __table_args__ = (
        # A person belongs to one team.
        Index("uq_users_normalized", "normalized", unique=True, postgresql_where=text("removed_at IS NULL")),
        Index("ix_users_team_id", "team_id"),
    )

    address: Mapped[str]
    normalized: Mapped[str]
    name: Mapped[str]
    role: Mapped[str] = mapped_column(server_default=Role.MEMBER.value)
    google_subject: Mapped[str | None]  #: OpenID Connect `sub`, learnt at the first sign-in
    time_zone: Mapped[str] = mapped_column(server_default="UTC")  #: IANA name; where the person's day begins
    workspace: Mapped[str | None]  #: the Workspace domain of their Google account (`hd`), learnt at sign-in
    signed_in_at: Mapped[datetime | None]
    removed_at: Mapped[datetime | None]  #: signs in no more, and is in no list to choose from; their name stays
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class OwnAddress(OfTeam, Identified, Base):
    """An address that is the team's own: a user's, a mailbox's, an alias. Mail from it is outgoing."""

    __tablename__ = "own_addresses"
    __table_args__ = (UniqueConstraint("team_id", "normalized"),)

    normalized: Mapped[str]
    #: Whoever leaves, their mail of the past stays the team's own.
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))


#: Called with (session, user) when somebody joins, for the first time or again.
on_join: list[Callable[[Session, User], None]] = []


@dataclass(frozen=True, slots=True)
class Viewer:
    """This user, in this team, by this door. The first argument wherever rights matter."""

    team_id: int
    user_id: int | None
    role: Role
    door: str  #: web, api, panel, cli, or the name of system work
    #: Which kinds of words about sharing there are for them (letters of `tracker.sharing.said`), asked when first
    #: wanted: what nobody said need not be looked for in every statement. None: anything may have been said.
    said: Callable[[], str] | None = field(default=None, compare=False, repr=False)

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
    """Add a user; but for a guest's, the address is from now on the team's own."""
    user = User(
        team_id=team_id, address=address, normalized=normalize(address), name=name or address, role=role.value
    )
    session.add(user)
    session.flush()
    if role != Role.GUEST:  # a client's mail is mail with an outsider, whatever they are let into
        own_address(session, team_id, address, user.id)
    for follow in on_join:
        follow(session, user)
    events.record(session, team_id, "user.added", user_id=user.id, data={"role": role.value})
    return user


def own_address(session: Session, team_id: int, address: str, user_id: int | None) -> None:
    """Say that an address is the team's own. One of somebody who left becomes its new user's."""
    normalized = normalize(address)
    query = select(OwnAddress).where(OwnAddress.team_id == team_id, OwnAddress.normalized == normalized)
    found = session.scalar(query)
    if found is None:
        session.add(OwnAddress(team_id=team_id, normalized=normalized, user_id=user_id))
        session.flush()
    elif found.user_id is None or session.get_one(User, found.user_id).removed_at is not None:
        found.user_id = user_id


def _disown(session: Session, user: User) -> None:
    """The address of somebody who is a guest now is an outsider's, unless a mailbox of it is connected here."""
    boxes = table("mailboxes", column("user_id"), column("normalized"), column("left_at"))
    held = exists().where(
        boxes.c.user_id == user.id, boxes.c.normalized == OwnAddress.normalized, boxes.c.left_at.is_(None)
    )
    session.execute(delete(OwnAddress).where(OwnAddress.user_id == user.id, ~held))


def own_addresses(session: Session, team_id: int) -> frozenset[str]:
    """The normal forms of the team's own addresses."""
    return frozenset(session.scalars(select(OwnAddress.normalized).where(OwnAddress.team_id == team_id)))


def first_team(session: Session) -> Team | None:
    """The team that was founded first."""
    return session.scalar(select(Team).order_by(Team.id).limit(1))


def by_address(session: Session, address: str) -> User | None:
    """The user with this address, in whichever team."""
    query = select(User).where(User.normalized == normalize(address), User.removed_at.is_(None))
    return session.scalar(query)


def by_account(session: Session, subject: str, address: str) -> User | None:
    """The user whose Google account this is, whatever its address is by now; else the one with the address."""
    its = User.google_subject == subject
    query = select(User).where(its | (User.normalized == normalize(address)), User.removed_at.is_(None))
    return session.scalars(query.order_by(its.desc().nulls_last(), User.id).limit(1)).first()


def by_key(session: Session, key: str, *, removed: bool = False) -> User | None:
    """The user with this key; with `removed`, somebody who was removed too."""
    found = session.scalar(select(User).where(User.key == key))
    return found if found is None or removed or found.removed_at is None else None


def of_team(session: Session, team_id: int, *, removed: bool = False) -> Sequence[User]:
    """The team's users, by name, to choose from. With `removed`, everybody who ever was, to name what they did."""
    query = select(User).where(User.team_id == team_id).order_by(User.name, User.id)
    return session.scalars(query if removed else query.where(User.removed_at.is_(None))).all()


def was_removed(session: Session, team_id: int, address: str, subject: str) -> bool:
    """Whether this person, by their address or their Google account, was removed from the team."""
    same = or_(User.normalized == normalize(address), User.google_subject == subject)
    query = select(User.id).where(User.team_id == team_id, User.removed_at.is_not(None), same)
    return session.scalar(query.limit(1)) is not None


def change_role(session: Session, viewer: Viewer, user: User, role: Role) -> None:
    """Make somebody an admin, a member or a guest. Raises `PeopleError`: a team keeps an admin."""
    _must_be_admin(viewer, user)
    if user.role == role:
        return
    if role != Role.ADMIN:
        keep_an_admin(session, user)
    before, user.role = user.role, role.value
    data = {"user": user.key, "role": role.value, "was": before}
    events.record(session, user.team_id, "user.role", actor=viewer.actor, user_id=viewer.user_id, data=data)
    session.flush()
    topics.tell(session, user.team_id, ["access"])
    if role == Role.GUEST:
        _disown(session, user)
    elif before == Role.GUEST:
        own_address(session, user.team_id, user.address, user.id)


def hold_member(session: Session, user: User) -> None:
    """Hold somebody who may have a mailbox, to the commit. Raises `PeopleError`: removed meanwhile, or a guest."""
    # Who is being removed at this moment gets nothing behind the removal's back.
    query = select(User.role).where(User.id == user.id, User.removed_at.is_(None)).with_for_update(read=True)
    role = session.scalar(query)
    if role is None:
        raise PeopleError("You are not in the team any more, so no mailbox is connected")
    if role == Role.GUEST:
        raise PeopleError("Guests connect no mailbox; ask an admin of the team to make you a member")


def move_address(session: Session, user: User, address: str) -> None:
    """Google has given somebody's account another address: it is theirs here too; the old one stays the team's."""
    if by_address(session, address) is not None:
        return  # somebody else's here: they go on under the address that we know
    user.address, user.normalized = address, normalize(address)
    session.flush()
    if user.role != Role.GUEST:
        own_address(session, user.team_id, address, user.id)
    events.record(session, user.team_id, "user.address", actor=events.PERSON, user_id=user.id)


def forget_google(session: Session, viewer: Viewer, user: User) -> None:
    """Let somebody sign in with another Google account of the same address: theirs was deleted and made anew."""
    _must_be_admin(viewer, user)
    if user.google_subject is None:
        return
    user.google_subject = user.workspace = None
    session.flush()
    data = {"user": user.key}
    events.record(session, user.team_id, "user.google", actor=viewer.actor, user_id=viewer.user_id, data=data)


def keep_an_admin(session: Session, user: User) -> None:
    """Raise `PeopleError` if the team's last admin is about to be none. Holds all admins until the commit."""
    # Two admins who demote one another at once: the second waits here, and no longer finds the first. Whoever only
    # names an admin in a row of theirs (a mail that is just claimed, an event) does not wait, nor we for them.
    query = select(User.id).where(
        User.team_id == user.team_id, User.role == Role.ADMIN.value, User.removed_at.is_(None)
    )
    others = [
        one for one in session.scalars(query.order_by(User.id).with_for_update(key_share=True)) if one != user.id
    ]
    if user.role == Role.ADMIN and not others:
        raise PeopleError(f"{user.name} is the only admin; make somebody else an admin first")


def remove(session: Session, viewer: Viewer, user: User, now: datetime) -> None:
    """Remove somebody. What else goes with them is `tracker.leaving`'s. Raises `PeopleError`."""
    _must_be_admin(viewer, user)
    keep_an_admin(session, user)
    gone = update(User).where(User.id == user.id, User.removed_at.is_(None)).values(removed_at=now)
    if session.scalar(gone.returning(User.id), execution_options={"synchronize_session": False}) is None:
        raise PeopleError(f"{user.name} was removed already")
    session.refresh(user)
    data = {"user": user.key, "name": user.name}
    events.record(session, user.team_id, "user.removed", actor=viewer.actor, user_id=viewer.user_id, data=data)


def _must_be_admin(viewer: Viewer, user: User) -> None:
    if user.team_id != viewer.team_id or viewer.role != Role.ADMIN:
        raise PermissionError("Only an admin of the team changes who is in it")
