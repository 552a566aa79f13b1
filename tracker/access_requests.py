"""Requests for access: somebody sees that a mail is there and asks its owner to see it; the owner answers once.

Until then nobody learns more than they knew. What is not even known to exist can't be asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, delete, func, or_, select, text, update
from sqlalchemy.orm import Mapped, Session, aliased, mapped_column

from tracker import access, conversations, events, leaving, people, sharing
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.db import Base, Keyed, OfTeam, among
from tracker.filing import FILED, Filing
from tracker.messages import Message, recipients_of
from tracker.people import User, Viewer
from tracker.pipelines import Pipeline

MOST_A_DAY = 20  # that one person may ask within a day
AGAIN_AFTER = timedelta(days=7)  # when who was declined may ask again
DAY = timedelta(days=1)


class RequestState(StrEnum):
    """Where a request stands."""

    OPEN = "open"
    GRANTED = "granted"
    DECLINED = "declined"


class Scope(StrEnum):
    """What the owner answers."""

    CONVERSATION = "conversation"
    CONTACT = "contact"
    PIPELINE = "pipeline"
    DECLINE = "decline"


class RequestError(Exception):
    """It can't be asked or answered; the text says why, in words for people."""


class AccessRequest(OfTeam, Keyed, Base):
    """One person asks another to see a conversation."""

    __tablename__ = "access_requests"
    __table_args__ = (
        CheckConstraint("state in ('open', 'granted', 'declined')", name="state"),
        Index(
            "uq_access_requests_open", "asker_id", "owner_id", "conversation_id", unique=True,
            postgresql_where=text("state = 'open'"),
        ),
        Index("ix_access_requests_owner_id_state", "owner_id", "state", "id"),
        Index("ix_access_requests_asker_id_asked_at", "asker_id", "asked_at"),
    )  # fmt: skip

    asker_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    owner_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    conversation_id: Mapped[int] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"), index=True)
    #: The mail that was asked for; with it goes the request.
    message_id: Mapped[int] = mapped_column(ForeignKey("messages.id", ondelete="CASCADE"), index=True)
    state: Mapped[str] = mapped_column(server_default=RequestState.OPEN.value)
    scope: Mapped[str | None]  #: a `Scope`, once it is answered; one that lapsed was answered by nobody
    named: Mapped[bool] = mapped_column(server_default="true")  #: the asker may know whom they asked
    asked_at: Mapped[datetime]
    answered_at: Mapped[datetime | None]


def ask(session: Session, viewer: Viewer, message_id: int, now: datetime) -> AccessRequest | None:
    """Ask the owner of a mail that the viewer knows of, and may not read, to see its conversation.

    The open request, if there is one already; None if the viewer knows of no such mail. Raises `RequestError`.
    """
    query = select(Message).where(Message.id == message_id, sharing.may_know(viewer), ~sharing.may_read(viewer))
    message = session.scalar(query)
    decided = sharing.why(session, viewer, [message.id]).get(message.id) if message is not None else None
    if message is None or decided is None or decided.owner_id is None or viewer.user_id is None:
        return None
    owner = session.get_one(User, decided.owner_id)
    if owner.removed_at is not None:
        raise RequestError("There is nobody to ask: its text went with its owner.")
    # One person's requests one after the other: the limits hold whatever they send at once.
    session.execute(select(User.id).where(User.id == viewer.user_id).with_for_update())
    found = _latest(session, viewer, owner.id, message.conversation_id)
    if found is not None and found.state == RequestState.OPEN:
        return found
    _may_ask(session, viewer, message, now)
    # Who got a blind copy is not told by asking, nor by answering.
    named = decided.because.startswith(owner.name)
    made = AccessRequest(
        team_id=viewer.team_id, asker_id=viewer.user_id, owner_id=owner.id, message_id=message.id,
        conversation_id=message.conversation_id, asked_at=now, named=named,
    )  # fmt: skip
    session.add(made)
    session.flush()
    events.record(
        session, viewer.team_id, "access.requested", actor=viewer.actor, user_id=viewer.user_id,
        conversation_id=message.conversation_id, message_id=message.id,
        data={"request": made.key, "user": owner.key},
    )  # fmt: skip
    return made


def _latest(session: Session, viewer: Viewer, owner_id: int, conversation_id: int) -> AccessRequest | None:
    query = select(AccessRequest).where(
        AccessRequest.asker_id == viewer.user_id, AccessRequest.owner_id == owner_id,
        AccessRequest.conversation_id == conversation_id,
    )  # fmt: skip
    return session.scalar(query.order_by(AccessRequest.id.desc()).limit(1))


def _may_ask(session: Session, viewer: Viewer, message: Message, now: datetime) -> None:
    mine = AccessRequest.asker_id == viewer.user_id
    declined = select(func.max(AccessRequest.answered_at)).where(
        mine, AccessRequest.conversation_id == message.conversation_id,
        AccessRequest.state == RequestState.DECLINED.value, AccessRequest.scope.is_not(None),
    )  # fmt: skip
    last = session.scalar(declined)
    if last is not None and last > now - AGAIN_AFTER:
        raise RequestError("They declined. You can ask again a week after their answer.")
    asked = select(func.count()).where(mine, AccessRequest.asked_at > now - DAY)
    if (session.scalar(asked) or 0) >= MOST_A_DAY:
        raise RequestError(f"You asked {MOST_A_DAY} times today. Ask again tomorrow, or talk to them.")


