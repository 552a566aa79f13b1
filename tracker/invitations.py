"""Invitations: who may join a team, by e-mail address or by the Workspace domain of their Google account.

Nobody is mailed by us: the invited person signs in with Google as that address; nothing else opens the invitation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ForeignKey, Index, Select, UniqueConstraint, func, or_, select, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from tracker import access, events, people
from tracker.addresses import Address, parse_addresses
from tracker.boxes import Box
from tracker.db import Base, Identified, Keyed, OfTeam, utc_now
from tracker.people import PeopleError, Role, Team, User, Viewer
from tracker.pipelines import Pipeline

LASTS = timedelta(days=14)
MOST_BOXES = 100  # that one guest is invited to
MOST = 500  # invitations of a team that wait at the same time
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{1,62}")


class Invitation(OfTeam, Keyed, Base):
    """Somebody who may join; waiting until accepted, withdrawn or expired."""

    __tablename__ = "invitations"
    __table_args__ = (
        Index(
            "uq_invitations_waiting", "team_id", "normalized", unique=True,
            postgresql_where=text("accepted_at IS NULL AND withdrawn_at IS NULL"),
        ),
        Index("ix_invitations_normalized", "normalized"),
    )  # fmt: skip

    address: Mapped[str]
    normalized: Mapped[str]
    role: Mapped[str]
    #: Keys of the pipelines and boxes that a guest is let into.
    pipelines: Mapped[list[str]] = mapped_column(server_default="{}")
    boxes: Mapped[list[str]] = mapped_column(server_default="{}")
    invited_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    accepted_at: Mapped[datetime | None]
    accepted_by_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
    withdrawn_at: Mapped[datetime | None]


class AllowedDomain(OfTeam, Identified, Base):
    """A Workspace domain whose people join as members by signing in."""

    __tablename__ = "allowed_domains"
    __table_args__ = (UniqueConstraint("team_id", "domain"), Index("ix_allowed_domains_domain", "domain"))

    domain: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


def invite(
    session: Session, viewer: Viewer, address: str, role: Role, *, now: datetime,
    pipelines: Sequence[str] = (), boxes: Sequence[str] = (),
) -> Invitation:  # fmt: skip
    """Invite somebody, or again with another role; their fourteen days begin now. Raises `PeopleError`."""
    _must_be_admin(viewer)
    found = _normalized(address)
    known = people.by_address(session, found.normalized)
    if known is not None and known.team_id == viewer.team_id:
        raise PeopleError(f"{known.name} is in the team already")
    made = _waiting(session, viewer.team_id, found.normalized) or Invitation(
        team_id=viewer.team_id, normalized=found.normalized
    )
    made.address, made.role, made.invited_by_id = found.address, role.value, viewer.user_id
    guest = role == Role.GUEST
    made.pipelines, made.boxes = (list(pipelines), list(boxes)) if guest else ([], [])
    made.created_at, made.expires_at = now, now + LASTS
    session.add(made)
    session.flush()
    _bound(session, viewer, now)
    _record(session, viewer, "user.invited", made)
    return made


def invite_to_box(session: Session, viewer: Viewer, address: str, box: Box, *, now: datetime) -> Invitation | None:
    """Invite a guest to a single box, beside what they are invited to already; None for a guest who is here.

    They are named in it. Raises `PeopleError`, also for somebody who is, or is to be, more than a guest.
    """
    _must_be_admin(viewer)
    normalized = _normalized(address).normalized
    known = people.by_address(session, normalized)
    if known is not None and known.team_id == viewer.team_id and known.role == Role.GUEST:
        access.name(session, viewer, box, known)
        return None
    waiting = _waiting(session, viewer.team_id, normalized)
    if waiting is not None and waiting.expires_at <= now:
        waiting = None  # what it was for is over
    if waiting is not None and waiting.role != Role.GUEST:
        raise PeopleError(f"{waiting.address} is invited as {waiting.role} already; withdraw that first")
    pipelines, boxes = (waiting.pipelines, waiting.boxes) if waiting is not None else ([], [])
    boxes = list(dict.fromkeys([*boxes, box.key]))
    if len(boxes) > MOST_BOXES:
        raise PeopleError(f"They are invited to {MOST_BOXES} boxes; a pipeline may be what you want")
    return invite(session, viewer, address, Role.GUEST, now=now, pipelines=pipelines, boxes=boxes)


def _normalized(address: str) -> Address:
    found = parse_addresses([address.replace("\x00", "")[:320]])
    if len(found) != 1 or "@" not in found[0].normalized:
        raise PeopleError("Give one e-mail address, such as anna@example.com")
    return found[0]


def _waiting(session: Session, team_id: int, normalized: str) -> Invitation | None:
    return session.scalar(
        select(Invitation)
        .where(
            Invitation.team_id == team_id,
            Invitation.normalized == normalized,
            Invitation.accepted_at.is_(None),
            Invitation.withdrawn_at.is_(None),
        )
        .with_for_update()
    )


def _bound(session: Session, viewer: Viewer, now: datetime) -> None:
    if len(of_team(session, viewer.team_id, now)) > MOST:
        raise PeopleError(f"{MOST} people are invited and have not come; withdraw some of those")


def of_team(session: Session, team_id: int, now: datetime) -> Sequence[Invitation]:
    """Who is invited and has not come yet; expired ones are told for another fourteen days."""
    query = select(Invitation).where(
        Invitation.team_id == team_id,
        Invitation.accepted_at.is_(None),
        Invitation.withdrawn_at.is_(None),
        Invitation.expires_at > now - LASTS,
    )
    return session.scalars(query.order_by(Invitation.address)).all()


def by_key(session: Session, viewer: Viewer, key: str) -> Invitation | None:
    """One of the team's that still waits."""
    query = select(Invitation).where(Invitation.key == key, Invitation.team_id == viewer.team_id)
    waiting = query.where(Invitation.accepted_at.is_(None), Invitation.withdrawn_at.is_(None))
    return session.scalar(waiting.with_for_update())


