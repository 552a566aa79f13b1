"""The digest: what is not seen yet, in one mail to oneself, at the person's time."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import undefer

from scheduler import digests
from scheduler.outbox import ScheduledEmail
from tests.scheduler.sending import NOW, Office
from tracker.db import transaction
from tracker.mailboxes import Mailbox
from tracker.people import User
from webhooks.bells import notices, wishes
from webhooks.bells.kinds import Kind, defaults
from webhooks.bells.notices import Notification
from webhooks.bells.wishes import Digest

URL = "https://tracker.example"


def wish(office: Office, mailbox: Mailbox, digest: Digest, zone: str = "Europe/London", **more: Any) -> datetime:
    """Alice wants a digest; when it is due."""
    with transaction(office.team.sessions) as session:
        user = session.get_one(User, mailbox.user_id)
        user.time_zone = zone
        kept = wishes.change(
            session, user, channels={kind: defaults(kind) for kind in Kind} | more, quiet_pipelines=[], quiet=None,
            digest=digest, newest=notices.newest_id(session, user), now=office.clock(),
        )  # fmt: skip
        assert kept.digest_at is not None
        return kept.digest_at


def told(office: Office, mailbox: Mailbox, number: int = 1, **columns: Any) -> None:
    """Something to know."""
    with transaction(office.team.sessions) as session:
        for one in range(number):
            row = {
                "team_id": mailbox.team_id, "user_id": mailbox.user_id, "kind": Kind.TASK.value,
                "thing": f"task:{one}", "event_id": 1, "at": office.clock(), "listed": True, "email": True,
            }  # fmt: skip
            session.add(Notification(**row | columns))


def write(office: Office) -> list[ScheduledEmail]:
    """The tick; the mails that wait."""
    with transaction(office.team.sessions) as session:
        digests.write_due(session, URL, office.clock())
    with transaction(office.team.sessions) as session:
        query = select(ScheduledEmail).options(undefer(ScheduledEmail.raw)).order_by(ScheduledEmail.id)
        return list(session.scalars(query))


def test_it_comes_at_eight_in_the_persons_morning(office: Office, alices: Mailbox) -> None:
    due = wish(office, alices, Digest.DAILY, "Asia/Tokyo")
    assert due == datetime.fromisoformat("2026-11-25T08:00+09:00")
    told(office, alices, 2)
    assert write(office) == []
    office.clock.now = due
    [mail] = write(office)
    assert (mail.subject, mail.recipients, mail.at_once) == (
        "Tracker: 2 things to know",
        [alices.normalized],
        True,
    )
    assert (mail.track_opens, mail.track_clicks) == (False, False)
    assert f"{URL}/bell/".encode() in mail.raw
    office.clock.advance(hours=1)
    assert len(write(office)) == 1  # the next is tomorrow's


def test_each_thing_is_in_one_digest_and_none_is_empty(office: Office, alices: Mailbox) -> None:
    told(office, alices)  # before she asked for any
    wish(office, alices, Digest.HOURLY)
    for hour, new in enumerate([0, 1, 0, 2]):
        told(office, alices, new)
        told(office, alices, 1, seen_at=NOW)
        told(office, alices, 1, email=False)
        office.clock.now = NOW + timedelta(hours=hour + 1)
        write(office)
    assert [one.subject for one in write(office)] == ["Tracker: 1 thing to know", "Tracker: 2 things to know"]


def test_it_goes_out_and_nobody_is_told_of_it(office: Office, alices: Mailbox) -> None:
    wish(office, alices, Digest.HOURLY)
    told(office, alices)
    office.clock.advance(hours=1)
    write(office)
    office.prepare(alices)
    office.dispatch()
    [mail] = write(office)
    assert mail.state == "sent"


def test_without_a_mailbox_that_lets_us_in_it_waits_for_the_next_time(office: Office, alices: Mailbox) -> None:
    wish(office, alices, Digest.HOURLY)
    told(office, alices)
    with transaction(office.team.sessions) as session:
        session.get_one(Mailbox, alices.id).state = "attention"
    office.clock.advance(hours=1)
    assert write(office) == []
    with transaction(office.team.sessions) as session:
        session.get_one(Mailbox, alices.id).state = "connected"
    office.clock.advance(hours=1)
    assert len(write(office)) == 1