@dataclass(frozen=True, slots=True)
class Place:
    """A pipeline that an answer can be for."""

    id: int
    key: str
    name: str


@dataclass(frozen=True, slots=True)
class Choices:
    """What the owner can answer beside the conversation and no."""

    address: str | None  #: the person outside, in the normal form
    pipelines: Sequence[Place]  #: those that the conversation is filed in


@dataclass(frozen=True, slots=True)
class Shown:
    """What the owner was shown when they decided: no answer gives more."""

    address: str = ""
    pipelines: Collection[str] = ()  #: keys


def choices(session: Session, viewer: Viewer, requests: Sequence[AccessRequest]) -> dict[int, Choices]:
    """What requests to the viewer can be answered with, by their ids, in a fixed number of queries."""
    ids = [one.message_id for one in requests]
    if not ids:
        return {}
    own, got = people.own_addresses(session, viewer.team_id), recipients_of(session, ids)
    mails = {one.id: one for one in session.scalars(select(Message).where(among(Message.id, ids)))}
    pipelines = _pipelines(session, viewer, [one.conversation_id for one in mails.values()])
    found = {}
    for request in requests:
        message = mails[request.message_id]
        named = [message.sender_normalized, *(one.normalized for one in got[message.id] if one.kind != "reply-to")]
        address = next((one for one in named if one and one not in own), None)
        found[request.id] = Choices(address, pipelines.get(message.conversation_id, []))
    return found


def _pipelines(session: Session, viewer: Viewer, conversation_ids: Sequence[int]) -> dict[int, list[Place]]:
    """The pipelines that conversations are filed in, as far as the viewer sees the boxes."""
    query = (
        select(Filing.conversation_id, Pipeline.id, Pipeline.key, Pipeline.name)
        .join(Box, Box.id == Filing.box_id)
        .join(Pipeline, Pipeline.id == Box.pipeline_id)
        .where(
            among(Filing.conversation_id, conversation_ids), Filing.state == FILED, Box.deleted_at.is_(None),
            access.may_see(viewer),
        )
        .distinct()
        .order_by(Pipeline.id)
    )  # fmt: skip
    found: dict[int, list[Place]] = {}
    for conversation_id, id_, key, name in session.execute(query):
        found.setdefault(conversation_id, []).append(Place(id_, key, name))
    return found


def answer(
    session: Session,
    viewer: Viewer,
    request: AccessRequest,
    scope: Scope,
    now: datetime,
    shown: Shown | None = None,
) -> Sequence[str]:
    """The owner answers, once; the names of the pipelines that were given: those shown that are still offered.

    Raises `RequestError` if it was answered, or the scope is not to be had.
    """
    state = RequestState.DECLINED if scope == Scope.DECLINE else RequestState.GRANTED
    settled = session.scalar(
        update(AccessRequest)
        .where(
            AccessRequest.id == request.id, AccessRequest.owner_id == viewer.user_id,
            AccessRequest.state == RequestState.OPEN.value,
        )
        .values(state=state.value, scope=scope.value, answered_at=now)
        .returning(AccessRequest.id)
        .execution_options(synchronize_session=False)
    )  # fmt: skip
    if settled is None:
        raise RequestError("This was answered already.")
    session.refresh(request)
    given = _grant(session, viewer, request, scope, shown or Shown())
    asker = session.get_one(User, request.asker_id)
    events.record(
        session, viewer.team_id, "access.answered", actor=viewer.actor, user_id=viewer.user_id,
        conversation_id=request.conversation_id, message_id=request.message_id,
        data={"request": request.key, "user": asker.key, "scope": scope.value, "named": request.named},
    )  # fmt: skip
    return given


def _grant(session: Session, viewer: Viewer, request: AccessRequest, scope: Scope, shown: Shown) -> Sequence[str]:
    to, offered = request.asker_id, choices(session, viewer, [request])[request.id]
    if scope == Scope.CONVERSATION:
        # As it is now: the mail may have come into another conversation since it was asked for.
        message = session.get_one(Message, request.message_id)
        sharing.grant(session, viewer, to, conversation=session.get_one(Conversation, message.conversation_id))
    elif scope == Scope.CONTACT:
        if offered.address is None:
            raise RequestError("Nobody outside the team is in this mail. Answer for the conversation.")
        if offered.address != shown.address:
            raise RequestError(f"This mail is with {offered.address} now. Look again, and answer once more.")
        sharing.grant(session, viewer, to, address=offered.address)
    elif scope == Scope.PIPELINE:
        places = [one for one in offered.pipelines if one.key in shown.pipelines]
        if not places:
            raise RequestError(
                "This conversation is no longer in a pipeline that you were shown. Answer once more."
            )
        for one in places:
            sharing.grant(session, viewer, to, pipeline=session.get_one(Pipeline, one.id))
        return [one.name for one in places]
    return ()