def withdraw(session: Session, viewer: Viewer, found: Invitation, now: datetime) -> None:
    """Take an invitation back."""
    _must_be_admin(viewer)
    found.withdrawn_at = now
    _record(session, viewer, "user.uninvited", found)


def withdraw_of(session: Session, viewer: Viewer, user: User, now: datetime) -> None:
    """Somebody leaves: whom they had invited and who has not come, and whatever would let them in again."""
    _must_be_admin(viewer)
    theirs = or_(Invitation.invited_by_id == user.id, Invitation.normalized == user.normalized)
    for one in session.scalars(_unsettled(user.team_id).where(theirs).with_for_update()).all():
        withdraw(session, viewer, one, now)


def _unsettled(team_id: int) -> Select[Invitation]:
    waiting = Invitation.accepted_at.is_(None) & Invitation.withdrawn_at.is_(None)
    return select(Invitation).where(Invitation.team_id == team_id, waiting).order_by(Invitation.id)


def settle(session: Session, user: User) -> None:
    """Who is in the team, by whichever door, needs no invitation any more: none is left to walk in by again."""
    for one in session.scalars(_unsettled(user.team_id).where(Invitation.normalized == user.normalized)):
        one.accepted_at, one.accepted_by_id = utc_now(), user.id
    session.flush()


people.on_join.append(settle)


def to_address(session: Session, normalized: str, now: datetime) -> Sequence[Invitation]:
    """What somebody with this address may accept, in whichever team, the oldest first."""
    query = select(Invitation).where(
        Invitation.normalized == normalized,
        Invitation.accepted_at.is_(None),
        Invitation.withdrawn_at.is_(None),
        Invitation.expires_at > now,
    )
    return session.scalars(query.order_by(Invitation.id).with_for_update()).all()


