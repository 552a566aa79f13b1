"""Places where something is withheld: greyed, at their time, with a way to ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flask import Flask, render_template
from markupsafe import Markup
from sqlalchemy import collate, select
from sqlalchemy.orm import Session

from tracker import access_requests, sharing
from tracker.boxes import Box
from tracker.conversations import Conversation
from tracker.filing import FILED, Filing
from tracker.messages import Message
from tracker.people import Viewer
from tracker.sharing import Withheld
from tracker.web import frame, timeline
from tracker.web.cursor import Cursor
from tracker.web.mails import Mail
from tracker.web.timeline import MAIL, Entry, Source, Span


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a conversation where a mail is withheld."""

    withheld: Withheld
    state: str  #: of one's own request: "open", "declined", "gone" (nobody can be asked), or empty


def places(session: Session, viewer: Viewer, found: Sequence[Withheld]) -> list[Place]:
    """These places, with what the viewer has asked for."""
    if not found:
        return []
    asked = {one.message_id: one.owner_id for one in found}
    states = access_requests.standing(session, viewer, asked, frame.now())
    return [Place(one, states.get(one.message_id, "")) for one in found]


def of_conversation(
    session: Session, viewer: Viewer, found: Sequence[Withheld], after: Cursor | None, mails: Sequence[Mail], *,
    more: bool,
) -> list[Mail | Place]:  # fmt: skip
    """A page of a conversation: its mails, and between them those places of which one is withheld; the newest
    first."""
    if after is not None:
        found = [one for one in found if one.at < after.at]
    if more and mails:
        found = [one for one in found if one.at >= mails[-1].at]
    entries: list[Mail | Place] = [*mails, *places(session, viewer, found)]
    return sorted(entries, key=lambda one: one.at if isinstance(one, Mail) else one.withheld.at, reverse=True)


def knows(session: Session, viewer: Viewer, key: str) -> Conversation | None:
    """The conversation with this key, if the viewer may know of any message of it."""
    known = select(Message.id).where(Message.conversation_id == Conversation.id, sharing.may_know(viewer))
    query = select(Conversation).where(
        Conversation.team_id == viewer.team_id, Conversation.key == key[:100].replace("\x00", ""), known.exists()
    )
    return session.scalar(query)


def _of_box(session: Session, viewer: Viewer, box: Box, span: Span) -> Sequence[Entry]:
    filed = select(Filing.conversation_id).where(Filing.box_id == box.id, Filing.state == FILED)
    within = span.within(Message.sent_at, collate(Message.key, "C"))
    found = sharing.withheld_where(session, viewer, Message.conversation_id.in_(filed), *within, limit=span.limit)
    return [
        Entry(one.withheld.at, one.withheld.message_key, html=_html(one)) for one in places(session, viewer, found)
    ]


def _html(place: Place) -> Markup:
    return Markup(render_template("sharing/_withheld.html", place=place))  # noqa: S704 - our own template


def init_app(app: Flask) -> None:
    """Show them in the timelines of boxes."""
    timeline.register(app, Source("withheld", frozenset({MAIL}), _of_box))
