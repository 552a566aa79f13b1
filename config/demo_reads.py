"""What the demo's team sent in the weeks before its first start, as if Tracker had sent it, and who opened it.

The mails are the story's own, and lie in the sandbox's mailboxes; once they are read, they are found to be these.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from config.rooms import Rooms
from gmail_sync import drafts, oauth
from gmail_sync.budget import NoBudget
from gmail_sync.client import Gmail
from gmail_sync.drafts import Headers
from gmail_sync.sandbox.demo.compose import compose, sent_at
from gmail_sync.sandbox.demo.opening import program_of
from gmail_sync.sandbox.demo.story import Conversation, Mail, Story
from scheduler import letters, outbox
from scheduler.emails import ScheduledEmail, Zone
from scheduler.states import State
from tracker import mailboxes
from tracker.addresses import written
from tracker.boxes import Box
from tracker.db import transaction
from tracker.mailboxes import Mailbox
from webhooks import tracking
from webhooks.hit_record import uuid7
from webhooks.hits import Hit, Kind
from webhooks.tracking import Outgoing
from webhooks.tracks import TrackedEmail

SINCE = timedelta(days=34)
HERE = "127.0.0.1"  #: where a demo's recipients are


def seed(rooms: Rooms, story: Story, granted: Mapping[str, Mapping[str, Any]], now: datetime) -> None:
    """Note the mails of these reps (by address, with what Google granted), and who opened them."""
    for address, grant in granted.items():
        sent = _in_gmail(rooms, grant, now)
        with transaction(rooms.sessions) as session:
            mailbox = mailboxes.by_address(session, address)
            assert mailbox is not None
            for conversation, mail in _told(story, address, now):
                if found := sent.get(mail.message_id.strip("<>")):
                    _note(session, rooms, story, mailbox, conversation, mail, found, now)


def _in_gmail(rooms: Rooms, grant: Mapping[str, Any], now: datetime) -> dict[str, Headers]:
    """What a mailbox sent lately, by Message-ID."""
    credentials = oauth.credentials(oauth.authorized_user(grant))
    gmail = Gmail(credentials, rooms.gmail.google.api_url, NoBudget())
    try:
        page = gmail.list_messages(label_id="SENT", after=now - SINCE)
        found = drafts.headers(gmail, [id_ for id_, _ in page.ids])
    finally:
        gmail.close()
    return {one.rfc822_message_id: one for one in found.values() if one.rfc822_message_id}


def _told(story: Story, rep: str, now: datetime) -> Iterator[tuple[Conversation, Mail]]:
    """What this rep wrote to people outside in those weeks."""
    ours = {one.address for one in story.reps}
    for conversation in story.conversations:
        for mail in conversation.mails:
            if mail.sender == rep and mail.to[0] not in ours and sent_at(story, mail, now) > now - SINCE:
                yield conversation, mail


def _note(
    session: Session, rooms: Rooms, story: Story, mailbox: Mailbox, conversation: Conversation, mail: Mail,
    found: Headers, now: datetime,
) -> None:  # fmt: skip
    raw, at = compose(story, mail, now), sent_at(story, mail, now)
    box = _box(session, mailbox.team_id, story, conversation)
    email = _email(mailbox, raw, box, found, at, now)
    session.add(email)
    session.flush()
    outgoing = Outgoing(
        email.id, email.team_id, email.user_id, mailbox.id, email.recipients, raw, box.id if box else None
    )
    tracking.instrument(session, outgoing, rooms.post.tracks_at)
    tracking.sent(session, email.id, at)
    tracked = tracking.of_scheduled(session, email.id)
    if tracked is not None:
        session.add_all(_hits(tracked, mail, at, now))


def _box(session: Session, team_id: int, story: Story, conversation: Conversation) -> Box | None:
    name = next((one.name for one in story.boxes if conversation.key in one.conversations), None)
    return session.scalar(select(Box).where(Box.team_id == team_id, Box.name == name)) if name else None


def _email(
    mailbox: Mailbox, raw: bytes, box: Box | None, found: Headers, at: datetime, now: datetime
) -> ScheduledEmail:
    """The outbox's row of a mail that went out long ago."""
    letter = letters.read(raw)
    return ScheduledEmail(
        team_id=mailbox.team_id, mailbox_id=mailbox.id, user_id=mailbox.user_id, box_id=box.id if box else None,
        subject=letter.subject, to=[written(one) for one in letter.to],
        recipients=[*dict.fromkeys(one.normalized for one in letter.recipients)],
        snippet=" ".join(letter.text.split())[:200], text_hash=outbox.text_hash(letter),
        is_reply=letter.in_reply_to is not None, wall_time=at.replace(tzinfo=None), zone_rule=Zone.NOW.value,
        zone="UTC", due_at=at, next_at=at, resolved_at=at, created_at=at, decided_at=at, state=State.SENT.value,
        behind=False, prepared_at=at, sent_at=at, sent_gmail_id=found.id, sent_thread_id=found.thread_id,
        rfc822_message_id=found.rfc822_message_id,
    )  # fmt: skip


def _hits(tracked: TrackedEmail, mail: Mail, sent: datetime, now: datetime) -> Iterator[Hit]:
    """What came of it: a machine at once, where their program or their company has one, then a reader or none."""
    program, chance = program_of(mail.to[0]), zlib.crc32(mail.message_id.encode())
    if agent := program.scanner or program.ahead:
        yield _hit(tracked, agent, sent + timedelta(seconds=3 + chance % 5))
    read = sent + timedelta(minutes=20 + chance % 300)
    if program.pictures and chance % 6:
        views = [read, read + timedelta(hours=20 + chance % 60)][: 1 + (chance % 3 == 0)]
        yield from (_hit(tracked, program.pictures, at) for at in views if at < now)


def _hit(tracked: TrackedEmail, agent: str, at: datetime) -> Hit:
    return Hit(
        team_id=tracked.team_id, tracked_email_id=tracked.id, key=UUID(uuid7(at.timestamp())), at=at,
        kind=Kind.OPEN.value, address=HERE, agent=agent,
    )  # fmt: skip
