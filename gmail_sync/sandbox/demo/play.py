"""Puts the story into a sandbox: the reps as users, and in each mailbox what that rep sent or received."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from gmail_sync.sandbox.demo.compose import compose, sent_at
from gmail_sync.sandbox.demo.people import Rep
from gmail_sync.sandbox.demo.story import Conversation, Mail, Story, load
from gmail_sync.sandbox.labels import SYSTEM

if TYPE_CHECKING:
    from gmail_sync.sandbox import Sandbox
    from gmail_sync.sandbox.mailbox import SandboxMailbox

#: What came later than that before the start, and was not answered, is still unread.
_UNREAD = timedelta(days=4)
#: Conversations that rested longer than that have left the inbox.
_ARCHIVED = timedelta(days=75)


def load_story(sandbox: Sandbox, now: datetime, story: Story | None = None) -> None:
    """Add the reps of *story* (the shipped one if None) and their mail, told back from *now* (aware).

    All of it or nothing; a sandbox that has one of the reps already is left as it is.
    """
    story = story or load()
    if any(_is_user(sandbox, rep) for rep in story.reps):
        return
    with sandbox.store.transaction():
        mailboxes = {rep.address: sandbox.add_user(rep.address, rep.name) for rep in story.reps}
        for conversation, mail in in_order(story, now):
            raw = compose(story, mail, now)
            for address in sorted({mail.sender, *mail.recipients} & mailboxes.keys()):
                _insert(mailboxes[address], raw, story, conversation, mail, now)


def in_order(story: Story, now: datetime) -> list[tuple[Conversation, Mail]]:
    """Every mail with its conversation, oldest first."""
    mails = ((conversation, mail) for conversation in story.conversations for mail in conversation.mails)
    return sorted(mails, key=lambda pair: (sent_at(story, pair[1], now), pair[1].message_id))


def _is_user(sandbox: Sandbox, rep: Rep) -> bool:
    try:
        sandbox.mailbox(rep.address)
    except KeyError:
        return False
    return True


def _insert(
    mailbox: SandboxMailbox, raw: bytes, story: Story, conversation: Conversation, mail: Mail, now: datetime
) -> None:
    """Put one mail into one of the mailboxes that it was sent from or came to."""
    names = labels(story, conversation, mail, mailbox.address, now)
    mailbox.insert(raw, label_ids=_label_ids(mailbox, names), internal_date=sent_at(story, mail, now))


def _label_ids(mailbox: SandboxMailbox, names: Iterable[str]) -> list[str]:
    """The ids of the labels with *names*; the user's own are made where they are missing."""
    return [name if name in SYSTEM else mailbox.labels.id_of(name, create=True) or "" for name in names]


def labels(story: Story, conversation: Conversation, mail: Mail, reader: str, now: datetime) -> list[str]:
    """The names of the labels that *mail* has in the mailbox of *reader* when the demo starts at *now*."""
    if mail.sender == reader:
        return ["SENT"]
    names = list(mail.labels)
    if not _is_archived(story, conversation, now):
        names.append("INBOX")
    if _is_unread(story, conversation, mail, reader, now):
        names.append("UNREAD")
    if mail.starred:
        names.append("STARRED")
    if mail.important:
        names.append("IMPORTANT")
    return names


def _is_archived(story: Story, conversation: Conversation, now: datetime) -> bool:
    """Whether *conversation* has left the inbox: its rep put it away, or it is old."""
    last = max(sent_at(story, mail, now) for mail in conversation.mails)
    return conversation.archived or now - last > _ARCHIVED


def _is_unread(story: Story, conversation: Conversation, mail: Mail, reader: str, now: datetime) -> bool:
    """Whether *mail* came lately, and its *reader* has written nothing in its conversation since."""
    at = sent_at(story, mail, now)
    answered = any(other.sender == reader and sent_at(story, other, now) > at for other in conversation.mails)
    return now - at < _UNREAD and not answered
