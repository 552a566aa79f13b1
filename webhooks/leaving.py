"""When somebody is removed, their browsers ring no more and are known no more as our own side's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete
from sqlalchemy.orm import Session

from tracker import leaving
from tracker.leaving import Choice
from tracker.people import User, Viewer
from webhooks.bells.subscriptions import PushSubscription
from webhooks.bells.wishes import NotificationSettings
from webhooks.own_side import KnownAddress, OwnView


def tells(_: Session, __: User) -> Sequence[str]:
    """Nothing that anybody would miss."""
    return ()


def leave(session: Session, _: Viewer, user: User, __: Choice, ___: datetime) -> None:
    """Forget where they are and what rings for them; a digest is written to them no more."""
    for table in (PushSubscription, NotificationSettings, KnownAddress, OwnView):
        session.execute(delete(table).where(table.user_id == user.id))


leaving.register(leaving.Room(tells, leave))
