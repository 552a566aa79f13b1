"""What a notification says, made when it is shown or sent: nothing of mail that its reader may not read."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from tracker import access, sharing
from tracker.boxes import Box
from tracker.contacts import Contact, ContactAddress
from tracker.db import among
from tracker.events import PERSON, Event
from tracker.mailboxes import Mailbox
from tracker.messages import Message
from tracker.people import OwnAddress, User
from webhooks.bells.kinds import ABOUT, OF_MAIL, Kind
from webhooks.bells.notices import Notification
from webhooks.tracks import Confidence, TrackedEmail

log = logging.getLogger(__name__)

TITLE, BODY = 120, 240  # characters: a push holds 4096 bytes in all (RFC 8030 §7.2)
LISTED = 3  # titles in a summary
SUMMARY_TAG = "tracker-summary"


@dataclass(frozen=True, slots=True)
class Said:
    """A notification in words."""

    notification: Notification
    title: str
    body: str
    at: str = ""  #: the page that it ends on, as far as that is known here

    @property
    def path(self) -> str:
        """Where it leads to; whoever goes there has seen it."""
        return f"/bell/{self.notification.key}"

    @property
    def icon(self) -> str:
        """Its symbol."""
        return ABOUT[Kind(self.notification.kind)].icon

    @property
    def urgent(self) -> bool:
        """Whether a device that saves power is to wake."""
        return ABOUT[Kind(self.notification.kind)].urgent

    def ring(self) -> dict[str, Any]:
        """What the service worker, the page and `tracker notify` show."""
        return {
            "title": self.title,
            "body": self.body,
            "url": self.path,
            "tag": self.notification.tag,
            "at": self.at,
        }


def summary(said: Sequence[Said]) -> dict[str, Any]:
    """Several as one to show."""
    lines = [one.title for one in said[-LISTED:]]
    if len(said) > LISTED:
        lines.append(f"and {len(said) - LISTED} more")
    return {
        "title": f"{len(said)} more things to know", "body": "\n".join(lines)[: BODY * 2],
        # With its last one: a later summary is another, and rings though this one is still shown.
        "url": f"/bell?upto={said[-1].notification.key}", "tag": SUMMARY_TAG,
    }  # fmt: skip


def say(session: Session, notifications: Sequence[Notification], users: Mapping[int, User]) -> list[Said]:
    """These in words, in their order, without those whose reader (in `users`, by id) may not read their mail,
    and without reads and clicks that turned out to be none.

    One that can't be put into words is left out, and keeps nothing else back.
    """
    about = _About(session, notifications, users)
    said = []
    for one in notifications:
        if about.stands(one) and about.may_be_told(one):
            try:
                title, body = _SAYERS[Kind(one.kind)](about, one)
            except Exception:
                log.exception("There are no words for the notification %s (%s)", one.id, one.kind)
                continue
            said.append(Said(one, _cut(title, TITLE), _cut(body, BODY), about.page(one)))
    return said


def _cut(text: str, limit: int) -> str:
    text = " ".join(text.replace("\x00", "").split())
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"


class _About:
    """What the words are made of, read at once for many notifications."""

    def __init__(self, session: Session, notifications: Sequence[Notification], users: Mapping[int, User]) -> None:
        self._session = session
        self.events = self._by_id(Event, [one.event_id for one in notifications])
        self.boxes = self._by_id(Box, [one.box_id for one in notifications])
        self.tracked = self._by_id(TrackedEmail, [one.tracked_email_id for one in notifications])
        ids = [one.message_id for one in notifications] + [one.message_id for one in self.tracked.values()]
        self.messages = self._by_id(Message, ids)
        self.mailboxes = self._by_id(Mailbox, [event.mailbox_id for event in self.events.values()])
        self.allowed = self._allowed(notifications, users)
        self.seen = self._seen(users)
        self.people = self._people()
        self.answers = self._answers([one.message_id for one in notifications if one.kind == Kind.ANSWER])
        self.names = self._names()

    def _by_id(self, model: Any, ids: Iterable[int | None]) -> dict[int, Any]:
        wanted = {id_ for id_ in ids if id_}
        if not wanted:
            return {}
        return {one.id: one for one in self._session.scalars(select(model).where(among(model.id, wanted)))}

    def _allowed(self, notifications: Sequence[Notification], users: Mapping[int, User]) -> set[tuple[int, int]]:
        asked: dict[User, set[int]] = defaultdict(set)
        for one in notifications:
            if one.message_id is not None:
                asked[users[one.user_id]].add(one.message_id)
            elif (tracked := self.tracked.get(one.tracked_email_id or 0)) and tracked.message_id:
                asked[users[one.user_id]].add(tracked.message_id)
        return sharing.allowed(self._session, asked)

    def _seen(self, users: Mapping[int, User]) -> set[tuple[int, int]]:
        return access.watchers(self._session, set(self.boxes), users.values())

    def may_be_told(self, one: Notification) -> bool:
        """Whether its reader may (still) read the mail, or see the box, that it is about."""
        reads = one.message_id is None or (one.user_id, one.message_id) in self.allowed
        return reads and (one.box_id is None or one.kind in OF_MAIL or self._box(one) is not None)

    def _box(self, one: Notification) -> Any:
        """Its box, if its reader may (still) see that."""
        return self.boxes.get(one.box_id or 0) if (one.user_id, one.box_id) in self.seen else None

    def _answers(self, ids: Sequence[int | None]) -> set[int]:
        """Which of these mails came into a conversation in which somebody of ours had written."""
        if not ids:
            return set()
        came, before = aliased(Message), aliased(Message)
        query = (
            select(came.id)
            .join(before, (before.conversation_id == came.conversation_id) & (before.sent_at <= came.sent_at))
            .join(
                OwnAddress,
                (OwnAddress.team_id == before.team_id) & (OwnAddress.normalized == before.sender_normalized),
            )
            .where(among(came.id, ids))
            .distinct()
        )
        return set(self._session.scalars(query))

    def _people(self) -> dict[int, str]:
        ids = {event.user_id for event in self.events.values() if event.user_id and event.actor == PERSON}
        query = select(User.id, User.name).where(among(User.id, ids))
        return {row[0]: row[1] for row in self._session.execute(query)} if ids else {}

    def _names(self) -> dict[tuple[int, str], str]:
        """The names of those to whom one mail each went, and who answered."""
        wanted = {one.recipients[0] for one in self.tracked.values() if len(one.recipients) == 1}
        wanted |= {one.sender_normalized for one in self.messages.values()}
        if not wanted:
            return {}
        query = (
            select(ContactAddress.team_id, ContactAddress.normalized, Contact.name)
            .join(Contact, Contact.id == ContactAddress.contact_id)
            .where(among(ContactAddress.normalized, wanted))
        )
        return {(team_id, address): name for team_id, address, name in self._session.execute(query) if name}

    def stands(self, one: Notification) -> bool:
        """Whether a read or click that it tells of is still held for one; what was seen stays as it was."""
        tracked = self.tracked.get(one.tracked_email_id or 0)
        if (
            tracked is None
            or one.seen_at is not None
            or one.kind not in (Kind.READ, Kind.READ_AGAIN, Kind.CLICKED)
        ):
            return True
        return bool(tracked.still_stands(clicked=one.kind == Kind.CLICKED))

    def data(self, one: Notification) -> dict[str, Any]:
        """What the event holds."""
        event = self.events.get(one.event_id)
        return event.data if event is not None else {}

    def actor(self, one: Notification) -> str:
        """Who did it."""
        event = self.events.get(one.event_id)
        if event is None or event.actor != PERSON:
            return "A rule"
        return self.people.get(event.user_id or 0, "Somebody")

    def box(self, one: Notification) -> str:
        """The name of its box; nothing if it has none."""
        found = self._box(one)
        return str(found.name) if found is not None and found.deleted_at is None else ""

    def page(self, one: Notification) -> str:
        """The path of its box's page."""
        found = self._box(one)
        return f"/b/{found.key}" if found is not None and one.kind != Kind.TROUBLE else ""

    def mail(self, one: Notification) -> str:
        """The mail by its subject, if there is one that may be read."""
        tracked = self.tracked.get(one.tracked_email_id or 0)
        message_id = one.message_id or (tracked.message_id if tracked else None)
        message = self.messages.get(message_id or 0)
        if message is None or (one.user_id, message.id) not in self.allowed:
            return "your mail"
        return f"“{message.subject}”" if message.subject else "your mail without a subject"

    def reader(self, one: Notification) -> str:
        """Who opened it, where that can be known: a mail to several people doesn't say."""
        tracked = self.tracked.get(one.tracked_email_id or 0)
        if tracked is None or not tracked.recipients:
            return "Somebody"
        if len(tracked.recipients) > 1:
            return f"One of {len(tracked.recipients)}"
        address = tracked.recipients[0]
        return self.names.get((one.team_id, address), str(address))


