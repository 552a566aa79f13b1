"""Invitations in mail: meetings on the box's timeline, as they stand, for those who may read the mail."""

# ruff: noqa: F811 - fixtures of the pages are imported
from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, update
from sqlalchemy.orm import Session

from scheduler.calendars import meetings
from tests.tracker.domain import NOW, a_box
from tests.tracker.web.conftest import Team, app, browser, team, write  # noqa: F401 - fixtures
from tests.tracker.web.factories_web import ALICE, BOB, CHARLIE, a_mail, browser_of, counted
from tracker import filing, people
from tracker.boxes import Box
from tracker.mailboxes import Mailbox
from tracker.messages import Copy, Message


def invitation(
    summary: str = "Kick-off", *, method: str = "REQUEST", sequence: int = 0, start: str = "20261124T090000Z",
    uid: str = "u1", organizer: str = CHARLIE, more: str = "",
) -> str:  # fmt: skip
    return (
        f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:{method}\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nSEQUENCE:{sequence}\r\n"
        f"DTSTAMP:20261101T000000Z\r\nDTSTART:{start}\r\nDURATION:PT45M\r\nSUMMARY:{summary}\r\n"
        f"LOCATION:Room 1\r\n"
        f"ORGANIZER;CN=C:mailto:{organizer}\r\nATTENDEE:mailto:{ALICE}\r\n{more}END:VEVENT\r\nEND:VCALENDAR\r\n"
    )


def arrives(
    write: Session, mailbox: Mailbox, box: Box, *calendars: str, sender: str = CHARLIE, to: str = ALICE,
    hours: float = 0,
) -> None:  # fmt: skip
    mail = a_mail(write, mailbox, sender=sender, to=(to,), at=NOW + timedelta(hours=hours))
    messages = write.query(Message.id).where(Message.conversation_id == mail.id)
    query = update(Copy).where(Copy.message_id.in_(messages)).values(calendars=list(calendars))
    write.execute(query, execution_options={"synchronize_session": False})
    filing.file(write, people.system_viewer(mailbox.team_id, "test"), mail, box)


def test_an_invitation_is_a_meeting_on_the_timeline(
    browser: FlaskClient,
    team: Team,
    write: Session,
) -> None:
    box = a_box(write, team.viewer, "Acme")
    arrives(write, team.mailbox, box, invitation("Kick-off <b>"))
    write.commit()
    for show in ("", "?show=mail", "?show=notes"):
        page = browser.get(f"/b/{box.key}{show}").text
        assert "Kick-off &lt;b&gt;" in page
    assert "45 minutes, Room 1, by charlie@acme.test, 1 invited person" in page
    assert 'datetime="2026-11-24T09:00:00+00:00"' in page
    assert "Kick-off" not in browser.get(f"/b/{box.key}?show=tasks").text


def story(*told: tuple[str, str, str]) -> list[meetings.Mail]:
    """Mails about a meeting, an hour apart: key, sender, calendar."""
    return [(key, NOW + timedelta(hours=n), sender, [text]) for n, (key, sender, text) in enumerate(told)]


FIRST = ("m1", CHARLIE, invitation())
MOVED = ("m2", CHARLIE, invitation("Moved", sequence=1, start="20261125T090000Z"))
CANCELLED = ("m3", CHARLIE, invitation(method="CANCEL", sequence=2))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_an_update_and_a_cancellation_hold_whatever_comes_first(order: tuple[int, ...]) -> None:
    mails = story(FIRST, MOVED, CANCELLED)
    (meeting,) = meetings.together([mails[number] for number in order])
    assert meeting.cancelled
    (meeting,) = meetings.together([mails[number] for number in order if number != 2])
    assert (meeting.invitation.summary, meeting.moved, meeting.cancelled) == ("Moved", True, False)


