"""Whereabouts: where recipients are and when they work, as the rooms of zones and calendars know it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from scheduler import due, time_zones
from scheduler.calendars import team_days
from scheduler.due import Places
from scheduler.outbox import ScheduledEmail
from scheduler.zones.evidence import Inferred
from tracker.people import User


def places() -> Places:
    """What `scheduler.due` asks; from now on waiting mail follows a contact whose zone changes."""
    time_zones.on_change(_moved)
    return Places(of_recipient, team_days.of_team)


def _moved(session: Session, contact_id: int, _inferred: Inferred, now: datetime) -> None:
    due.contact_moved(session, places(), contact_id, now)


def of_recipient(session: Session, email: ScheduledEmail, now: datetime) -> tuple[str, str | None] | None:
    """Where a mail's main recipient is."""
    user = session.get(User, email.user_id) if email.user_id is not None else None
    fallback = user.time_zone if user is not None else "UTC"
    if email.contact_id is not None:
        inferred = time_zones.of_contact(session, email.contact_id, now, fallback)
    elif email.recipients:
        inferred = time_zones.of_address(session, email.team_id, email.recipients[0], now, fallback)
    else:
        return None
    return inferred.zone, inferred.country
