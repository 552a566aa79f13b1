"""What tests of reads build with: a tracked mail, and hits on it, as the door writes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy.orm import Session

from tests.tracker.domain import NOW
from tracker.people import User
from webhooks.hits import Hit
from webhooks.tracks import TrackedEmail, TrackedLink

ANNA, TOM = "anna@client.test", "tom@client.test"
PROXY = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
SENT = NOW - timedelta(days=2)


def a_tracked_mail(
    session: Session, user: User, *recipients: str, links: Sequence[str] = (), **more: Any
) -> TrackedEmail:
    """A mail that went out two days ago with a pixel, and with these links rewritten."""
    mail = TrackedEmail(
        team_id=user.team_id, user_id=user.id, recipients=list(recipients or [ANNA]), sent_at=SENT, **more
    )
    session.add(mail)
    session.flush()
    for position, url in enumerate(links):
        session.add(TrackedLink(team_id=user.team_id, tracked_email_id=mail.id, position=position, url=url))
    session.flush()
    return mail


def a_hit(session: Session, mail: TrackedEmail, at: datetime = SENT + timedelta(hours=1), **more: Any) -> Hit:
    """A hit on its pixel that was judged already."""
    columns = {
        "address": "66.249.84.1", "agent": PROXY, "headers": {"accept": "image/*"}, "verdict": "proxy",
        "why": "Gmail's proxy", "rules": 1, "kind": "open",
    }  # fmt: skip
    hit = Hit(team_id=mail.team_id, tracked_email_id=mail.id, key=uuid4(), at=at, **{**columns, **more})
    session.add(hit)
    session.flush()
    return hit