@pytest.mark.parametrize(
    "other",
    [
        ("m2", "mallory@evil.test", invitation("Evil", sequence=9)),
        ("m2", "mallory@evil.test", invitation(method="CANCEL", sequence=9)),
        ("m2", "mallory@evil.test", invitation("Evil", sequence=9, organizer="mallory@evil.test")),
        ("m2", ALICE, invitation("Answer", method="REPLY", sequence=9)),
        ("m2", CHARLIE, invitation("Old", sequence=0).replace("20261101T", "20261031T")),
        ("m2", CHARLIE, "BEGIN:VCALENDAR\r\n garbage"),
    ],
)
def test_what_others_say_of_a_meeting_counts_for_nothing(other: tuple[str, str, str]) -> None:
    (meeting,) = meetings.together(story(FIRST, other))
    assert (meeting.invitation.summary, meeting.cancelled) == ("Kick-off", False)


def test_one_of_a_series_goes_its_own_way_until_the_series_is_cancelled() -> None:
    series = ("m1", CHARLIE, invitation("Weekly", more="RRULE:FREQ=WEEKLY\r\n"))
    one = ("m2", CHARLIE, invitation("Other", sequence=1, more="RECURRENCE-ID:20261201T090000Z\r\n"))
    found = meetings.together(story(series, one))
    assert [(meeting.invitation.summary, meeting.invitation.repeats) for meeting in found] == [
        ("Weekly", True), ("Other", False),
    ]  # fmt: skip
    ended = meetings.together(story(series, one, CANCELLED))
    assert all(meeting.cancelled for meeting in ended)
    assert len({meeting.key for meeting in found}) == 2


def test_a_whole_day_and_the_zone_of_its_sender() -> None:
    day = invitation(start="20261224").replace("DTSTART:", "DTSTART;VALUE=DATE:")
    zoned = invitation(start="20261124T090000").replace("DTSTART:", "DTSTART;TZID=Tokyo Standard Time:")
    ((whole,), (there,)) = (meetings.read(text) for text in (day, zoned))
    assert str(whole.at) == "2026-12-24"
    assert there.at == datetime(2026, 11, 24, 0, tzinfo=UTC)


def test_only_who_may_read_the_mail_sees_the_meeting(app: Flask, team: Team, write: Session) -> None:
    box = a_box(write, team.viewer, "Acme")
    arrives(write, team.mailbox, box, invitation("With them"))
    # Purely internal mail is only its holders': Alice alone has it.
    arrives(write, team.mailbox, box, invitation("Internal", uid="u2", organizer=BOB), sender=BOB)
    write.commit()
    assert "Internal" in browser_of(app, team.alice).get(f"/b/{box.key}").text
    bobs = browser_of(app, team.bob).get(f"/b/{box.key}").text
    assert "With them" in bobs
    assert "Internal" not in bobs


def test_a_mail_that_went_to_the_trash_takes_its_meeting_along(
    browser: FlaskClient,
    team: Team,
    write: Session,
) -> None:
    box = a_box(write, team.viewer, "Acme")
    arrives(write, team.mailbox, box, invitation())
    write.execute(update(Copy).values(label_ids=["TRASH"]))
    write.commit()
    assert "Kick-off" not in browser.get(f"/b/{box.key}").text


def test_pages_of_the_timeline_hold_each_meeting_once(
    browser: FlaskClient,
    engine: Engine,
    team: Team,
    write: Session,
) -> None:
    box = a_box(write, team.viewer, "Acme")
    texts = [
        invitation(f"Meeting {n}.", uid=f"u{n}", start=f"202701{n % 28 + 1:02}T{n % 24:02}0000Z")
        for n in range(50)
    ]
    for number in range(0, 50, 10):
        arrives(write, team.mailbox, box, *texts[number : number + 10], hours=-number)
    write.commit()
    pages, address = "", f"/b/{box.key}?show=notes"
    for _ in range(4):
        page = browser.get(address).text
        pages += page
        if 'rel="next"' not in page:
            break
        address = page.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    assert all(pages.count(f">Meeting {number}.<") == 1 for number in range(50))
    with counted(engine) as statements:
        browser.get(f"/b/{box.key}?show=notes")
    assert sum("cardinality(copies.calendars" in one for one in statements) == 1
