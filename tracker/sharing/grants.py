"""Grants: an owner lets one person read a conversation, all mail with an address, or what is in a pipeline."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from tracker import conversations, events, people
from tracker.addresses import normalize
from tracker.conversations import Conversation
from tracker.db import lock_team, new_key
from tracker.people import User, Viewer
from tracker.pipelines import Pipeline
from tracker.sharing import rules
from tracker.sharing.levels import SharingError
from tracker.sharing.tables import Grant


def grant(
    session: Session,
    viewer: Viewer,
    to_user_id: int,
    *,
    conversation: Conversation | None = None,
    address: str | None = None,
    pipeline: Pipeline | None = None,
) -> Grant:
    """Let a teammate read the viewer's own mail, in exactly one of these places; granting again changes nothing.

    A conversation and an address reach the person wherever they find it; a pipeline only in boxes that they may
    see. No grant opens what the owner's private list keeps. Raises `SharingError`.
    """
    to = _teammate(session, viewer, to_user_id)
    place = _place(session, viewer, conversation, address, pipeline)
    lock_team(session, viewer.team_id)
    query = select(Grant).where(Grant.owner_id == viewer.user_id, Grant.user_id == to.id)
    found = session.scalar(query.filter_by(**place))
    if found is not None:
        return found
    made = Grant(team_id=viewer.team_id, owner_id=viewer.user_id, user_id=to.id, **place)
    session.add(made)
    session.flush()
    _tell(session, viewer, "sharing.grant", made, to)
    return made


def withdraw_grant(session: Session, viewer: Viewer, key: str) -> bool:
    """Take back what the viewer granted; whether there was any."""
    found = session.scalar(select(Grant).where(Grant.key == key[:100], Grant.owner_id == viewer.user_id))
    if found is None:
        return False
    _tell(session, viewer, "sharing.withdrawn", found, session.get_one(User, found.user_id))
    session.delete(found)
    session.flush()
    return True


def grants_by(session: Session, user_id: int) -> Sequence[Grant]:
    """What somebody granted, the newest first."""
    return session.scalars(select(Grant).where(Grant.owner_id == user_id).order_by(Grant.id.desc())).all()


def forget_person(session: Session, user_id: int) -> None:
    """Whoever leaves takes no grant along, neither what they got nor what they gave."""
    gone = delete(Grant).where(or_(Grant.user_id == user_id, Grant.owner_id == user_id))
    session.execute(gone, execution_options={"synchronize_session": False})


def _teammate(session: Session, viewer: Viewer, user_id: int) -> User:
    team = people.of_team(session, viewer.team_id)
    found = next((user for user in team if user.id == user_id), None)
    if found is None or viewer.user_id is None or user_id == viewer.user_id:
        raise SharingError("A grant goes from one teammate to another")
    return found


def _place(
    session: Session,
    viewer: Viewer,
    conversation: Conversation | None,
    address: str | None,
    pipeline: Pipeline | None,
) -> dict[str, int | str]:
    if [conversation, address, pipeline].count(None) != 2:
        raise SharingError("A grant is for a conversation, an address or a pipeline")
    if conversation is not None:
        if not rules.holds_any(session, viewer, conversation.id):
            raise SharingError("None of your mailboxes holds mail of this conversation")
        return {"conversation_id": conversation.id}
    if pipeline is not None:
        # The owner need not see the pipeline: their mail is filed there by others.
        if pipeline.team_id != viewer.team_id:
            raise SharingError("There is no such pipeline")
        return {"pipeline_id": pipeline.id}
    assert address is not None
    normalized = normalize(address[:320].replace("\x00", ""))
    if "@" not in normalized:
        raise SharingError("That is no e-mail address")
    if normalized in people.own_addresses(session, viewer.team_id):
        # Else what two teammates write to one another would be opened by one of them, all at once.
        raise SharingError("That is an address of the team’s own")
    return {"address": normalized}


def _tell(session: Session, viewer: Viewer, kind: str, found: Grant, to: User) -> None:
    """The address is not told: the log is read by more people than the owner's list of grants."""
    scope = "conversation" if found.conversation_id else "contact" if found.address else "pipeline"
    data = {"to": to.key, "scope": scope}
    if found.pipeline_id is not None:
        data["pipeline"] = session.get_one(Pipeline, found.pipeline_id).key
    events.record(
        session,
        viewer.team_id,
        kind,
        actor=viewer.actor,
        user_id=viewer.user_id,
        conversation_id=found.conversation_id,
        data=data,
    )


def _before_merge(session: Session, loser: int, survivor: int) -> None:
    """Two conversations become one: a grant gives no more than it said.

    It stays where both were granted, or where the other holds no mail of the owner's; else it ends, and the owner
    can be asked again.
    """
    other = {loser: survivor, survivor: loser}
    owners = {one: rules.owners_of(session, one) for one in other}
    found = session.scalars(select(Grant).where(Grant.conversation_id.in_(tuple(other))).order_by(Grant.id)).all()
    given = {(one.owner_id, one.user_id, one.conversation_id) for one in found}
    for one in found:
        there = other[one.conversation_id or survivor]
        twin = (one.owner_id, one.user_id, there) in given
        if (twin and one.conversation_id == loser) or (not twin and one.owner_id in owners[there]):
            session.delete(one)
        else:
            one.conversation_id = survivor
    session.flush()


def _follow_split(session: Session, conversation_id: int, made: Sequence[int]) -> None:
    for one in session.scalars(select(Grant).where(Grant.conversation_id == conversation_id)).all():
        session.add_all(
            Grant(
                key=new_key(),
                team_id=one.team_id,
                owner_id=one.owner_id,
                user_id=one.user_id,
                conversation_id=part,
                said_at=one.said_at,
            )
            for part in made
        )
    session.flush()


conversations.before_merge.append(_before_merge)
conversations.on_split.append(_follow_split)
