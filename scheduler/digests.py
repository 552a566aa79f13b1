"""The digest: what somebody has not seen yet, as a mail to themselves through their own mailbox.

What is in it is written down in the transaction that queues the mail: each thing is in one digest, whoever dies.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from scheduler import letters, local_time, outbox
from scheduler.emails import Guard
from scheduler.letters import Letter
from scheduler.outbox import About, When, Zone
from tracker import mailboxes
from tracker.mailboxes import Mailbox
from tracker.people import User, viewer_of
from webhooks.bells import notices, wishes, words
from webhooks.bells.notices import Notification
from webhooks.bells.wishes import Digest, NotificationSettings
from webhooks.bells.words import Said

log = logging.getLogger(__name__)

AT_ONCE = 20  # people, of one transaction
MOST = 40  # things told in one mail
LOOKED_AT = 500  # what is beyond is in the next one


def write_due(session: Session, public_url: str, now: datetime) -> list[int]:
    """Queue the digests that are due; returns the mailboxes whose drafts are to be made.

    At most `AT_ONCE` people are looked at, and each has another time afterwards. Nobody gets an empty one,
    and one that can't be written (the log says why) keeps nobody else's back.
    """
    query = (
        select(NotificationSettings)
        .where(NotificationSettings.digest_at <= now)
        .order_by(NotificationSettings.digest_at)
        .limit(AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    queued = []
    for wished in session.scalars(query).all():
        user = session.get_one(User, wished.user_id)
        wished.digest_at = wishes.next_digest(Digest(wished.digest), user, now)
        try:
            with session.begin_nested():
                mailbox = _mailbox(session, user)
                if mailbox is not None and _write(session, user, mailbox, wished, public_url, now):
                    queued.append(mailbox.id)
        except OperationalError:
            raise
        except Exception:
            log.exception("The digest of %s could not be written", wished.user_id)
    return queued


def _mailbox(session: Session, user: User) -> Mailbox | None:
    """The one that they sign in with, else another that Gmail lets us into."""
    found = [one for one in mailboxes.of_user(session, user.id) if one.state == mailboxes.State.CONNECTED]
    return next((one for one in found if one.normalized == user.normalized), found[0] if found else None)


def _write(
    session: Session, user: User, mailbox: Mailbox, wished: NotificationSettings, public_url: str, now: datetime
) -> bool:
    fresh = (
        select(Notification)
        .where(notices.readable(session, user), Notification.email, Notification.seen_at.is_(None))
        .where(Notification.id > wished.digest_after)
        .order_by(Notification.id)
        .limit(LOOKED_AT)
    )
    found = session.scalars(fresh).all()
    said = words.say(session, found, {user.id: user})
    if not said:
        return False
    wished.digest_after = max(one.id for one in found)
    viewer = viewer_of(user, "digest")
    about = About(guards_off=frozenset(Guard), track_opens=False, track_clicks=False)
    outbox.queue(
        session, viewer, mailbox, letter(user, mailbox, said, public_url), _at_once(user, now), about, now=now
    )
    return True


def _at_once(user: User, now: datetime) -> When:
    zone = wishes.zone_of(user)
    return When(local_time.wall_of(now, zone), zone.key, Zone.NOW, working_days=False)


def letter(user: User, mailbox: Mailbox, said: Sequence[Said], public_url: str) -> Letter:
    """The mail: a plain text, the newest last, each with where it leads."""
    shown = said[-MOST:]
    parts = [f"{one.title}\n" + (f"{one.body}\n" if one.body else "") + public_url + one.path for one in shown]
    if len(said) > len(shown):
        parts.insert(0, f"{len(said) - len(shown)} more are in the list: {public_url}/bell")
    parts.append(f"Choose what you are told, and how often: {public_url}/bell/settings")
    number = "1 thing" if len(said) == 1 else f"{len(said)} things"
    own = letters.address(user.name, mailbox.address)
    return Letter(own, (own,), subject=f"Tracker: {number} to know", text="\n\n".join(parts) + "\n")
