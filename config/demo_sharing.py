"""What the demo's people share, keep back and ask for, as `demo_sharing.toml` tells it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker import access, access_requests, api_keys, invitations, people, pipelines, reading_log, sharing
from tracker.access_requests import AccessRequest
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.mailboxes import Backfill, Mailbox
from tracker.messages import Message
from tracker.people import Role, User, Viewer
from tracker.sharing import Level

TOLD = Path(__file__).with_suffix(".toml")


def seed(session: Session, users: Mapping[str, User], now: datetime) -> None:
    """What can be said before any mail is read; `users` by address."""
    told, viewers = _told(), {address: people.viewer_of(user, "demo") for address, user in users.items()}
    for one in told["key"]:
        until = now + timedelta(days=one["days"])
        api_keys.make(session, users[one["of"]], one["name"], [api_keys.Scope.READ], until, now=now, door="demo")
    for one in told["invitation"]:
        _invite(session, viewers[one["by"]], one, now)
    for one in told["private"]:
        sharing.private_add(session, viewers[one["of"]], one["value"])
    for one in told["closed"]:
        viewer = viewers[one["by"]]
        box = session.scalars(select(Box).where(Box.team_id == viewer.team_id, Box.name == one["box"])).one()
        access.arrange(session, viewer, box, access.PEOPLE, {users[one["by"]].id})


def settle(session: Session, now: datetime) -> bool:
    """What is said of mail, once, when the demo's mailboxes are read; whether there is nothing more to do."""
    team = people.first_team(session)
    if team is None or session.scalar(select(AccessRequest.id).where(AccessRequest.team_id == team.id).limit(1)):
        return True
    reading = select(Mailbox.id).where(Mailbox.team_id == team.id, Mailbox.backfill != Backfill.DONE.value)
    if session.scalar(reading.limit(1)) is not None:
        return False
    users = {user.address: user for user in people.of_team(session, team.id)}
    for kind, say in (("rule", _rule), ("grant", _grant), ("request", _request), ("reading", _reading)):
        for one in _told()[kind]:
            user, conversation = users.get(one["by"]), _conversation(session, team.id, one["conversation"])
            if user is not None and conversation is not None:  # whoever plays with the demo may have removed them
                say(session, people.viewer_of(user, "demo"), conversation, one, now)
    return True


def _told() -> Mapping[str, Any]:
    return tomllib.loads(TOLD.read_text("utf-8"))


def _invite(session: Session, viewer: Viewer, one: Mapping[str, Any], now: datetime) -> None:
    keys = [
        pipeline.key
        for pipeline in pipelines.of_team(session, viewer.team_id)
        if pipeline.name in one.get("pipelines", ())
    ]
    invitations.invite(session, viewer, one["address"], Role(one["role"]), now=now, pipelines=keys)


def _conversation(session: Session, team_id: int, subject: str) -> Conversation | None:
    query = select(Conversation).where(Conversation.team_id == team_id, Conversation.subject == subject)
    return session.scalars(query).first()


def _rule(
    session: Session, viewer: Viewer, conversation: Conversation, one: Mapping[str, Any], _now: datetime
) -> None:
    sharing.set_rule(session, viewer, conversation=conversation, outside=one["outside"], inside=Level.NOTHING)


def _grant(
    session: Session, viewer: Viewer, conversation: Conversation, one: Mapping[str, Any], _now: datetime
) -> None:
    to = people.by_address(session, one["to"])
    if to is not None:
        sharing.grant(session, viewer, to.id, conversation=conversation)


def _request(
    session: Session, viewer: Viewer, conversation: Conversation, _one: Mapping[str, Any], now: datetime
) -> None:
    if mails := _mails(session, conversation):
        access_requests.ask(session, viewer, mails[0], now)


def _reading(
    session: Session, viewer: Viewer, conversation: Conversation, one: Mapping[str, Any], now: datetime
) -> None:
    reading_log.opened(session, viewer, _mails(session, conversation)[:2], now - timedelta(hours=one["hours"]))


def _mails(session: Session, conversation: Conversation) -> Sequence[int]:
    query = select(Message.id).where(Message.conversation_id == conversation.id)
    return session.scalars(query.order_by(Message.sent_at.desc())).all()
