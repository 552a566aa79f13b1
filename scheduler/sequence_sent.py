"""Follow-ups of a mail that has gone already, from Gmail or from here: the last of a conversation, if one's own.

Such a run follows no scheduled email; it begins where others are when theirs has gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session, joinedload, selectinload

from scheduler import replies, sequences, unsubscribed, writing
from scheduler.outbox import ScheduledEmail
from scheduler.sequences import LIVE, RunState, SequenceError, SequenceRun, Step
from tracker import filing, sharing
from tracker.addresses import written
from tracker.conversations import Thread
from tracker.mailboxes import Mailbox
from tracker.messages import Copy, Message
from tracker.people import Viewer


def last_own(session: Session, viewer: Viewer, conversation_id: int) -> Copy | None:
    """The conversation's last mail if the viewer sent it and nothing follows it up yet; two queries."""
    last = (
        select(Message.id)
        .where(Message.conversation_id == conversation_id, sharing.may_read(viewer))
        .order_by(Message.sent_at.desc(), Message.id.desc())
        .limit(1)
    )
    query = (
        select(Copy)
        .join(Mailbox, Mailbox.id == Copy.mailbox_id)
        .where(Copy.message_id == last.scalar_subquery(), Mailbox.user_id == viewer.user_id, ~Copy.hidden)
        .where(Copy.label_ids.contains(["SENT"]))
        .order_by(Copy.id)
    )
    copy = session.scalars(query.limit(1)).first()
    return copy if copy is not None and not _is_followed(session, copy) else None


def _is_followed(session: Session, copy: Copy) -> bool:
    mail = select(ScheduledEmail.id).where(ScheduledEmail.message_id == copy.message_id)
    here = (SequenceRun.mailbox_id == copy.mailbox_id) & (SequenceRun.gmail_thread_id == copy.gmail_thread_id)
    query = select(SequenceRun.id).where(
        SequenceRun.state.in_(LIVE), or_(here, SequenceRun.email_id.in_(mail.scalar_subquery()))
    )
    return session.scalars(query.limit(1)).first() is not None


def start(session: Session, viewer: Viewer, copy: Copy, steps: Sequence[Step], *, now: datetime) -> SequenceRun:
    """Follow up a mail of one's own that has gone (`last_own`) if no answer comes. Raises `SequenceError`.

    Days count from when it went; a step whose day has passed goes in the recipient's next morning.
    """
    original = writing.original(session, copy.message)
    if not original.to:
        raise SequenceError("Follow-ups need somebody in To: they go to nobody whom Bcc hides")
    recipients = list(dict.fromkeys(one.normalized for one in (*original.to, *original.cc)))
    unsubscribed.refuse_unsubscribed(session, copy.team_id, recipients)
    box = filing.first_box(session, copy.message.conversation_id)
    run = SequenceRun(
        team_id=copy.team_id, user_id=viewer.user_id, mailbox_id=copy.mailbox_id, box_id=box.id if box else None,
        subject=original.subject, to=[written(one) for one in original.to],
        cc=[written(one) for one in original.cc], recipients=recipients, state=RunState.RUNNING.value,
        began_at=copy.internal_date, last_at=copy.internal_date, gmail_thread_id=copy.gmail_thread_id,
        references=list(filter(None, replies.references(original))), next_at=now, created_at=now, version=1,
    )  # fmt: skip
    return sequences.begin(session, viewer, run, steps)


def of_conversation(
    session: Session, viewer: Viewer, conversation_id: int, *, limit: int = 5
) -> Sequence[SequenceRun]:
    """The runs in a conversation that the viewer may see, the newest first."""
    query = (
        select(SequenceRun)
        .join(
            Thread,
            (Thread.mailbox_id == SequenceRun.mailbox_id)
            & (Thread.gmail_thread_id == SequenceRun.gmail_thread_id),
        )
        .where(Thread.conversation_id == conversation_id, sequences.visible(viewer))
        .options(selectinload(SequenceRun.steps), joinedload(SequenceRun.user))
        .order_by(SequenceRun.id.desc())
    )
    return session.scalars(query.limit(limit)).all()
