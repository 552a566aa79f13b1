"""What the tests of the domain share: a team, boxes, contacts."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from config import teams
from tracker import boxes, contacts, pipelines
from tracker.addresses import Address, normalize
from tracker.boxes import Box
from tracker.contacts import Contact
from tracker.conversations import Conversation
from tracker.messages import Message
from tracker.people import User, Viewer
from tracker.pipelines import Pipeline, Stage

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)


def a_team(session: Session) -> User:
    """A team as a new one is, and its admin Alice."""
    return teams.found(session, "Test team", "alice@team.example", "Alice")


def pipeline(session: Session, team_id: int, name: str = "Sales") -> Pipeline:
    """One of the team's pipelines."""
    return next(found for found in pipelines.of_team(session, team_id) if found.name == name)


def stage(session: Session, found: Pipeline, name: str) -> Stage:
    """One of a pipeline's stages."""
    return next(one for one in pipelines.of_pipeline(session, found.id) if one.name == name)


def a_contact(session: Session, viewer: Viewer, address: str) -> Contact:
    """A contact with this address."""
    return contacts.ensure(session, viewer, Address("", address, normalize(address)))


def a_box(
    session: Session,
    viewer: Viewer,
    name: str,
    *addresses: str,
    into: str = "Sales",
    at: str | None = None,
    now: datetime = NOW,
) -> Box:
    """A box, with contacts of these addresses."""
    found = pipeline(session, viewer.team_id, into)
    made = [a_contact(session, viewer, address) for address in addresses]
    where = stage(session, found, at) if at else None
    return boxes.create(session, viewer, found, name, stage=where, contacts=made, now=now)


def conversation_of(session: Session, message_id: str) -> Conversation:
    """The conversation of the message with this Message-ID."""
    query = select(Conversation).join(Message, Message.conversation_id == Conversation.id)
    return session.scalars(query.where(Message.rfc822_message_id == message_id).limit(1)).one()