Words = tuple[str, str]


def _points(*parts: object) -> str:
    return " · ".join(str(part) for part in parts if part)


def _read(about: _About, one: Notification) -> Words:
    data = about.data(one)
    surely = "" if data.get("confidence") == Confidence.CERTAIN else "probably "
    days = data.get("again_after_days")
    again = f" again, after {days} days" if days else " again" if one.kind == Kind.READ_AGAIN else ""
    via = f"Through {data['via']}" if data.get("via") else ""
    return f"{about.reader(one)} {surely}read {about.mail(one)}{again}", _points(via, about.box(one))


def _clicked(about: _About, one: Notification) -> Words:
    times = f"{one.count} clicks" if one.count > 1 else ""
    host = about.data(one).get("host")
    return f"{about.reader(one)} clicked a link in {about.mail(one)}", _points(host, times, about.box(one))


def _answer(about: _About, one: Notification) -> Words:
    message = about.messages.get(one.message_id or 0)
    if message is None:
        return "An answer came in", about.box(one)
    address = message.sender_normalized
    who = about.names.get((one.team_id, address)) or message.sender_name or message.sender_address or "Somebody"
    answers = message.id in about.answers
    more = f"{one.count} {'answers' if answers else 'mails'}" if one.count > 1 else ""
    title = f"{who} {'answered' if answers else 'wrote'} {about.mail(one)}"
    return title, _points(more, about.box(one), message.snippet)


