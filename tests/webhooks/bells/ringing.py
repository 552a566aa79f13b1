"""What the tests of the bells share: a worker's bells by hand, tracked mail, and things that happen."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from tests.tracker.domain import NOW
from tests.tracker.web.factories_web import a_mail
from tracker import events, readers
from tracker.boxes import Box
from tracker.db import Sessions, plain_url, transaction
from tracker.mailboxes import Mailbox
from tracker.messages import Message
from tracker.people import User
from tracker.secrets import Cipher
from webhooks.bells import subscriptions, telling
from webhooks.bells.bells import Bells
from webhooks.bells.deliveries import PushDelivery
from webhooks.bells.notices import Notification
from webhooks.bells.subscriptions import PushSubscription
from webhooks.tracks import TrackedEmail

CIPHER = Cipher(b"tracker web push", "k" * 40)


class Ringing:
    """Bells of a worker whose rounds and whose clock the test makes."""

    def __init__(self, sessions: Sessions, engine: Engine) -> None:
        self.sessions, self.clock = sessions, NOW
        self.url = plain_url(engine.url.render_as_string(hide_password=False))
        self.bells = self.worker()
        with transaction(sessions) as session:
            readers.begin(session, telling.READER)

    def worker(self, threads: int = 0) -> Bells:
        """Another worker's."""
        return Bells(
            self.sessions, self.url, CIPHER, lambda: self.clock, contact="mailto:admin@team.example", private=True,
            threads=threads,
        )  # fmt: skip

    def later(self, **span: float) -> datetime:
        """Let time pass."""
        self.clock += timedelta(**span)
        return self.clock

    def work(self) -> None:
        """Rounds until there is nothing left to do now."""
        for _ in range(50):
            if not self.bells.step():
                return
        raise AssertionError("it never ends")

    def close(self) -> None:
        """Nothing is left running."""
        self.bells.stop()

    # -- what there is

    def switch_on(self, user: User, keys: dict[str, str]) -> PushSubscription:
        """A browser of this user."""
        with transaction(self.sessions) as session:
            return subscriptions.subscribe(
                session, session.get_one(User, user.id), label="Test", private=True, now=self.clock, **keys
            )

    def told(self, user: User | None = None) -> list[Notification]:
        """The notifications, the oldest first."""
        with transaction(self.sessions) as session:
            query = select(Notification).order_by(Notification.id)
            return list(session.scalars(query if user is None else query.where(Notification.user_id == user.id)))

    def deliveries(self) -> list[PushDelivery]:
        """The deliveries, the oldest first."""
        with transaction(self.sessions) as session:
            return list(session.scalars(select(PushDelivery).order_by(PushDelivery.id)))

    # -- what happens

    def happen(self, team_id: int, kind: str, **columns: Any) -> None:
        """An event, in a transaction of its own."""
        with transaction(self.sessions) as session:
            events.record(session, team_id, kind, **{"at": self.clock, **columns})

    def read(self, tracked: TrackedEmail, kind: str = "email.read", **data: Any) -> None:
        """Somebody reads a tracked mail."""
        told = {"tracked": tracked.key, "first": True, "confidence": "likely", "via": "Gmail’s proxy", "views": 1}
        self.happen(
            tracked.team_id, kind, actor=events.SYSTEM, box_id=tracked.box_id, message_id=tracked.message_id,
            conversation_id=tracked.conversation_id, mailbox_id=tracked.mailbox_id, data=told | data,
        )  # fmt: skip


def tracked_mail(
    session: Session, sender: User, mailbox: Mailbox, *, subject: str = "Your proposal", box: Box | None = None,
    to: tuple[str, ...] = ("charlie@acme.test",),
) -> TrackedEmail:  # fmt: skip
    """A mail of ours to somebody outside, as it is in the store, and its tracking."""
    conversation = a_mail(session, mailbox, subject, sender=sender.address, to=to, labels=("SENT",))
    query = select(Message).where(Message.conversation_id == conversation.id)
    message = session.scalars(query).one()
    tracked = TrackedEmail(
        team_id=sender.team_id, user_id=sender.id, mailbox_id=mailbox.id, message_id=message.id,
        conversation_id=conversation.id, box_id=box.id if box else None, recipients=list(to),
        sent_at=message.sent_at, views=1, clicked=1,
    )  # fmt: skip
    session.add(tracked)
    session.flush()
    return tracked