def accept(session: Session, found: Invitation, address: str, name: str, now: datetime) -> User:
    """The invited person came; they are a user from now on."""
    user = people.add_user(session, found.team_id, address, name=name, role=Role(found.role))
    found.accepted_at, found.accepted_by_id = now, user.id
    data = {"user": user.key, "address": found.address}
    events.record(session, found.team_id, "user.joined", actor=events.PERSON, user_id=user.id, data=data)
    _name_guest(session, found, user)
    return user


def _name_guest(session: Session, found: Invitation, user: User) -> None:
    """A guest is named in what they were invited to, as far as it is still there."""
    viewer = people.system_viewer(found.team_id, "invitation")
    whole = select(Pipeline).where(Pipeline.team_id == found.team_id, Pipeline.key.in_(found.pipelines))
    single = select(Box).where(Box.team_id == found.team_id, Box.key.in_(found.boxes))
    for pipeline in session.scalars(whole).all() if found.pipelines else ():
        access.name(session, viewer, pipeline, user)
    for box in session.scalars(single).all() if found.boxes else ():
        access.name(session, viewer, box, user)


# -- Workspace domains


def may_allow(session: Session, team_id: int) -> list[str]:
    """The domains that a team may open itself to: those of its own admins' Google accounts.

    Otherwise one team could call another firm's people to itself.
    """
    query = select(User.workspace).where(
        User.team_id == team_id,
        User.role == Role.ADMIN.value,
        User.removed_at.is_(None),
        User.workspace.is_not(None),
    )
    return sorted({str(one) for one in session.scalars(query)})


def allow(session: Session, viewer: Viewer, domain: str) -> None:
    """Let everybody with a Google account of this Workspace domain join as a member. Raises `PeopleError`."""
    _must_be_admin(viewer)
    domain = domain.strip().lower().rstrip(".")
    if not _DOMAIN.fullmatch(domain):
        raise PeopleError("Give a domain such as example.com")
    if not viewer.is_system and domain not in may_allow(session, viewer.team_id):
        raise PeopleError(f"No admin of the team signs in with a Google Workspace account of {domain}")
    if domain not in allowed(session, viewer.team_id):
        session.add(AllowedDomain(team_id=viewer.team_id, domain=domain))
        session.flush()
        _record_domain(session, viewer, "team.domain_allowed", domain)


def disallow(session: Session, viewer: Viewer, domain: str) -> None:
    """Nobody joins by this domain any more; those who did stay."""
    _must_be_admin(viewer)
    query = select(AllowedDomain).where(AllowedDomain.team_id == viewer.team_id, AllowedDomain.domain == domain)
    found = session.scalar(query)
    if found is not None:
        session.delete(found)
        _record_domain(session, viewer, "team.domain_disallowed", domain)


def allowed(session: Session, team_id: int) -> Sequence[str]:
    """The domains whose people join by themselves."""
    query = select(AllowedDomain.domain).where(AllowedDomain.team_id == team_id)
    return session.scalars(query.order_by(AllowedDomain.domain)).all()


def by_domain(session: Session, domain: str) -> Team | None:
    """The team that this domain's people join; None where two would have them: they need an invitation."""
    query = select(Team).join(AllowedDomain, AllowedDomain.team_id == Team.id)
    found = session.scalars(query.where(AllowedDomain.domain == domain.lower()).limit(2)).all()
    return found[0] if len(found) == 1 else None


def _must_be_admin(viewer: Viewer) -> None:
    if viewer.role != Role.ADMIN:
        raise PermissionError("Only an admin of the team says who may join it")


def _record(session: Session, viewer: Viewer, kind: str, found: Invitation) -> None:
    data = {"address": found.address, "role": found.role}
    events.record(session, viewer.team_id, kind, actor=viewer.actor, user_id=viewer.user_id, data=data)


def _record_domain(session: Session, viewer: Viewer, kind: str, domain: str) -> None:
    events.record(
        session, viewer.team_id, kind, actor=viewer.actor, user_id=viewer.user_id, data={"domain": domain}
    )