def _queued(about: _About, one: Notification) -> Words:
    event, data = about.events.get(one.event_id), about.data(one)
    subject = f"“{data['subject']}”" if data.get("subject") else "Your mail"
    to = f"To {data['to']}" if data.get("to") else ""
    titles = {
        "email.sent": f"{subject} went out",
        "email.failed": f"{subject} could not be sent",
        "email.held": f"{subject} is held back",
        "email.uncertain": f"Nobody knows whether {subject} went out",
        "email.cancelled": f"{subject} does not go out",
    }
    return titles.get(event.kind if event else "", f"Look at {subject}"), _points(data.get("why"), to)


def _mention(about: _About, one: Notification) -> Words:
    box = about.box(one)
    return f"{about.actor(one)} mentioned you" + (f" on {box}" if box else ""), ""


def _task(about: _About, one: Notification) -> Words:
    return f"Due: {about.data(one).get('title') or 'a task'}", about.box(one)


def _assigned(about: _About, one: Notification) -> Words:
    what = f"{one.count} boxes" if one.thing.startswith("many:") else about.box(one) or "a box"
    return f"{about.actor(one)} gave you {what}", ""


def _moved(about: _About, one: Notification) -> Words:
    data = about.data(one)
    if one.thing.startswith("many:"):
        return f"{about.actor(one)} moved {one.count} boxes of yours", ""
    way = f"from {data.get('from')} to {data.get('to')}"
    return f"{about.actor(one)} moved {about.box(one) or 'a box of yours'} {way}", str(data.get("why") or "")


def _mailbox(about: _About, one: Notification) -> Words:
    event = about.events.get(one.event_id)
    mailbox = about.mailboxes.get((event.mailbox_id if event else None) or 0)
    whose = mailbox.address if mailbox is not None else "A mailbox of yours"
    return f"{whose} needs your attention", str(about.data(one).get("reason") or "")


def _asked(about: _About, one: Notification) -> Words:
    return (
        f"{about.actor(one)} asks to see {about.mail(one)}",
        "Share the conversation or more, or keep it to yourself",
    )


def _answered_access(about: _About, one: Notification) -> Words:
    who = about.actor(one) if about.data(one).get("named") else "A teammate"
    if about.data(one).get("scope") == "decline":
        return f"{who} keeps the mail that you asked for to themselves", ""
    mail = about.mail(one)
    return f"{who} lets you read {mail if mail.startswith('“') else 'the mail that you asked for'}", ""


def _answer_asked(about: _About, one: Notification) -> Words:
    return f"{about.actor(one)} asks you to answer {about.mail(one)}", _points(
        about.data(one).get("text"), about.box(one)
    )


_SAYERS: dict[Kind, Callable[[_About, Notification], Words]] = {
    Kind.READ: _read,
    Kind.READ_AGAIN: _read,
    Kind.CLICKED: _clicked,
    Kind.ANSWER: _answer,
    Kind.TROUBLE: _queued,
    Kind.SENT: _queued,
    Kind.MENTION: _mention,
    Kind.TASK: _task,
    Kind.ASSIGNED: _assigned,
    Kind.MOVED: _moved,
    Kind.MOVED_BY_RULE: _moved,
    Kind.MAILBOX: _mailbox,
    Kind.ACCESS_ASKED: _asked,
    Kind.ACCESS_ANSWERED: _answered_access,
    Kind.ANSWER_ASKED: _answer_asked,
}