def of_owner(session: Session, viewer: Viewer, key: str) -> AccessRequest | None:
    """A request to the viewer, by its key."""
    query = select(AccessRequest).where(AccessRequest.key == key[:100], AccessRequest.owner_id == viewer.user_id)
    return session.scalar(query)


def waiting(session: Session, viewer: Viewer) -> int:
    """How many wait for the viewer's answer."""
    query = select(func.count()).where(
        AccessRequest.owner_id == viewer.user_id, AccessRequest.state == RequestState.OPEN.value
    )
    return session.scalar(query) or 0


def to_owner(session: Session, viewer: Viewer, *, limit: int = 50) -> list[tuple[AccessRequest, str]]:
    """What waits for the viewer's answer, and what they answered last, with who asked."""
    asker = aliased(User)
    query = (
        select(AccessRequest, asker.name)
        .join(asker, asker.id == AccessRequest.asker_id)
        .where(AccessRequest.owner_id == viewer.user_id)
        .order_by(AccessRequest.state != RequestState.OPEN.value, AccessRequest.id.desc())
    )
    return [(one, name) for one, name in session.execute(query.limit(limit))]


def of_asker(session: Session, viewer: Viewer, *, limit: int = 50) -> list[tuple[AccessRequest, str]]:
    """What the viewer asked for, with whom they asked as far as they may know; the newest first."""
    owner = aliased(User)
    query = (
        select(AccessRequest, owner.name)
        .join(owner, owner.id == AccessRequest.owner_id)
        .where(AccessRequest.asker_id == viewer.user_id)
        .order_by(AccessRequest.id.desc())
    )
    return [(one, name if one.named else "A teammate") for one, name in session.execute(query.limit(limit))]


def standing(session: Session, viewer: Viewer, asked: Mapping[int, int], now: datetime) -> dict[int, str]:
    """How the viewer's requests stand, for messages (with whom to ask): "open", "declined" in the last week, or
    "gone": whoever could be asked has left."""
    if not asked:
        return {}
    query = (
        select(
            Message.id, AccessRequest.owner_id, AccessRequest.state, AccessRequest.scope, AccessRequest.answered_at
        )
        .join(AccessRequest, AccessRequest.conversation_id == Message.conversation_id)
        .where(among(Message.id, asked), AccessRequest.asker_id == viewer.user_id)
        .order_by(AccessRequest.id)
    )
    found: dict[int, str] = {}
    for id_, owner_id, state, scope, answered_at in session.execute(query):
        recent = scope is not None and answered_at is not None and answered_at > now - AGAIN_AFTER
        if (state == RequestState.OPEN and owner_id == asked[id_]) or (state == RequestState.DECLINED and recent):
            found[id_] = state
    left = select(User.id).where(among(User.id, set(asked.values())), User.removed_at.is_not(None))
    gone = set(session.scalars(left))
    return found | {id_: "gone" for id_, owner_id in asked.items() if owner_id in gone}


def _follow_merge(session: Session, loser: int, survivor: int) -> None:
    """Two conversations became one: where somebody has asked in both, once is enough."""
    other = aliased(AccessRequest)
    same = (
        select(other.id)
        .where(
            other.conversation_id == survivor, other.asker_id == AccessRequest.asker_id,
            other.owner_id == AccessRequest.owner_id, other.state == RequestState.OPEN.value,
        )
        .correlate(AccessRequest)
    )  # fmt: skip
    session.execute(
        delete(AccessRequest)
        .where(
            AccessRequest.conversation_id == loser, AccessRequest.state == RequestState.OPEN.value, same.exists()
        )
        .execution_options(synchronize_session=False)
    )
    moved = update(AccessRequest).where(AccessRequest.conversation_id == loser)
    session.execute(moved.values(conversation_id=survivor).execution_options(synchronize_session=False))


def _follow_split(session: Session, _conversation_id: int, made: Sequence[int]) -> None:
    """A conversation came apart: a request goes where the mail is that was asked for."""
    moved = (
        update(AccessRequest)
        .where(AccessRequest.message_id == Message.id, among(Message.conversation_id, made))
        .values(conversation_id=Message.conversation_id)
    )
    session.execute(moved.execution_options(synchronize_session=False))


def _lapse(session: Session, _viewer: Viewer, user: User, _choice: leaving.Choice, now: datetime) -> None:
    """Somebody leaves: nobody answers what they were asked, and nobody waits for what they asked."""
    theirs = or_(AccessRequest.owner_id == user.id, AccessRequest.asker_id == user.id)
    ended = update(AccessRequest).where(theirs, AccessRequest.state == RequestState.OPEN.value)
    ended = ended.values(state=RequestState.DECLINED.value, answered_at=now)
    session.execute(ended.execution_options(synchronize_session=False))


conversations.on_merge.append(_follow_merge)
conversations.on_split.append(_follow_split)
leaving.register(leaving.Room(lambda _session, _user: (), _lapse))
